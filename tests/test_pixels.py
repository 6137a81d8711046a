"""Pixels that are not square: what is scored has the shape that a player shows."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tolerances import RECODED_SCORE

import dfx
from dfx.decode.nvdec import suits
from dfx.decode.pyav import PyAVDecoder
from dfx.plan import plan
from dfx.probe import probe


def squeezed(source: Path, path: Path, aspect: Fraction, turned: int = 0) -> Path:
    """The same pictures with fewer columns, each as much wider as the header says; lying, if told, and said to lie."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream("libx264", rate=25, options={"crf": "8", "mbtree": "0"})
        stream.pix_fmt = "yuv420p"
        if turned:
            stream.set_display_rotation(turned)
        for number, frame in enumerate(old.decode(video=0)):
            pixels = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), -turned // 90))
            small = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            small = small.reformat(width=2 * round(small.width / aspect / 2), interpolation="AREA")
            if not number:
                stream.width, stream.height, stream.codec_context.sample_aspect_ratio = (
                    small.width,
                    small.height,
                    aspect,
                )
            small.pts = number
            new.mux(stream.encode(small))
        new.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("aspect", "turned"), [(Fraction(64, 45), 0), (Fraction(8, 9), 0), (Fraction(64, 45), 90)])
def test_a_face_keeps_its_shape(samples: Path, tmp_path: Path, aspect: Fraction, turned: int) -> None:
    path = squeezed(samples / "real.mp4", tmp_path / "a.mp4", aspect, turned)
    info, plain = probe(path), probe(samples / "real.mp4")
    assert info.pixel_aspect == aspect
    assert info.width != plain.width
    (frames,) = PyAVDecoder().read(info, plan(info, windows=1, count=1, stride=1))
    shown = frames.pictures[0]
    assert (shown.width, shown.height) == (pytest.approx(plain.width, abs=1), pytest.approx(plain.height, abs=1))
    ours, theirs = dfx.predict_video(path), dfx.predict_video(samples / "real.mp4")
    assert ours.reason == theirs.reason
    assert ours.clips[0].box == pytest.approx(theirs.clips[0].box, abs=4)
    assert ours.probability == pytest.approx(theirs.probability, abs=2 * RECODED_SCORE)
    assert "not square" in str(suits(info, (9, 0)))


@pytest.mark.parametrize("aspect", [Fraction(16, 15), Fraction(15, 16), Fraction(1000), Fraction(1, 1000)])
def test_what_is_nearly_square_or_a_slip_is_left_alone(samples: Path, tmp_path: Path, aspect: Fraction) -> None:
    info = replace(probe(samples / "real.mp4"), pixel_aspect=aspect)
    assert info.stretch == 1
    (frames,) = PyAVDecoder().read(info, plan(info, windows=1, count=1, stride=1))
    assert frames.pictures[0].width == info.width
