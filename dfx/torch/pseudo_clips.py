"""Pseudo-fakes over time: faces blended into a clip with the faults that only a row of frames shows.

The idea of self-blended images (Shiohara and Yamasaki, CVPR 2022), in time: what a face swap gets wrong from frame to
frame. Everything is drawn for whole batches on any device. The blending is done where the head is at rest; then camera
and head move real and fake alike, so that the two are the same to the bit where the mask is nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from dfx.torch.augment import Dice, affine, recompressed, wide
from dfx.torch.pseudo_fakes import masks, matched, moved, recoloured, rescaled

WAVES = 3  # of a course over time; what is quicker than three half waves in half a second is a tremor, no movement
OTHER_FAULTS = 0.2  # chance of each fault besides the one that every fake has
TREMBLE = (0.004, 0.02)  # of landmarks from frame to frame, in half sides: a detector errs by about a pixel of a crop


@dataclass(frozen=True, slots=True)
class Faults:
    """What a fake gets wrong, bool [N] each.

    flicker: the mask grows, shrinks and fades from frame to frame; lag: the face comes a frame or two after the head;
    jitter: it trembles, as landmarks do; stuck: the border stays where it is while the head moves; drift: the face
    turns into another one.
    """

    flicker: Tensor
    lag: Tensor
    jitter: Tensor
    stuck: Tensor
    drift: Tensor

    @classmethod
    def drawn(cls, dice: Dice) -> Self:
        """One for each fake, and now and then a further one."""
        count = len(fields(cls))
        main = (dice.uniform(0, 1) * count).long()
        return cls(*((main == number) | dice.chance(OTHER_FAULTS) for number in range(count)))

    @classmethod
    def only(cls, name: str, count: int, device: torch.device) -> Self:
        """The same one for all, or none where the name is of none."""
        some = {field.name: torch.full((count,), field.name == name, device=device) for field in fields(cls)}
        return cls(**some)


@dataclass(frozen=True, slots=True)
class Motion:
    """How camera and head move a picture over time.

    maps: float [N, T, 3, 3], where each place of a frame comes from, in half sides from the middle; bends: float
    [N, T, 2, 5, 5], what is added to them, since a head is no plane.
    """

    maps: Tensor
    bends: Tensor

    @classmethod
    def drawn(cls, dice: Dice, frames: int) -> Self:
        """Smooth: by a few hundredths of the side and a few degrees in half a second, as is left in aligned crops."""
        turn, zoom = course(dice, frames, math.radians(2)), course(dice, frames, 0.02).exp()
        shift = torch.stack([course(dice, frames, 0.035) for _ in range(2)], -1)
        bend = dice.normal(0.008, 1, 2, 5, 5) * course(dice, frames, 1.0)[..., None, None, None]
        return cls(maps_of(turn, zoom, shift), bend)

    def applied(self, clips: Tensor) -> Tensor:
        """Clips float [N, T, C, S, S], moved."""
        return warped(clips, self.maps, self.bends)


def course(dice: Dice, frames: int, spread: float) -> Tensor:
    """A smooth way through time, around 0: float [N, frames]."""
    at = (torch.arange(frames, device=dice.device) + 0.5) / frames
    waves = torch.arange(1, WAVES + 1, device=dice.device)
    heights = dice.normal(spread, WAVES) / waves
    return heights @ torch.cos(math.pi * waves[:, None] * at)


def maps_of(turn: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Similarities float [N, T, 3, 3], of turns [N, T] in radians, scales [N, T] and shifts [N, T, 2] in half sides."""
    rows = affine(turn.flatten(), zoom.flatten(), zoom.flatten(), shift.flatten(0, 1)).view(*turn.shape, 2, 3)
    last = torch.tensor([0.0, 0.0, 1.0], device=turn.device).expand(*turn.shape, 1, 3)
    return torch.cat([rows, last], 2)


def warped(clips: Tensor, maps: Tensor, bends: Tensor | None = None) -> Tensor:
    """Clips float [N, T, C, S, S], each place of which comes from where maps [N, T, 3, 3] say, with bends added."""
    flat, size = clips.flatten(0, 1), clips.shape[-1]
    grid = functional.affine_grid(maps.flatten(0, 1)[:, :2], list(flat.shape), align_corners=False)
    if bends is not None:
        bent = functional.interpolate(bends.flatten(0, 1), size, mode="bicubic", align_corners=True)
        grid = grid + bent.permute(0, 2, 3, 1)
    return functional.grid_sample(flat, grid, padding_mode="reflection", align_corners=False).view(clips.shape)


def animated(pictures: Tensor, dice: Dice, frames: int) -> Tensor:
    """A clip of each still picture float [N, 3, S, S]: float [N, frames, 3, S, S]."""
    return Motion.drawn(dice, frames).applied(still(pictures, frames))


