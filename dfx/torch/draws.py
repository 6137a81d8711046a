"""What a step of `dfx train` is given: clips from the cache, encoded anew now and then, and fakes made of real ones.

It runs in the processes that load batches, on the CPU, so that a GPU is fed and does not wait for an encoder. What is
drawn follows from a seed, the epoch and the position in it alone, whichever process draws it and when: the video, the
clip, the pseudo-fake and the encoder's settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dfx.clip_cache import CachedClips
from dfx.torch.augment import Dice
from dfx.torch.h264 import Coding, recoded_alike
from dfx.torch.pseudo_clips import self_blended_clips
from dfx.values import Pixels


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled video with its cached clips, at least one."""

    filename: str
    fake: bool
    clips: CachedClips


class Draws(Dataset[tuple[Tensor, Tensor]]):
    """An epoch's draws, by their position in it, as many as there are videos; a video may come twice, or not at all.

    pseudo: the share of real clips that come with a pseudo-fake of themselves; h264: the share of draws that are
    encoded anew, a real clip and its pseudo-fake alike; seed, epoch: what is drawn at a position follows from these.
    """

    def __init__(
        self, examples: Sequence[Example], pseudo: float = 0.0, h264: float = 0.0, *, seed: int = 0, epoch: int = 0
    ) -> None:
        self._examples, self._pseudo, self._h264, self._seed, self._epoch = examples, pseudo, h264, seed, epoch
        weights = torch.tensor(self.weights(), dtype=torch.float64)
        self._places = torch.multinomial(weights, len(examples), True, generator=generator_of(seed, epoch)).tolist()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        dice = Dice(1, generator_of(self._seed, self._epoch, position))
        return self.draw(self._places[position], dice)

    def draw(self, place: int, dice: Dice) -> tuple[Tensor, Tensor]:
        """A random clip of a video's main person: uint8 [K, T, 3, S, S], and 1.0 for fake [K]; K is 2 with a
        pseudo-fake, else 1.

        A fake video may show real people beside the fake one, who is mostly the one seen most.
        """
        example = self._examples[place]
        own = example.clips.main
        clips = example.clips.clip(int(own[int(dice.uniform(0, len(own)))]))[None]
        labels = [float(example.fake)]
        if not example.fake and bool(dice.chance(self._pseudo)):
            clips, labels = with_fake(clips, dice), [0.0, 1.0]
        if bool(dice.chance(self._h264)):
            clips = recoded_alike(clips, Coding.drawn(dice))
        return torch.from_numpy(clips), torch.tensor(labels)

    def weights(self) -> list[float]:
        """How often each video is to be drawn, so that real clips and fakes, made ones too, come equally often."""
        fake = np.array([example.fake for example in self._examples])
        shares = compute_sample_weight("balanced", fake) * np.where(fake, 1 - self._pseudo, 1.0)
        return [float(share) for share in shares]


class Batches(Sampler[list[int]]):
    """The positions of an epoch's draws in batches, from the one on that an interrupted run had reached.

    Its length is the whole epoch's, which Lightning counts the reached ones towards.
    """

    def __init__(self, draws: int, size: int, reached: int = 0) -> None:
        self._batches = [list(range(first, min(first + size, draws))) for first in range(0, draws, size)]
        self._reached = reached

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches[self._reached :])


def generator_of(seed: int, *path: int) -> torch.Generator:
    """Random numbers of their own for each path (an epoch, a position in it) under a seed; all are at least 0."""
    state = np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def with_fake(clips: Pixels, dice: Dice) -> Pixels:
    """A clip uint8 [1, T, 3, S, S] -> itself, moved a little, and a fake of it, moved alike: uint8 [2, T, 3, S, S]."""
    real, fake, _ = self_blended_clips(torch.from_numpy(clips).float(), dice)
    return np.asarray(torch.cat([real, fake]).round().clamp(0, 255).to(torch.uint8).numpy())


def together(draws: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Draws as one batch: uint8 [N, T, 3, S, S] and float [N]."""
    clips, labels = zip(*draws, strict=True)
    return torch.cat(clips), torch.cat(labels)


class Whole(Dataset[tuple[Tensor, int]]):
    """All clips of a video: uint8 [K, T, 3, S, S], and its place."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self._examples[place].clips.all()), place
