"""What `benchmarks/gpu.py` proves on a GPU beside parity and speed, and what all of its figures together say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from apart import Figures
from gpu_rates import DEFAULT
from simulated import ALLOWED

import dfx
from dfx.decode import Decoder
from dfx.demo import SAMPLES
from dfx.errors import UnsupportedVideoError, VideoError
from dfx.find import find
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.values import Frames, Plan, Prediction

ROOT = Path(__file__).parents[1]
COPIES = 9  # of a video, the middle one broken
SHARE = 0.8  # of decoding alone, that the whole must reach
GROWTH = 1.05  # times the memory after a quarter of a long run
CLIP_LEVELS = 0.35  # grey levels, mean, between clips of the two; DALI's RGB as it is would be one off
COLOUR_LEVELS = 0.1  # the same of the detector's picture of a still; of 10 bits in 8 a little more is lost
DEEP_LEVELS = 0.6
ALIKE = 0.1  # the share of videos whose scores may be the CPU's to the bit: a GPU's networks add in another order
LEFT_OUT = "libvpx-vp9 yuvj420p"  # is shown to NVDEC, and its figures are told; the decoder leaves it to the CPU
NOT_HERE = UnsupportedVideoError.__name__  # a card may lack a codec
TOOL = "compute-sanitizer"
TESTS = 30  # of the kernels, at least
NOTHING = {"unfinished", "took"}  # what there is of a part that was cut before it gave anything


class Watched:
    """A decoder that remembers which videos it read, and why it did not read others."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.done: set[str] = set()
        self.refused: dict[str, str] = {}

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        """What the decoder gives."""
        try:
            yield from self._decoder.read(info, plan)
        except VideoError as error:
            self.refused[info.path.name] = f"{type(error).__name__}: {error}"
            raise
        self.done.add(info.path.name)


def clips(videos: Path, count: int = 20) -> Figures:
    """Clips of faces, as training has them, from the first videos on the CPU and on the GPU: how far they are apart,
    where the GPU decoded; and what it was to decode and could not."""
    cpu, gpu, apart, counts = Pipeline(), Pipeline(device=0), [], []
    assert gpu.gpu_decoder is not None
    watched = Watched(gpu.gpu_decoder)
    gpu.gpu_decoder = watched  # type: ignore[assignment]
    for path in [found.path for found in find(videos) if found.path][:count]:
        with suppress(VideoError):
            ours, theirs = ([clip for _, clip in pipeline.clips(path)] for pipeline in (cpu, gpu))
            counts.append((len(ours), len(theirs)))
            if path.name in watched.done:
                pairs = zip(ours, theirs, strict=False)
                apart += [float(np.abs(a.astype(np.int16) - np.asarray(b)).mean()) for a, b in pairs]
    return {
        "videos": len(counts),
        "decoded_on_gpu": len(watched.done),
        "refused": watched.refused,
        "counts_differ": sum(ours != theirs for ours, theirs in counts),
        "levels": {"mean": float(np.mean(apart)), "largest": max(apart)} if apart else None,
    }


