"""The planes that DALI made RGB of, found again; by the kernels' own code, on the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from surfaces import stored
from tolerances import CHROMA_LOST, GREY_LEVEL

from dfx import _kernels, ops
from dfx.decode.pyav import PyAVDecoder
from dfx.ops import host, reference
from dfx.plan import plan
from dfx.probe import probe

GUARD = 64
RANGES = pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@RANGES
@pytest.mark.parametrize("shape", [(2, 2), (2, 8), (6, 2), (50, 34), (128, 66)], ids=str)
def test_unmix_is_its_reference(shape: tuple[int, int], full_range: bool) -> None:
    """Noise, which no planes give: what the operation means holds for it too."""
    pictures = np.stack([stored(*shape, seed=seed) for seed in range(2 * _kernels.UNMIX_BATCH + 1)])
    ours, theirs = ops.unmix(pictures, full_range), reference.unmix(pictures, full_range)
    assert difference(ours, theirs) <= GREY_LEVEL
    assert (ours != theirs).mean() < 0.01
    assert np.array_equal(ours, host.unmix(pictures, full_range, threads=3))
    for one, each in zip(pictures, ours, strict=True):
        assert np.array_equal(ops.unmix(one[None], full_range)[0], each)


@RANGES
def test_unmix_undoes_what_dali_does(full_range: bool, samples: Path) -> None:
    """Luma to the bit, where no colour is clipped; of chroma few samples are a level off."""
    info = probe(samples / "real.mp4")
    for frames in PyAVDecoder().read(info, plan(info)):
        picture = replace(frames.pictures[0], full_range=full_range)
        rgb = reference.mixed(picture)
        ours, (high, wide) = ops.unmix(rgb[None], full_range)[0], picture.y.shape
        clipped = ((rgb == 0) | (rgb == 255)).any(axis=2)
        assert not clipped.all()
        assert np.array_equal(ours[: high * wide].reshape(high, wide)[~clipped], picture.y[~clipped])
        blocked = clipped.reshape(high // 2, 2, wide // 2, 2).any(axis=(1, 3))
        far = ~np.lib.stride_tricks.sliding_window_view(np.pad(blocked, 2), (5, 5)).any(axis=(2, 3))
        for plane, found in zip((picture.u, picture.v), ours[high * wide :].reshape(2, *far.shape), strict=True):
            assert difference(found[far], plane[far]) <= GREY_LEVEL
            assert (found != plane)[far].mean() < CHROMA_LOST


def test_unmix_writes_all_that_it_should_and_no_more() -> None:
    rgb = np.stack([stored(34, 18, seed=seed) for seed in range(_kernels.UNMIX_BATCH + 2)])
    wanted = host.unmix(rgb, True)
    for fill in (0, 255):
        planes_of = np.full(wanted.size + 2 * GUARD, fill, np.uint8)
        means = np.full(_kernels.UNMIX_BATCH * 2 * 9 * 17 + 64, 7, np.int16)
        places = rgb.ctypes.data, planes_of.ctypes.data + GUARD, means.ctypes.data + 64
        _kernels.unmix(*places, 34, 18, len(rgb), True, None, 2)
        assert np.array_equal(planes_of[GUARD:-GUARD], wanted.ravel())
        assert (planes_of[:GUARD] == fill).all()
        assert (planes_of[-GUARD:] == fill).all()
        assert (means[:32] == 7).all()
        assert (means[-32:] == 7).all()
