"""Supervision: what one video does to its worker costs no other video anything."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from dfx import contain, worker
from dfx import pool as pool_module
from dfx.device import Crew
from dfx.errors import DeviceError, DfxError, InputError, ModelError
from dfx.govern import Once
from dfx.pipeline import Pipeline
from dfx.pool import Pool
from dfx.process import MALLOC, Process, environment
from dfx.settings import Limits, Settings
from dfx.values import Prediction, Reason


@pytest.fixture
def sabotaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "COMMAND", [sys.executable, str(Path(__file__).with_name("sabotage.py"))])


def run(folder: Path, names: list[str], workers: int = 1, **limits: float) -> dict[str, Prediction]:
    once = Once({name: folder / name for name in names}, 2, Limits(**limits).seconds)
    with Pool(Settings(), Limits(**limits), [Crew()] * workers) as pool:
        return {row.filename: row for _, row in pool.run(once)}


@pytest.mark.usefixtures("sabotaged")
@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("crash.mp4", Reason.CRASHED, "exit status -6"),
        ("hang.mp4", Reason.TIMEOUT, "the limit of 4 s"),
        ("hoard.mp4", Reason.TOO_LARGE, "memory"),
        ("chatter.mp4", Reason.OK, ""),
    ],
)
def test_the_rest_is_scored(samples: Path, tmp_path: Path, name: str, reason: Reason, detail: str) -> None:
    names = ["a.mp4", name, "z.mp4"]
    for copy in names:
        shutil.copy(samples / "real.mp4", tmp_path / copy)
    rows = run(tmp_path, names, seconds=4 if "hang" in name else 60)
    assert rows[name].reason == reason
    assert detail in rows[name].detail
    assert rows[name].probability == (0.5 if reason != Reason.OK else rows["a.mp4"].probability)
    alone = Pipeline().predict(samples / "real.mp4").probability
    assert [rows["a.mp4"].probability, rows["z.mp4"].probability] == [alone, alone]


def test_more_workers_give_the_same_rows(samples: Path) -> None:
    names = sorted(path.name for path in samples.glob("*.mp4"))
    assert run(samples, names, workers=1) == run(samples, names, workers=2)


def test_what_stands_in_the_way_is_raised_as_itself(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with (
        pytest.raises(ModelError, match="not an ONNX model"),
        Pool(Settings(models=(tmp_path / "bad.onnx",)), Limits(), [Crew()]),
    ):
        pass


def test_a_missing_extension_is_said_before_any_video(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFX_OPS", "nonsense")
    with pytest.raises(InputError, match="DFX_OPS is 'nonsense'"), Pool(Settings(), Limits(), [Crew()]):
        pass


def test_no_worker_waits_for_another_to_start() -> None:
    with Pool(Settings(), Limits(), [Crew()] * 2) as pool:
        assert len(set(pool.pids)) == 2


def test_the_user_may_set_malloc_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    name, value = next(iter(MALLOC.items()))
    monkeypatch.delenv(name, raising=False)
    assert environment()[name] == value
    monkeypatch.setenv(name, "1")
    assert environment()[name] == "1"


def test_leaving_early_ends_the_workers(samples: Path) -> None:
    once = Once({f"{number}.mp4": samples / "real.mp4" for number in range(50)}, 2, 60)
    with Pool(Settings(), Limits(), [Crew()] * 2) as pool:
        next(pool.run(once))
        workers = pool._workers
    assert all(worker._process is None or not worker._process.alive for worker in workers)


@pytest.mark.usefixtures("sabotaged")
@pytest.mark.parametrize(("name", "reason"), [("crash.mp4", Reason.CRASHED), ("hang.mp4", Reason.TIMEOUT)])
def test_a_worker_with_many_videos_in_hand_loses_none_of_them(
    samples: Path, tmp_path: Path, name: str, reason: Reason
) -> None:
    names = [*(f"{number}.mp4" for number in range(12)), name]
    for copy in names:
        shutil.copy(samples / "real.mp4", tmp_path / copy)
    limits = Limits(seconds=15 if "hang" in name else 60)
    once = Once({copy: tmp_path / copy for copy in sorted(names)}, 2, limits.seconds)
    with Pool(Settings(), limits, [Crew(lanes=4)]) as pool:
        rows = {row.filename: row for _, row in pool.run(once)}
    alone = Pipeline().predict(samples / "real.mp4").probability
    assert rows.keys() == set(names)
    assert rows.pop(name).reason == reason
    assert {row.probability for row in rows.values()} == {alone}
    assert {row.reason for row in rows.values()} == {Reason.OK}


def test_every_lane_opens_its_own_pipeline_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime keeps a CUDA graph for the thread that captured it, and nothing else may allocate meanwhile."""
    turn, served, all_busy = threading.Lock(), [], threading.Barrier(3)

    def opened(hello: dict[str, int]) -> int:
        assert turn.acquire(blocking=False), "two at once"
        time.sleep(0.02)
        turn.release()
        return threading.get_ident()

    def score(opener: int, job: dict[str, int], replies: None) -> None:
        all_busy.wait(10)
        served.append((opener, threading.get_ident()))

    monkeypatch.setattr(worker, "_open", opened)
    monkeypatch.setattr(worker, "_score", score)
    worker._Lanes({"lanes": 3}, None).serve([{"id": number} for number in range(3)])  # type: ignore[arg-type]
    assert len(set(served)) == 3
    assert all(opener == server for opener, server in served)