def still(pictures: Tensor, frames: int) -> Tensor:
    """A picture as a clip in which nothing moves: [N, ...] -> [N, frames, ...]."""
    return pictures[:, None].expand(-1, frames, *pictures.shape[1:])


def self_blended_clips(clips: Tensor, dice: Dice, faults: Faults | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Clips float [N, T, 3, S, S] of 0 to 255 -> a real and a fake of each, and the masks [N, T, 1, S, S].

    The fake's face is the clip's own, recoloured, rescaled and moved. faults: those drawn by `dice` unless told.
    """
    faces = (_copy(clips, dice), _copy(clips, dice))
    return _blended(clips, faces, dice.uniform(0, 1), dice, faults)


def swapped_clips(
    clips: Tensor, donors: Tensor, dice: Dice, faults: Faults | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """As `self_blended_clips`, with the faces of other people: donors float [N, T, 3, S, S]; a face that drifts turns
    into the next one's."""
    first, second = (_likened(_copy(each, dice), clips) for each in (donors, donors.roll(1, 0)))
    return _blended(clips, (first, second), dice.uniform(0, 0.6), dice, faults)


def _copy(clips: Tensor, dice: Dice) -> Tensor:
    """The clips changed as a generator's output is, all frames of a clip alike."""
    every = replace(dice, copies=clips.shape[1])
    flat = clips.transpose(0, 1).flatten(0, 1)  # frame after frame, as the dice repeat
    changed = recompressed(moved(recoloured(rescaled(flat, every), every), every), every, 0.25)
    return changed.view(clips.shape[1], clips.shape[0], *clips.shape[2:]).transpose(0, 1)


def _likened(faces: Tensor, clips: Tensor) -> Tensor:
    """Faces in the colours of the clips' middles."""
    flat, target = faces.flatten(0, 1), clips.flatten(0, 1)
    middle = torch.zeros_like(flat[:, :1])
    quarter = flat.shape[-1] // 4
    middle[..., quarter:-quarter, quarter:-quarter] = 1
    return matched(flat, target, middle).view(faces.shape)


def _blended(
    clips: Tensor, faces: tuple[Tensor, Tensor], kind: Tensor, dice: Dice, faults: Faults | None
) -> tuple[Tensor, Tensor, Tensor]:
    """faces: the first, and what it drifts to; kind: of the mask, [N]."""
    frames = clips.shape[1]
    faults, motion = faults or Faults.drawn(dice), Motion.drawn(dice, frames)
    late = (1 + 2 * dice.uniform(0, 1)).long() * faults.lag
    before = (torch.arange(frames, device=clips.device) - late[:, None]).clamp(min=0)
    places = _shaken(_then(motion.maps, before) @ motion.maps.inverse(), dice, faults)
    borders = torch.where(wide(faults.stuck), motion.maps.inverse(), places)
    mask = warped(still(masks(dice, clips.shape[-1], kind) * wide(dice.uniform(0.6, 1)), frames), borders)
    mask = _flickering(mask, dice, faults)
    face = torch.lerp(faces[0], faces[1], _drift(dice, frames, faults)[..., None, None, None])
    fake = torch.lerp(clips, warped(_then(face, before), places), mask)
    return motion.applied(clips), motion.applied(fake), motion.applied(mask)


def _then(values: Tensor, before: Tensor) -> Tensor:
    """What each frame's earlier one had: values [N, T, ...], before int64 [N, T]."""
    return values[torch.arange(len(values), device=values.device)[:, None], before]


def _shaken(maps: Tensor, dice: Dice, faults: Faults) -> Tensor:
    """Maps [N, T, 3, 3] with a shift, turn and zoom of each frame's own, where there is jitter."""
    frames = maps.shape[1]
    spread = (dice.uniform(*TREMBLE) * faults.jitter)[:, None]
    turn, zoom, *shift = (spread * dice.normal(1, frames) for _ in range(4))
    return maps_of(turn, zoom.exp(), torch.stack(shift, -1)) @ maps


def _flickering(mask: Tensor, dice: Dice, faults: Faults) -> Tensor:
    """Masks [N, T, 1, S, S] whose border swells and whose whole fades, frame by frame, where there is flicker."""
    frames, some = mask.shape[1], faults.flicker[:, None].float()
    swell, fade = (some * dice.normal(0.5, frames)).exp(), 1 - some * dice.uniform(0, 0.6, frames)
    return mask ** swell[..., None, None, None] * fade[..., None, None, None]


def _drift(dice: Dice, frames: int, faults: Faults) -> Tensor:
    """How far each frame's face is on its way to the other one: float [N, T], 0 without drift."""
    at = torch.linspace(0, 1, frames, device=dice.device)
    return (faults.drift * dice.uniform(0.5, 1))[:, None] * at * at * (3 - 2 * at)
