"""What `benchmarks/gpu.py` proves on a GPU beside parity and speed, and what all of its figures together say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from apart import Figures
from simulated import ALLOWED

import dfx
from dfx.find import find
from dfx.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
COPIES = 9  # of a video, the middle one broken
SHARE = 0.8  # of decoding alone, that the whole must reach
GROWTH = 1.05  # times the memory after a quarter of a long run
LEVELS = 1.0  # grey levels, mean, between clips of the two


def clips(videos: Path, count: int = 20) -> Figures:
    """Clips of faces, as training has them, from the first videos on the CPU and on the GPU: how far they are apart."""
    cpu, gpu, apart, counts = Pipeline(), Pipeline(device=0), [], []
    for path in [found.path for found in find(videos) if found.path][:count]:
        ours, theirs = ([clip for _, clip in pipeline.clips(path)] for pipeline in (cpu, gpu))
        counts.append((len(ours), len(theirs)))
        pairs = zip(ours, theirs, strict=False)
        apart += [np.abs(a.astype(np.int16) - np.asarray(b)).mean() for a, b in pairs]
    differ = sum(ours != theirs for ours, theirs in counts)
    mean, most = (float(each(apart)) for each in (np.mean, np.max))
    return {"videos": len(counts), "counts_differ": differ, "levels": {"mean": mean, "largest": most}}


def broken(clip: Path, work: Path) -> Figures:
    """A video that is damaged in the middle, amid copies of the whole one: what the copies are given."""
    data, folder = clip.read_bytes(), work / "broken"
    third, half = len(data) // 3, len(data) // 2
    folder.mkdir()
    for number in range(COPIES):
        (folder / f"{number}.mp4").write_bytes(data)
    (folder / f"{COPIES // 2}.mp4").write_bytes(data[:third] + bytes(half - third) + data[half:])
    (alone,) = dfx.predict_dir(clip, work / "alone.csv", device="cuda:0", progress=False)
    rows = dfx.predict_dir(folder, work / "broken.csv", device="cuda:0", progress=False)
    damaged = rows[COPIES // 2]
    others = [row.probability for row in rows if row is not damaged]
    return {"alone": alone.probability, "others": others, "reason": str(damaged.reason)}


def sanitizer() -> Figures:
    """What compute-sanitizer finds in the kernels' tests, where it and pytest are installed."""
    tool = shutil.which("compute-sanitizer")
    if not tool:
        return {"missing": "compute-sanitizer is not on the path; it comes with CUDA's toolkit"}
    pytest = [sys.executable, "-P", "-m", "pytest"]  # -P: the dfx that is installed, not the checkout's sources
    tests = [*pytest, "-q", "-p", "no:cacheprovider", "-m", "gpu", "tests/test_gpu_kernels.py"]
    command = [tool, "--tool", "memcheck", "--report-api-errors", "no", "--error-exitcode", "9", *tests]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "DFX_REQUIRE_GPU": "1"}
    )
    return {"status": done.returncode, "said": done.stdout[-600:]}


def verdicts(figures: Figures) -> dict[str, bool | None]:
    """The points that must be seen on a GPU, and whether they were; None for what was not run."""
    points = {
        f"scores are within {ALLOWED} of the CPU's": ("parity", _same_scores),
        f"the whole reaches {SHARE:.0%} of decoding": ("whole", lambda whole: _fast(whole, figures.get("decode", {}))),
        "memory does not grow in a long run": ("memory", _flat),
        "a broken video harms no other": ("broken", lambda found: set(found["others"]) == {found["alone"]}),
        "clips for training are the CPU's": ("clips", _same_clips),
        "compute-sanitizer finds nothing": ("sanitizer", lambda found: found["status"] == 0),
    }
    return {point: _judged(figures.get(part), judge) for point, (part, judge) in points.items()}


def _judged(found: Figures | None, judge: Any) -> bool | None:
    if found is None or "missing" in found:
        return None
    return "error" not in found and bool(judge(found))


def _same_scores(parity: Figures) -> bool:
    return parity["probability"]["largest"] <= ALLOWED and not parity["reasons_differ"] and not parity["clips_differ"]


def _fast(whole: Figures, decode: Figures) -> bool:
    alone = [rate for name, rate in decode.items() if name.startswith("dali_") and not isinstance(rate, str)]
    reached = [rate for name, rate in whole.items() if "process" in name and not isinstance(rate, str)]
    return bool(alone and reached) and max(reached) >= SHARE * max(alone)


def _flat(memory: Figures) -> bool:
    return all(memory[name][-1] <= GROWTH * memory[name][1] for name in ("card_mib", "worker_mib"))


def _same_clips(found: Figures) -> bool:
    return found["counts_differ"] == 0 and found["levels"]["mean"] < LEVELS
