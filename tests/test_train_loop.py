"""The training loop: a run that is killed and goes on is the run that was not, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")
pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")

import torch

from dfx.clip_cache import CachedClips, packed
from dfx.errors import InputError
from dfx.torch import train_loop
from dfx.torch.draws import Example
from dfx.torch.train_loop import FineTuning, Plan, WholeFiles, fit, refuse_fewer

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning uses what torch has deprecated
    pytest.mark.filterwarnings("ignore:.*(use of fork|multi-threaded).*:DeprecationWarning"),
]
PLAN = Plan(3, 5.0, 9, 3, 1e-2, 0, "cpu", 0, pseudo=0.0, h264=0.5)
BATCHES = 6  # of an epoch of PLAN: 16 videos, three at a time
Step = tuple[int, int, str]  # the epoch, the batch in it, and a hash of what it was


class Stopped(Exception):
    """As a kill: nothing is written any more."""


class Mean(torch.nn.Module):
    """A network that sees each frame's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.vote = torch.nn.Linear(12, 1)
        torch.nn.init.constant_(self.vote.weight, 0.01)
        torch.nn.init.zeros_(self.vote.bias)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.vote(clips.float().mean((3, 4)).flatten(1) / 255).squeeze(1)


class Watched:
    """What steps and validations a run takes; it stops before one of them."""

    def __init__(self, stop: tuple[str, int, int] | None = None) -> None:
        self.steps: list[Step] = []
        self.validated: list[int] = []
        self._stop = stop

    def before(self, what: str, epoch: int, number: int) -> None:
        if (what, epoch, number) == self._stop:
            raise Stopped
        if (what, number) == ("validation", 0):
            self.validated.append(epoch)

    def step(self, epoch: int, number: int, clips: torch.Tensor) -> None:
        self.before("training", epoch, number)
        self.steps.append((epoch, number, hashlib.sha256(clips.numpy().tobytes()).hexdigest()))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Twenty-two videos of four clips, every other one fake."""
    folder, found = tmp_path_factory.mktemp("clips"), []
    for number in range(22):
        rng = np.random.default_rng(number)
        clips = {f"clip{i}": packed(rng.integers(0, 255, (4, 3, 32, 32), np.uint8)) for i in range(4)}
        path = folder / f"{number}.npz"
        np.savez(path, person=np.zeros(4, np.int64), confidence=np.ones(4), digest=np.array(str(number)), **clips)
        found.append(Example(f"{number}.mp4", number % 2 == 0, CachedClips.open(path)))
    return found


Run = Callable[..., tuple[Watched, dict[str, Any]]]


@pytest.fixture
def run(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `fit`, stopped before a step if told; what it did, and its last checkpoint."""

    def once(out: Path, stop: tuple[str, int, int] | None = None, plan: Plan = PLAN) -> tuple[Watched, dict[str, Any]]:
        watched, training, validation = Watched(stop), FineTuning.training_step, FineTuning.validation_step

        def step(self: FineTuning, batch: Any, number: int) -> Any:
            watched.step(self.current_epoch, number, batch[0])
            return training(self, batch, number)

        def validate(self: FineTuning, batch: Any, number: int) -> None:
            watched.before("validation", self.current_epoch, number)
            validation(self, batch, number)

        with monkeypatch.context() as patched:
            patched.setattr(FineTuning, "training_step", step)
            patched.setattr(FineTuning, "validation_step", validate)
            patched.setattr(train_loop, "changed", lambda clips, seed: clips)
            if stop is None:
                fit(Mean(), examples[:16], examples[16:], plan, out)  # type: ignore[arg-type]
            else:
                with pytest.raises(Stopped):
                    fit(Mean(), examples[:16], examples[16:], plan, out)  # type: ignore[arg-type]
        return watched, torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)

    return once


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("minutes", "stop", "after"),
    [
        (5.0, ("training", 1, 3), (1, 0)),
        (0.0, ("training", 1, 3), (1, 3)),
        (0.0, ("training", 0, 4), (0, 4)),
        (0.0, ("training", 2, 5), (2, 5)),
        (0.0, ("validation", 1, 2), (1, 5)),
        (5.0, ("validation", 1, 2), (1, 0)),
    ],
    ids=[
        "epoch_end",
        "within",
        "within_the_first",
        "before_the_last_batch",
        "while_it_validates",
        "while_it_validates_with_none_within",
    ],
)
def test_a_run_that_was_killed_is_the_run_that_was_not(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    stop: tuple[str, int, int],
    after: tuple[int, int],
) -> None:
    """minutes: between checkpoints within an epoch; after: the epoch and the batch with which it goes on."""
    monkeypatch.setattr(train_loop, "SAVE_MINUTES", minutes)
    whole, expected = run(tmp_path / "whole")
    assert [step[:2] for step in whole.steps] == [(epoch, batch) for epoch in range(3) for batch in range(BATCHES)]
    run(tmp_path / "killed", stop)
    rest, found = run(tmp_path / "killed")
    assert rest.steps[0][:2] == after
    assert rest.steps == whole.steps[whole.steps.index(rest.steps[0]) :]
    assert rest.validated == whole.validated[after[0] :]
    assert same(found["state_dict"], expected["state_dict"])
    best = [
        torch.load(tmp_path / name / "checkpoints" / "best.ckpt", weights_only=True) for name in ("whole", "killed")
    ]
    assert same(best[0]["state_dict"], best[1]["state_dict"])
    assert best[0]["epoch"] == best[1]["epoch"]


def test_the_number_of_processes_that_load_changes_nothing(run: Run, tmp_path: Path) -> None:
    alone, expected = run(tmp_path / "alone", plan=replace(PLAN, epochs=2, pseudo=0.5))
    helped, found = run(tmp_path / "helped", plan=replace(PLAN, epochs=2, pseudo=0.5, loaders=2))
    assert helped.steps == alone.steps
    assert same(found["state_dict"], expected["state_dict"])


def test_a_checkpoint_takes_the_last_ones_place_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeFiles().save_checkpoint({"epoch": 1}, path)
    write = Path.write_bytes

    def killed(part: Path, data: bytes) -> int:
        write(part, data[: len(data) // 2])
        raise Stopped

    monkeypatch.setattr(Path, "write_bytes", killed)
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("another disk, maybe"))
    with pytest.raises(Stopped):
        WholeFiles().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}


def test_a_run_keeps_its_checkpoints_so(
    examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("another disk, maybe"))
    fit(Mean(), examples[:16], examples[16:], replace(PLAN, epochs=1), tmp_path)  # type: ignore[arg-type]
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_run_does_not_go_back(run: Run, tmp_path: Path) -> None:
    """It ends with as many epochs as it has had, also where it was killed within another one."""
    refuse_fewer(tmp_path, 1)
    run(tmp_path, ("training", 2, 3))
    with pytest.raises(InputError, match=r"epochs is 1; .* has had 2 already: --epochs 2 ends it with the best"):
        refuse_fewer(tmp_path, 1)
    refuse_fewer(tmp_path, 2)
    rest, _ = run(tmp_path, plan=replace(PLAN, epochs=2))
    assert rest.steps == []
