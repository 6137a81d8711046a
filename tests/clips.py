"""Real clips made by the tests, with a number drawn into every frame as black and white blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from numpy.typing import NDArray

ALTREF = {"codec": "libvpx-vp9", "deadline": "realtime", "cpu-used": "6", "b": "300k", "lag-in-frames": "25"}
ALTREF |= {"auto-alt-ref": "1"}  # VP9 whose packets hide pictures besides the ones that they show
X26 = {"libx264": {"crf": "18", "mbtree": "0"}, "libx264rgb": {"crf": "18", "mbtree": "0"}, "libx265": {"crf": "18"}}
"""x264 with its macroblock tree does not give the same bits twice."""
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
        defaults = {"threads": "1"} | X26.get(codec, {})
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


def uneven(path: Path, milliseconds: Sequence[int], codec: str = "libx264", **options: str) -> Path:
    """A video of numbered frames at these times; with B-frames, unless the encoder's options say otherwise."""
    options = options or {"bf": "3", "g": "20", "threads": "1"}
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, stamp in enumerate(milliseconds):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


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


def recrop(path: Path, target: Path, **edges: int) -> Path:
    """The file with another crop written into its stream, and its header left as it was."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = source.streams.video[0]
        track = container.add_stream_from_template(stream)
        words = ":".join(f"crop_{side}={pixels}" for side, pixels in edges.items())
        change = BitStreamFilterContext(f"{stream.codec_context.name}_metadata={words}", stream, track)
        for packet in source.demux(stream):
            for one in change.filter(packet) if packet.size else []:
                one.stream = track
                container.mux(one)
    return target


def colourful(width: int, height: int) -> NDArray[np.uint8]:
    """A picture of every hue, some edges and a little noise: RGB uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width] / 40.0
    waves = np.stack([np.sin(x + y), np.sin(1.3 * x - 0.7 * y + 2), np.sin(0.6 * x + 1.9 * y + 4)], axis=2)
    picture = waves * 90 + 128 + 20 * (np.floor(x) % 2)[..., None]
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 1))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