def broken(work: Path, clip: Path = SAMPLES / "real.mp4") -> Figures:
    """A video that has lost every picture but its keyframes, amid copies of the whole one: what each is given, and what
    the CPU gives the broken one."""
    folder = work / "broken"
    folder.mkdir()
    for number in range(COPIES):
        shutil.copy(clip, folder / f"{number}.mp4")
    _damage(folder / f"{COPIES // 2}.mp4")
    (alone,) = dfx.predict_dir(clip, work / "alone.csv", device="cuda:0", progress=False)
    rows = dfx.predict_dir(folder, work / "broken.csv", device="cuda:0", progress=False)
    damaged, on_cpu = rows[COPIES // 2], dfx.predict_video(folder / f"{COPIES // 2}.mp4")
    others = [row.probability for row in rows if row is not damaged]
    return {"alone": _said(alone), "others": others, "damaged": _said(damaged), "on_cpu": _said(on_cpu)}


def _said(row: Prediction) -> Figures:
    said = {"reason": str(row.reason), "detail": row.detail, "clips": len(row.clips)}
    return said | {"probability": row.probability}


def _damage(path: Path) -> None:
    with av.open(str(path)) as container:
        others = [each for each in container.demux(video=0) if each.size and not each.is_keyframe]
        lost = [(each.pos, each.size) for each in others if each.pos is not None]
    data = bytearray(path.read_bytes())
    for start, size in lost:
        data[start : start + size] = bytes(size)
    path.write_bytes(data)


def sanitizer() -> Figures:
    """What compute-sanitizer finds in the kernels' tests, where it and pytest are installed."""
    tool = shutil.which(TOOL, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"]))
    if not tool:
        return {"missing": f"{TOOL} is not on the path; it comes with CUDA's toolkit"}
    pytest = [sys.executable, "-P", "-m", "pytest"]  # -P: the dfx that is installed, not the checkout's sources
    tests = [*pytest, "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/test_gpu_kernels.py"]
    options = ["--tool", "memcheck", "--report-api-errors", "no", "--launch-timeout", "120", "--error-exitcode", "9"]
    done = subprocess.run(
        [tool, *options, *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DFX_REQUIRE_GPU": "1"},
    )
    return {
        "status": done.returncode,
        "errors": _number(r"ERROR SUMMARY: (\d+) error", done.stdout),
        "passed": _number(r"(\d+) passed", done.stdout),
        "said": (done.stdout + done.stderr)[-1500:],
    }


def _number(pattern: str, text: str) -> int | None:
    """The last one that stands there."""
    found: list[str] = re.findall(pattern, text)
    return int(found[-1]) if found else None


def verdicts(figures: Figures) -> dict[str, bool | None]:
    """The points that must be seen on a GPU, and whether they were; None for what was not run, or not to its end."""
    points: dict[str, tuple[tuple[str, ...], Callable[..., bool | None]]] = {
        "colours are the CPU's": (("colours",), _same_colours),
        f"scores are within {ALLOWED} of the CPU's": (("parity",), _same_scores),
        f"the whole reaches {SHARE:.0%} of decoding": (("whole", "decode"), _fast),
        "memory does not grow in a long run": (("memory",), _flat),
        "a broken video harms no other": (("broken",), _unharmed),
        "NVDEC decodes what it is said to": (("clips",), _decoded),
        "clips for training are the CPU's": (("clips",), _same_clips),
        "compute-sanitizer finds nothing": (("sanitizer",), _clean),
    }
    return {point: _judged([figures.get(part) for part in parts], judge) for point, (parts, judge) in points.items()}


def _judged(found: list[Figures | None], judge: Callable[..., bool | None]) -> bool | None:
    if any(part is None or "missing" in part or set(part) <= NOTHING for part in found):
        return None
    if any("error" in part for part in found if part):
        return False
    try:
        return judge(*found)
    except KeyError:  # what a part that was cut did not come to
        if not any("unfinished" in part for part in found if part):
            raise
        return None


def _same_colours(colours: Figures) -> bool:
    served = {name: found for name, found in colours.items() if not name.startswith(LEFT_OUT)}
    seen = {name: channel for name, channel in served.items() if isinstance(channel, dict)}
    failed = [why for why in served.values() if isinstance(why, str) and not why.startswith(NOT_HERE)]
    alike = [each["apart"] < (DEEP_LEVELS if "10le" in name else COLOUR_LEVELS) for name, each in seen.items()]
    return any("libx264" in name for name in seen) and all(alike) and not failed


def _same_scores(parity: Figures) -> bool:
    theirs = parity["identical"] <= ALIKE * parity["videos"]  # or the CPU had scored them
    alike = parity["probability"]["largest"] <= ALLOWED
    return theirs and alike and not parity["reasons_differ"] and not parity["clips_differ"]


def _fast(whole: Figures, decode: Figures) -> bool | None:
    """Some of the ways to decode may be left where the part was not done: those of several processes come first."""
    alone = [rate for name, rate in decode.items() if name.startswith("dali_") and not isinstance(rate, str)]
    reached = whole[DEFAULT]
    if not alone:
        return None
    return isinstance(reached, float) and reached >= SHARE * max(alone)


def _flat(memory: Figures) -> bool:
    return all(
        max(memory[name][len(memory[name]) // 2 :]) <= GROWTH * memory[name][1] for name in ("card_mib", "worker_mib")
    )


def _unharmed(found: Figures) -> bool:
    """And the broken one is given what it is on a CPU, which is not what the whole one is."""
    alone, damaged, wanted = (found[name] for name in ("alone", "damaged", "on_cpu"))
    kinds = [(row["reason"], row["clips"]) for row in (alone, damaged, wanted)]
    alike = kinds[1] == kinds[2] and abs(damaged["probability"] - wanted["probability"]) <= ALLOWED
    whole = alone["reason"] == "ok" and kinds[0] != kinds[2]
    return alike and whole and set(found["others"]) == {alone["probability"]}


def _decoded(found: Figures) -> bool:
    left = [why for why in found["refused"].values() if not why.startswith(NOT_HERE)]
    return found["decoded_on_gpu"] > 0 and not left


def _same_clips(found: Figures) -> bool | None:
    if found["levels"] is None:
        return None
    return found["counts_differ"] == 0 and bool(found["levels"]["mean"] < CLIP_LEVELS)


def _clean(found: Figures) -> bool | None:
    if found["errors"] is None or (found["passed"] or 0) < TESTS:
        return None  # it never looked at them; what it said stands beside
    return bool(found["errors"] == 0)
