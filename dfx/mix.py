"""Mix: a folder of clips in the manner of the Deepfake Detection Challenge, for rehearsals where no videos are at hand.

Ten seconds, 300 frames, x264's group of pictures of 250 frames; mostly 1080p, some upright, some from 240p to 4K, a
few that are no videos. The challenge's training videos are 470 GB in 119,000 files, ten seconds each: 3.2 Mbit/s.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from dfx.demo import SAMPLES
from dfx.errors import OutputError
from dfx.files import cache_folder
from dfx.streams import bar

VERSION = 1  # of the clips: another makes them anew
FRAMES, RATE = 300, 30
SHOTS = 12  # pictures, shown forth and back
GRAIN = 2.0  # levels of luma, standard deviation: a camera's, so that the bits are needed
BIT_RATE, BITS_GROW = 3.2e6, 0.75  # bit/s at 1080p, and the power of the number of pixels that it grows by
X264 = {"preset": "ultrafast", "x264-params": "keyint=250:scenecut=0:cabac=1:bframes=3:deblock=0,0:weightp=1"}
"""A quick search for motion, but the tools that cost a decoder its time: CABAC, B frames, the deblocking filter."""
SIZES = {
    "1080p": (1920, 1080),
    "upright": (1080, 1920),
    "720p": (1280, 720),
    "480p": (854, 480),
    "240p": (426, 240),
    "2160p": (3840, 2160),
}
COUNTS = {"1080p": 26, "upright": 6, "720p": 2, "480p": 1, "240p": 1, "2160p": 2, "cut": 1, "empty": 1}
"""Of forty videos: an assumption. The seven challenge videos at hand are all 1080p, one of them upright."""


def made_clips(*, progress: bool = True) -> Path:
    """The folder of clips, made on the first call (a minute on two cores) and kept in the user's cache.

    Raises OutputError where neither the cache nor the temporary folder can be written.
    """
    for parent in (cache_folder(), Path(tempfile.gettempdir()) / f"dfx-{_user()}"):
        folder = parent / f"rehearsal-{VERSION}"
        try:
            if not folder.is_dir():
                parent.mkdir(parents=True, exist_ok=True)
                with _replacing(folder) as fresh:
                    make(fresh, progress=progress)
            return folder
        except OSError as error:
            problem = error
    raise OutputError(f"cannot write clips for the rehearsal ({problem}): name a FOLDER of videos instead")


def make(folder: Path, *, progress: bool = True) -> None:
    """Fills a folder with the mix: each size is encoded once, the others of its size are hard links to it."""
    for kind, count in bar(COUNTS.items(), "making clips", shown=progress):
        first = folder / f"{kind}_00.mp4"
        _MAKERS.get(kind, _encoded)(first)
        for number in range(1, count):
            os.link(first, folder / f"{kind}_{number:02}.mp4")


def _encoded(path: Path) -> None:
    width, height = SIZES[path.stem.rpartition("_")[0]]
    shots = _shots(width, height)
    order = [*range(SHOTS), *reversed(range(SHOTS))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE), options=X264)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = round(BIT_RATE * (width * height / (1920 * 1080)) ** BITS_GROW)
        for number in range(FRAMES):
            shot = shots[order[number % len(order)]]
            shot.pts, shot.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(shot))
        container.mux(stream.encode(None))


def _cut(path: Path) -> None:
    """The first half of a clip: an mp4's index stands at its end, so that nothing of it can be read."""
    whole = path.with_name("1080p_00.mp4").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


_MAKERS: dict[str, Callable[[Path], object]] = {"cut": _cut, "empty": Path.touch}


def _shots(width: int, height: int) -> list[av.VideoFrame]:
    """Pictures of the sample's portrait, cut to the shape, with grain."""
    rng = np.random.default_rng(0)
    with av.open(str(SAMPLES / "real.mp4")) as sample:
        taken = [frame for _, frame in zip(range(SHOTS), sample.decode(video=0), strict=False)]
    return [_grainy(_shaped(frame, width, height), rng) for frame in taken]


def _shaped(frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
    picture = frame.to_ndarray(format="rgb24")
    kept = min(picture.shape[1], round(picture.shape[0] * max(width / height, 0.75)))
    left = (picture.shape[1] - kept) // 2
    part = np.array(picture[:, left : left + kept], np.uint8)
    return av.VideoFrame.from_ndarray(part, format="rgb24").reformat(width, height, "yuv420p")


def _grainy(frame: av.VideoFrame, rng: np.random.Generator) -> av.VideoFrame:
    planes = np.asarray(frame.to_ndarray(), np.uint8)
    luma = planes[: frame.height]
    grain = rng.standard_normal(luma.shape, np.float32) * GRAIN
    luma[:] = np.clip(luma + grain, 16, 235).astype(np.uint8)
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when it is full; another process may have been faster."""
    fresh = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        yield fresh
        if not folder.is_dir():
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
