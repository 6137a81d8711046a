"""Real clips made by the tests, with a number drawn into every frame as black and white blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS, BLOCK = 10, 16  # blocks of 16 pixels survive any codec's quantisation


def numbered(number: int, width: int = 192, height: int = 96) -> NDArray[np.uint8]:
    """A grey picture RGB uint8 [height, width, 3] whose top row of blocks spells a number in binary, low bit first."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[height // 2 :, (number * 7) % width] = (200, 40, 40)
    for bit in range(BITS):
        picture[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 235 if number >> bit & 1 else 20
    return picture


def read_number(luma: NDArray[np.uint8] | NDArray[np.uint16], depth: int = 8) -> int:
    """The number drawn into a picture, from its luma plane."""
    middles = luma[BLOCK // 2, BLOCK // 2 : BITS * BLOCK : BLOCK].astype(int) >> (depth - 8)
    return sum(1 << bit for bit, value in enumerate(middles) if value > 128)


def encode(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]] | Iterator[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    rotation: int = 0,
    audio: bool = False,
    **options: str,
) -> Path:
    """Writes a video with PyAV. rotation: degrees counterclockwise of the display matrix; options: the encoder's."""
    with av.open(str(path), "w") as container:
        defaults = {"crf": "18", "threads": "1"} if codec.startswith("libx26") else {"threads": "1"}
        stream = container.add_stream(codec, rate=Fraction(rate), options={**defaults, **options})
        sound = container.add_stream("aac", rate=44100, layout="mono") if audio else None
        stream.pix_fmt = pix_fmt
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
                if rotation:
                    stream.set_display_rotation(rotation)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(_silence()))
            container.mux(sound.encode(None))
    return path


def clip(path: Path, frames: int, **settings: object) -> Path:
    """A video of numbered frames."""
    return encode(path, (numbered(number) for number in range(frames)), **settings)  # type: ignore[arg-type]


def _silence() -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 44100
    return frame


def sound_only(path: Path) -> Path:
    """An mp4 with an audio track and nothing else."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        container.mux(stream.encode(_silence()))
        container.mux(stream.encode(None))
    return path
