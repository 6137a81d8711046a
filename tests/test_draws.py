"""What training is fed: clips through x264 at random quality, real and fake alike, pseudo-fakes beside their real."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")

import torch
from torch.utils.data import ConcatDataset, DataLoader

from dfx.clip_cache import CachedClips, packed
from dfx.torch.augment import Dice
from dfx.torch.draws import Batches, Draws, Example, together
from dfx.torch.h264 import CRF, PRESETS, Coding, recoded, recoded_alike, recoded_still
from dfx.torch.pack_crops import Item, coding_of, through

pytestmark = pytest.mark.torch
FRAMES, SIDE = 4, 160


def clip(seed: int = 0) -> np.ndarray:
    """Smooth pictures with a grain, each shifted a little from the one before: uint8 [FRAMES, 3, SIDE, SIDE]."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(40, 210, (12, 12, 3), np.uint8), (SIDE + 16, SIDE + 16)).astype(np.float32)
    fine = (coarse + rng.normal(0, 6, coarse.shape[:2])[..., None]).clip(0, 255).astype(np.uint8)
    return np.stack([fine[4 * t : 4 * t + SIDE, 2 * t : 2 * t + SIDE].transpose(2, 0, 1) for t in range(FRAMES)])


def error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


def test_coarser_is_coarser_and_the_colours_stay() -> None:
    original = clip()
    coded = {crf: recoded(original, Coding(crf, "medium", 1.0)) for crf in (1, 18, 28, 40)}
    errors = [error(original, found) for found in coded.values()]
    assert all(found.shape == original.shape and found.dtype == np.uint8 for found in coded.values())
    assert errors == sorted(errors)
    assert errors[0] < 3
    assert errors[-1] > 1.5 * errors[0]
    shifts = (coded[1].astype(np.float32) - original).mean((0, 2, 3))
    assert np.abs(shifts).max() < 2.5, "swscale rounds down; a wrong matrix would shift a channel by ten"


def test_preset_and_scale_leave_their_own_traces() -> None:
    original = clip()
    found = [recoded(original, Coding(28, *rest)) for rest in (("ultrafast", 1.0), ("medium", 1.0), ("medium", 0.5))]
    assert error(found[0], found[1]) > 0.3
    assert error(found[1], found[2]) > 0.3


def test_real_and_fake_are_encoded_alike() -> None:
    one = clip()
    alike = recoded_alike(np.stack([one, one]), Coding(35, "veryfast", 0.8))
    np.testing.assert_array_equal(alike[0], alike[1])
    assert error(one, alike[0]) > 1


def test_draws_cover_the_settings() -> None:
    dice = Dice(1, torch.Generator().manual_seed(0))
    drawn = [Coding.drawn(dice) for _ in range(100)]
    assert {coding.preset for coding in drawn} == set(PRESETS)
    assert min(coding.crf for coding in drawn) < CRF[0] + 3
    assert max(coding.crf for coding in drawn) > CRF[1] - 3
    assert {coding.scale < 1 for coding in drawn} == {False, True}


def test_an_original_and_its_fakes_are_packed_alike() -> None:
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(clip()[0].transpose(1, 2, 0)))[1].tobytes()
    items = [Item(jpeg, f"{number}.mp4", fake) for number in range(20) for fake in (False, True)]
    codings = [coding_of(item, 0.5) for item in items]
    assert codings[::2] == codings[1::2]
    assert 4 < codings[::2].count(None) < 16
    coded = [through(item, coding) for item, coding in zip(items, codings, strict=True)]
    assert all((real.jpeg == jpeg) == (coding is None) for real, coding in zip(coded, codings, strict=True))
    assert all(real.jpeg == fake.jpeg for real, fake in zip(coded[::2], coded[1::2], strict=True))
    assert coding_of(Item(jpeg, "0.mp4", False, held_out=True), 1.0) is None, "what is measured on stays as it is"


def test_a_still_picture_has_been_predicted() -> None:
    picture = clip()[0]
    coding = Coding(30, "medium", 1.0)
    still = recoded_still(picture, coding)
    assert still.shape == picture.shape
    assert 0.5 < error(still, picture) < 12


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Two real videos and four fake ones, of two clips each."""
    found = []
    for number in range(6):
        path = tmp_path / f"{number}.npz"
        clips = {f"clip{i}": packed(clip(10 * number + i)) for i in range(2)}
        np.savez(path, person=np.zeros(2, np.int64), confidence=np.ones(2), digest=np.array(""), **clips)
        found.append(Example(f"{number}.mp4", number > 1, CachedClips.open(path)))
    return found


def dice() -> Dice:
    return Dice(1, torch.Generator().manual_seed(0))


def test_a_pseudo_fake_stands_beside_its_real(examples: list[Example]) -> None:
    clips, labels = Draws(examples, pseudo=1.0).draw(0, dice())
    assert clips.shape == (2, FRAMES, 3, SIDE, SIDE)
    assert clips.dtype == torch.uint8
    assert labels.tolist() == [0.0, 1.0]
    same = (clips[0] == clips[1]).float().mean()
    assert 0.1 < same < 0.999
    assert Draws(examples, pseudo=1.0).draw(3, dice())[1].tolist() == [1.0]
    assert len(Draws(examples).draw(0, dice())[1]) == 1


def test_every_draw_may_be_encoded_anew_whatever_its_label(examples: list[Example]) -> None:
    for place in (0, 5):
        sources = examples[place].clips.all()
        plain, coded = (Draws(examples, h264=share).draw(place, dice())[0][0].numpy() for share in (0.0, 1.0))
        assert min(error(plain, source) for source in sources) == 0
        assert 0.3 < min(error(coded, source) for source in sources) < 20


@pytest.mark.parametrize("pseudo", [0.0, 0.5])
def test_real_and_fake_clips_come_equally_often(examples: list[Example], pseudo: float) -> None:
    fakes, count = 0.0, 0
    weights = np.array(Draws(examples, pseudo).weights())
    real = weights[:2].sum()
    assert weights[2:].sum() + pseudo * real == pytest.approx(real)
    epochs = ConcatDataset([Draws(examples, pseudo, epoch=epoch) for epoch in range(4)])
    for clips, labels in DataLoader(epochs, 8, collate_fn=together):
        assert len(clips) == len(labels)
        fakes, count = fakes + float(labels.sum()), count + len(labels)
    assert 0.25 < fakes / count < 0.75


def test_a_draw_follows_from_the_seed_the_epoch_and_its_position(examples: list[Example]) -> None:
    def drawn(**where: int) -> list[bytes]:
        draws = Draws(examples * 5, 0.3, **where)
        return [draws[position][0].numpy().tobytes() for position in reversed(range(len(draws)))]

    torch.manual_seed(0)
    first = drawn(seed=3, epoch=2)
    torch.manual_seed(1)
    assert drawn(seed=3, epoch=2) == first
    assert drawn(seed=2, epoch=3) != first != drawn(seed=3, epoch=1)
    assert len(set(first)) > 12, "the dice of two positions are not the same"


def test_batches_go_on_where_a_run_had_come_to() -> None:
    assert list(Batches(7, 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(Batches(7, 3, reached=2)) == [[6]]
    assert len(Batches(7, 3, reached=2)) == 3


def test_the_same_coding_gives_the_same_bits() -> None:
    """A run that was interrupted draws again what it drew."""
    codings = [Coding(18.0 + crf, preset, 0.8) for crf in range(0, 20, 4) for preset in PRESETS]
    source = clip(3)
    first, *others = [[recoded(source, coding).tobytes() for coding in codings] for _ in range(4)]
    assert all(other == first for other in others)
