"""How many videos a second a GPU decodes and scores, and what memory a long run takes: parts of `benchmarks/gpu.py`."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from apart import SPAWN, Figures

from dfx.classify import Classifier
from dfx.decode.dali import DALIDecoder
from dfx.decode.pyav import PyAVDecoder
from dfx.device import MOST_LANES, Crew
from dfx.govern import Once
from dfx.infer.session import GRAPHS
from dfx.info import VideoInfo
from dfx.ops import cuda
from dfx.plan import plan
from dfx.pool import Pool
from dfx.probe import probe
from dfx.settings import Limits, Settings
from dfx.values import Frames, Plan

LANES = (1, 2, 4, 8, 12)
A_LANE = 20  # videos that a lane decodes to be timed, at most
PROCESSES = (2, 4)
DEFAULT = "4 processes"  # what `dfx predict` has on a card of more than 32 GiB beside 16 cores
CREWS = {DEFAULT: [Crew(0, 4)] * 4, "2 processes": [Crew(0, 6)] * 2, "1 process": [Crew(0, 8)]}
LONGEST_START = 120.0  # seconds that a process waits for the others, one of which may have failed
MEETING: list[Any] = []  # the barrier at which processes that decode wait for each other, before they are timed
Work = tuple[VideoInfo, Plan]


def figure(measured: Callable[..., float], *arguments: Any) -> float | str:
    """A figure, or why there is none: the others still count where a card has no memory for the most lanes, or TensorRT
    refuses a network."""
    try:
        return round(measured(*arguments), 3)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]


@contextmanager
def run_as_graphs(graphs: bool) -> Iterator[None]:
    """Whether networks are run as CUDA graphs, by this process and by those that it starts."""
    os.environ[GRAPHS] = str(int(graphs))
    try:
        yield
    finally:
        del os.environ[GRAPHS]


def work_of(clip: Path) -> Work:
    """A clip, and the plan that a prediction has of it."""
    info, contract = probe(clip), Classifier(Settings().models[0]).contract
    return info, plan(info, windows=2, count=contract.clip_length, stride=contract.clip_stride)


def decoding(clip: Path, count: int) -> Iterator[Figures]:
    """Videos a second by decoding alone, the default plan: by DALI on several lanes of one process and of several, and
    by PyAV on one core."""
    work = work_of(clip)
    yield {"frames_a_video": sum(len(window.frames) for window in work[1].windows)}
    for number in PROCESSES:
        yield {f"dali_{number}_processes": figure(_processes, work, count, number)}
    for lanes in LANES:
        yield {f"dali_{lanes}_lanes": figure(_dali, work, min(count, A_LANE * lanes), lanes)}
    yield {"pyav_1_core": figure(_pyav, work)}


def _pyav(work: Work, count: int = 8) -> float:
    started = time.perf_counter()
    for _ in range(count):
        _drain(PyAVDecoder().read(*work))
    return count / (time.perf_counter() - started)


def _processes(work: Work, count: int, number: int) -> float:
    """As many lanes in each as a prediction has there."""
    each, lanes = count // number, MOST_LANES // number
    with ProcessPoolExecutor(number, SPAWN, initializer=_meet_at, initargs=(SPAWN.Barrier(number),)) as pool:
        return sum(pool.map(_dali, [work] * number, [each] * number, [lanes] * number))


def _meet_at(barrier: Any) -> None:
    MEETING.append(barrier)  # not handed on as a method, which would come with a list of its own


def _dali(work: Work, count: int, lanes: int) -> float:
    local, ready, causes = threading.local(), threading.Barrier(lanes + 1), list[BaseException]()

    def begin() -> None:
        try:
            local.lane = cuda.Lane(0)
            local.decoder = DALIDecoder(local.lane)
            with local.lane:
                _drain(local.decoder.read(*work))
        except BaseException as error:
            causes.append(error)
            ready.abort()  # the others would wait for this one
            raise
        ready.wait()

    def one(_: int) -> None:
        with local.lane:
            _drain(local.decoder.read(*work))
            local.lane.synchronize()

    with ThreadPoolExecutor(lanes, initializer=begin) as threads:
        for _ in range(lanes):
            threads.submit(time.sleep, 0.2)
        try:
            ready.wait()
        except threading.BrokenBarrierError:
            raise causes[0] from None
        for meeting in MEETING:
            meeting.wait(LONGEST_START)
        started = time.perf_counter()
        list(threads.map(one, range(count)))
        return count / (time.perf_counter() - started)


def _drain(windows: Iterator[Frames]) -> int:
    return sum(len(frames) for frames in windows)


def whole(clip: Path, count: int) -> Iterator[Figures]:
    """Videos a second through the whole pipeline, supervision included, once its workers are warm; of as many processes
    as a prediction has also as CUDA graphs."""
    for name, crews in CREWS.items():
        yield {name: figure(_scored, crews, clip, count)}
    with run_as_graphs(True):
        yield {f"{DEFAULT}, CUDA graphs": figure(_scored, CREWS[DEFAULT], clip, count)}


def _scored(crews: list[Crew], clip: Path, count: int) -> float:
    with Pool(Settings(), Limits(), crews) as pool:
        for _ in pool.run(_jobs(clip, 32)):
            pass
        started = time.perf_counter()
        rows = [row for _, row in pool.run(_jobs(clip, count))]
        seconds = time.perf_counter() - started
    wrong = {row.detail for row in rows if row.reason != "ok"}
    if wrong or pool._lost or pool._refuge.pid:
        by_cpu = "; some were scored by the CPU" * bool(pool._refuge.pid)
        raise RuntimeError(f"{len(pool._lost)} processes could not be started; rows that are not ok: {wrong}{by_cpu}")
    return count / seconds


def _jobs(clip: Path, count: int) -> Once:
    return Once({f"{number:05}.mp4": clip for number in range(count)}, 2, 60.0)


def growth(clip: Path, count: int) -> Figures:
    """Memory of the card and of the workers, MiB, in all, at every eighth of a long run by as many processes as a
    prediction has, at every video of fewer than eight; and how busy the card was from the first of these looks on."""
    samples: list[tuple[int, int]] = []
    busy = Busy()
    with Pool(Settings(), Limits(), CREWS[DEFAULT]) as pool:
        started = time.perf_counter()
        for number, _ in enumerate(pool.run(_jobs(clip, count))):
            if 8 * (number + 1) // count > 8 * number // count:
                samples.append((_card_memory(pool.pids), sum(map(_resident, pool.pids))))
                busy.begin()
        seconds = time.perf_counter() - started
        shares = busy.end()
    card, host = zip(*samples, strict=True)
    rate = {"videos_a_second": round(count / seconds, 2)}
    return {"videos": count, "card_mib": card, "worker_mib": host} | rate | shares


class Busy:
    """How much of the time a card's cores, and its decoding engines, had something to do."""

    WATCH = ("nvidia-smi", "dmon", "-s", "u", "-i", "0")  # writes a line a second, with a head now and then

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        """Looks at the first card once a second from now on, if it did not yet."""
        if self._process is None:
            self._process = subprocess.Popen(self.WATCH, stdout=subprocess.PIPE, text=True)

    def end(self) -> Figures:
        """Medians, percent; nothing of what the driver does not tell."""
        if self._process is None:
            return {}
        self._process.terminate()
        lines = self._process.communicate()[0].splitlines()
        head = next((line[1:].split() for line in lines if line.startswith("# gpu")), [])
        looks = [dict(zip(head, line.split(), strict=False)) for line in lines if not line.startswith("#")]
        told = {name: [int(look[name]) for look in looks if look.get(name, "-").isdigit()] for name in ("sm", "dec")}
        shares = {"cores_busy_percent": told["sm"], "decoders_busy_percent": told["dec"]}
        return {name: median(found) for name, found in shares.items() if found}


def _card_memory(pids: Sequence[int]) -> int:
    """MiB that processes hold on the card; all that is held there, where the driver does not tell whose it is."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    rows = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    held = {pid.strip(): used.strip() for pid, used in (row.split(",") for row in rows)}
    own = [int(held[str(pid)]) for pid in pids if held.get(str(pid), "").isdigit()]
    return sum(own) if len(own) == len(pids) else _all_memory()


def _all_memory() -> int:
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS"))
