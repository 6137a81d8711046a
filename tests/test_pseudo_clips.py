"""Pseudo-fakes over time: each fault is there, alone, and nothing but the mask tells a fake from its real."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")

import torch
from torch import Tensor

from dfx.torch.augment import Dice
from dfx.torch.pseudo_clips import Faults, animated, self_blended_clips, still, swapped_clips

pytestmark = pytest.mark.torch
COUNT, FRAMES, SIZE = 6, 8, 64
NAMES = [field.name for field in fields(Faults)]


def dice(count: int = COUNT) -> Dice:
    return Dice(count, torch.Generator().manual_seed(0))


def portraits(seed: int = 1) -> Tensor:
    """Smooth pictures float [COUNT, 3, SIZE, SIZE] of 0 to 255."""
    coarse = torch.rand((COUNT, 3, 6, 6), generator=torch.Generator().manual_seed(seed)) * 255
    return torch.nn.functional.interpolate(coarse, SIZE, mode="bilinear")


@cache
def made(fault: str) -> tuple[Tensor, Tensor, Tensor]:
    """With the same draws whatever the fault, so that the fault is all that differs; "" for none."""
    faults = Faults.only(fault, COUNT, torch.device("cpu"))
    return self_blended_clips(still(portraits(), FRAMES), dice(), faults)


def centres(masks: Tensor) -> Tensor:
    """Where the masks [N, T, 1, S, S] lie, float [N, T, 2], pixels."""
    at = torch.arange(SIZE).float()
    weight = masks.sum((2, 3, 4)).clamp(min=1e-6)
    return torch.stack([(masks.sum((2, 3)) @ at) / weight, (masks.sum((2, 4)) @ at) / weight], -1)


def steps(path: Tensor, order: int) -> Tensor:
    """The mean size of a path's differences of an order: float [N]."""
    differences = torch.diff(path, n=order, dim=1)
    lengths: Tensor = torch.linalg.vector_norm(differences, dim=2)
    return lengths.mean(1)


@pytest.mark.parametrize("fault", [*NAMES, ""])
def test_a_fake_is_its_real_but_for_the_mask(fault: str) -> None:
    real, fake, mask = made(fault)
    assert real.shape == fake.shape == (COUNT, FRAMES, 3, SIZE, SIZE)
    outside = (mask == 0).expand_as(real)
    assert outside.float().mean() > 0.2
    assert torch.equal(real[outside], fake[outside])
    assert ((real - fake).abs().mean((1, 2, 3, 4)) > 0.1).all()


def test_flicker_changes_the_mask_from_frame_to_frame() -> None:
    areas = {fault: made(fault)[2].mean((2, 3, 4)) for fault in ("flicker", "")}
    unrest = {fault: (area.diff(dim=1).abs().mean(1) / area.mean(1)) for fault, area in areas.items()}
    assert (unrest["flicker"] > 0.1).all()
    assert (unrest[""] < 0.03).all()


def test_lag_shows_what_was_and_where_it_was() -> None:
    (_, late, mask), (_, timely, other) = made("lag"), made("")
    torch.testing.assert_close(late[:, 0], timely[:, 0], atol=0.1, rtol=0)
    assert ((late - timely).abs().amax((2, 3, 4))[:, 2:].amax(1) > 3).all()
    apart = (centres(mask) - centres(other)).norm(dim=2)
    assert apart[:, 0].max() < 0.05
    assert (apart[:, 1:].amax(1) > 0.2).all()


def test_jitter_is_no_smooth_movement() -> None:
    """What it adds to the way of the mask has larger steps than it has size, as only what has no memory has."""
    added = centres(made("jitter")[2]) - centres(made("")[2])
    assert (steps(added, 1) > 0.05).all()
    assert steps(added, 1).mean() > added.norm(dim=2).mean()


def test_a_stuck_border_stays_while_the_head_moves() -> None:
    moves = {fault: steps(centres(made(fault)[2]), 1) for fault in ("stuck", "")}
    assert (moves["stuck"] < 0.3 * moves[""]).float().mean() > 0.9
    assert torch.equal(made("stuck")[0], made("")[0]), "the head's own movement is the same"


def test_drift_goes_one_way() -> None:
    (_, drifted, _), (_, steady, _) = made("drift"), made("")
    apart = (drifted - steady).abs().mean((2, 3, 4))
    assert apart[:, 0].max() < 1e-3
    assert (apart.diff(dim=1) > -0.2).all()
    assert (apart[:, -1] > 0.05).all()


def test_every_fake_has_a_fault_and_every_fault_comes() -> None:
    drawn = Faults.drawn(dice(200))
    table = torch.stack([getattr(drawn, name) for name in NAMES])
    assert table.any(0).all()
    assert (table.float().mean(1) > 0.2).all()
    assert table.float().mean() < 0.6


def test_a_picture_becomes_a_clip_that_moves_smoothly() -> None:
    disc = torch.zeros(COUNT, 3, SIZE, SIZE)
    disc[..., 24:40, 24:40] = 255
    clips = animated(disc, dice(), FRAMES)
    path = centres(clips[:, :, :1])
    assert (steps(path, 1) > 0.1).all()
    assert (steps(path, 1) < 0.05 * SIZE).all()
    assert steps(path, 3).mean() < steps(path, 1).mean(), "it does not tremble"


def test_a_swap_shows_another_face_in_the_host_s_colours() -> None:
    hosts, donors = still(portraits(1), FRAMES), still(portraits(2), FRAMES)
    real, fake, mask = swapped_clips(hosts, donors, dice(), Faults.only("", COUNT, torch.device("cpu")))
    outside, inside = (mask == 0).expand_as(real), (mask > 0.55).expand_as(real)
    assert torch.equal(real[outside], fake[outside])
    assert (real - fake).abs()[inside].mean() > 10
    assert (real[inside].mean() - fake[inside].mean()).abs() < 15