def test_a_lane_that_cannot_be_opened_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = iter([1, DeviceError("the card's memory is full"), 3])

    def answer(hello: dict[str, int]) -> int:
        found = next(opened)
        if isinstance(found, DeviceError):
            raise found
        return found

    monkeypatch.setattr(worker, "_open", answer)
    with pytest.raises(DeviceError, match="the card's memory is full"):
        worker._Lanes({"lanes": 3}, None)  # type: ignore[arg-type]


LOST = """
import dfx.sandbox
from dfx.errors import DeviceError

class Lost:
    def __init__(self, limits):
        pass
    def __call__(self, name):
        if name == "lose":
            raise DeviceError("the GPU fell off the bus")
        return {"name": name}

dfx.sandbox.TASKS["facts"] = "__main__:Lost"
dfx.sandbox.main()
"""


def test_a_cell_whose_gpu_is_lost_takes_no_more_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would fail on each at once, and so take most of those that are left; a new one takes them."""
    (tmp_path / "cell.py").write_text(LOST)
    monkeypatch.setattr(contain, "COMMAND", [sys.executable, str(tmp_path / "cell.py")])
    jobs = [{"name": name} for name in ("a", "lose", "b")]
    answers = dict(contain.contained("facts", {}, jobs, Limits(), 1))
    assert [answers[place].get("name") for place in range(3)] == ["a", None, "b"]
    assert answers[1]["reason"] == "crashed"


FULL = """
import dfx.sandbox

class Full:
    def __init__(self, limits):
        pass
    def __call__(self, number):
        return {"text": "x" * 2_000_000}

dfx.sandbox.TASKS["facts"] = "__main__:Full"
dfx.sandbox.main()
"""


def test_no_answer_is_kept_that_was_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `dfx faces` hold pictures."""
    (tmp_path / "cell.py").write_text(FULL)
    monkeypatch.setattr(contain, "COMMAND", [sys.executable, str(tmp_path / "cell.py")])
    answers = contain.contained("facts", {}, [{"number": number} for number in range(20)], Limits(), 1)
    tracemalloc.start()
    try:
        held = [tracemalloc.get_traced_memory()[0] / len(answer["text"]) for _, answer in answers]
    finally:
        tracemalloc.stop()
    assert len(held) == 20
    assert held[-1] < 4, "answers"


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes of a system that has no room for more than one."""
    started, popen = list[Any](), subprocess.Popen

    def start(*words: Any, **options: Any) -> Any:
        if started:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(popen(*words, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


def test_a_system_without_room_for_another_worker_is_said(crowded: list[Any]) -> None:
    words = r"a worker could not be started \(Resource temporarily unavailable\): name fewer workers"
    with pytest.raises(DfxError, match=words), Pool(Settings(), Limits(), [Crew()] * 2):
        pass
    assert crowded[0].poll() is not None, "the one that was started is left behind"
    with pytest.raises(DfxError, match=words):
        list(contain.contained("facts", {"digest": False}, [{"path": "a"}], Limits(), 1))


def test_room_for_a_worker_may_come_back(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is short of memory is given time, when a worker is started anew too."""
    monkeypatch.setattr(pool_module, "RETRIES", (0.01, 0.01))
    full, popen = [OSError(errno.ENOMEM, "Cannot allocate memory")], subprocess.Popen

    def start(*words: Any, **options: Any) -> Any:
        if full:
            raise full.pop()
        return popen(*words, **options)

    with Pool(Settings(), Limits(), [Crew()]) as pool:
        pool._workers[0]._process.kill()  # type: ignore[union-attr]
        monkeypatch.setattr(subprocess, "Popen", start)
        rows = [row for _, row in pool.run(copies(samples))]
    assert [row.reason for row in rows] == [Reason.OK] * 8


def test_a_worker_that_is_not_ready_in_time_did_not_end_by_itself() -> None:
    process = Process([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(DfxError, match="a worker was not ready after 0 s"):
        process.greet({}, 0.1)
    process.bury()


def copies(samples: Path, *more: Path) -> Once:
    """Eight videos, and what else is given."""
    paths = [samples / "real.mp4"] * 8
    return Once({f"{number}.mp4": path for number, path in enumerate([*more, *paths])}, 2, 60)


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of files each of which lets one worker start."""
    folder = tmp_path / "starts"
    folder.mkdir()
    monkeypatch.setenv("DFX_STARTS", str(folder))
    monkeypatch.setattr(pool_module, "RETRIES", (0.01,))
    return folder


@pytest.mark.usefixtures("sabotaged")
@pytest.mark.parametrize("dies", [False, True], ids=["at once", "anew"])
def test_a_worker_that_cannot_be_started_is_done_without(
    samples: Path, starts: Path, capfd: pytest.CaptureFixture[str], dies: bool
) -> None:
    for number in range(1 + dies):
        (starts / str(number)).touch()
    with Pool(Settings(), Limits(), [Crew(lanes=2)] * 2) as pool:
        if dies:
            pool._workers[1].ensure()
            pool._workers[0]._process.kill()
        rows = [row for _, row in pool.run(copies(samples))]
    assert [row.reason for row in rows] == [Reason.OK] * 8
    assert "one process fewer, since it could not be started" in capfd.readouterr().err


@pytest.mark.usefixtures("sabotaged")
def test_the_last_worker_that_cannot_be_started_is_said(samples: Path, tmp_path: Path, starts: Path) -> None:
    (starts / "0").touch()
    crash = shutil.copy(samples / "real.mp4", tmp_path / "crash.mp4")
    with (
        pytest.raises(DfxError, match=r"the card's memory is full|before it could serve"),
        Pool(Settings(), Limits(), [Crew(lanes=2)]) as pool,
    ):
        list(pool.run(copies(samples, Path(crash))))
