"""Times the main job as a user runs it: `dfx predict` on ten-second 1080p clips, start-up included.

Example:
    python benchmarks/whole_job.py ../shared/data/videos/dfdc_0*.mp4 --json benchmarks/results/whole_job.json

Without videos it makes one in the challenge's manner (1080p, 300 frames, keyframes at 0 and 250) from the sample that
ships. Each run scores the videos `--copies` times over, through links of other names, so that start-up is spread as
in a real run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import click
import psutil
from av.video.frame import PictureType
from figures import json_option, publish

from dfx.demo import SAMPLES
from dfx.process import default_workers

FRAMES, RATE, WIDTH, HEIGHT = 300, 30, 1920, 1080
LOOK = 0.25  # seconds between looks at memory


@click.command()
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--copies", default=4, show_default=True, help="Times that each video is scored in a run.")
@click.option("--runs", default=3, show_default=True)
@click.option("--model", "models", type=click.Path(path_type=Path, exists=True), multiple=True, help="As of predict.")
@json_option
def main(videos: tuple[Path, ...], copies: int, runs: int, models: tuple[Path, ...], out: Path | None) -> None:
    """Print seconds a video and the peak memory of all processes together."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        count = len(linked(videos, copies, work))
        results = [measure(work / "in", work / "out.csv", models) for _ in range(runs)]
    seconds = [wall / count for wall, _ in results]
    figures = {
        "videos": count,
        "workers": default_workers(),
        "seconds_a_video": round(statistics.median(seconds), 4),
        "seconds_a_video_of_each_run": [round(value, 4) for value in seconds],
        "peak_memory_mib": round(max(peak for _, peak in results) / 2**20),
    }
    publish(figures, out)


def linked(videos: Sequence[Path], copies: int, work: Path) -> list[Path]:
    """Fills the folder work/in with `copies` links to each video; without videos, to one made here."""
    sources = videos or [challenge_clip(work / "made.mp4")]
    return links_to(sources, copies * len(sources), work / "in")


def links_to(videos: Sequence[Path], count: int, folder: Path) -> list[Path]:
    """Makes a folder of `count` links to the videos, in turn, each with a name of its own."""
    folder.mkdir()
    links = []
    for number, video in enumerate(islice(cycle(videos), count)):
        links.append(folder / f"{number:04}{video.suffix}")
        links[-1].symlink_to(video.resolve())
    return links


def measure(folder: Path, out: Path, models: Sequence[Path] = ()) -> tuple[float, int]:
    """One run: wall seconds, and bytes of memory: the sum of what each process had resident at most, by the kernel's
    own count. What processes share counts in each, and no moment exceeds the sum.
    """
    command = [sys.executable, "-P", "-m", "dfx", "predict", str(folder), "--out", str(out), "--fresh", "--quiet"]
    command += [word for path in models for word in ("--model", str(path))]
    started, peaks = time.monotonic(), Counter[int]()
    run = psutil.Popen([*command, "--follow-symlinks"])
    while run.poll() is None:
        peaks |= Counter({process.pid: _memory(process) for process in [run, *_children(run)]})
        time.sleep(LOOK)
    if run.returncode:
        raise SystemExit(f"dfx predict ended with status {run.returncode}")
    return time.monotonic() - started, peaks.total()


def _children(run: psutil.Popen) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = run.children(recursive=True)
        return children
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> int:
    """The most that was resident, up to now; a look at what is would miss a peak of a few milliseconds."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def challenge_clip(path: Path) -> Path:
    """The shipped portrait, played forth and back at 1080p, as the challenge's clips are coded (x264's defaults)."""
    with av.open(str(SAMPLES / "real.mp4")) as sample:
        shots = [frame.reformat(WIDTH, HEIGHT, "yuv420p") for frame in sample.decode(video=0)]
    order = [*range(len(shots)), *reversed(range(len(shots)))] * (FRAMES // (2 * len(shots)) + 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, index in enumerate(order[:FRAMES]):
            shots[index].pict_type = PictureType.NONE  # else the sample's own keyframes become keyframes here
            shots[index].pts = number
            shots[index].time_base = Fraction(1, RATE)
            container.mux(stream.encode(shots[index]))
        container.mux(stream.encode(None))
    return path


if __name__ == "__main__":
    main()
