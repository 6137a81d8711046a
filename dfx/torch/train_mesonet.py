"""Trains a MesoNet from nothing to say what its authors' weights say, of face crops that nobody labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from dfx.cli.one_line import OneLine
from dfx.torch.augment import Dice, along, blur_matrix, placed, recompressed, relit, wide
from dfx.torch.clipnet import Cut
from dfx.torch.crop_store import Shard, stored_size
from dfx.torch.labelled import decoded, stretched
from dfx.torch.loop import TICKS, Clock, Training, keep_freed_memory
from dfx.torch.mesonet import SIZE, MesoNet, published

SHOWN = Cut(SIZE, 1.0, 1, 1)
WIDE = 0.25  # share of pictures that show more than the face, where there are any
COMPRESSED = 0.5
FEATURES = 1.0  # weight of the last stage's output beside the logit
AVERAGING = 0.998
BATCH = 32  # pictures, each of them shown both ways round
MEASURED = 512  # pictures
RATE = 4e-3


@click.command(cls=OneLine)
@click.option("--shards", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of face crops.")
@click.option("--teacher", type=click.Path(path_type=Path, exists=True), required=True, help="Its authors' .h5 file.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for checkpoints and weights.")
@click.option("--start", type=click.Path(path_type=Path, exists=True), help="A mesonet.pt to begin another cycle from.")
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--every", default=120.0, show_default=True, help="Seconds between measurements and checkpoints.")
def main(
    shards: Path,
    teacher: Path,
    out: Path,
    start: Path | None,
    minutes: float,
    seed: int,
    device: str,
    every: float,
) -> None:
    """Train, writing OUT/mesonet.pt (the running average of the weights). Interrupted, it goes on.

    Shards are those of pack_crops and pack_videos; of the latter only the photographs, no labelled video.

    \b
    Example:
        python -m dfx.torch.train_mesonet --shards shards --teacher meso4_f2f.h5 --out runs/mesonet
    """
    keep_freed_memory()
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    net = MesoNet.load(start) if start else MesoNet()
    run = Training(net.to(device), TICKS, RATE, out / "checkpoint.pt", decay=AVERAGING)
    master, crops = published(teacher).to(device), Crops.read(shards)
    lesson = Lesson(master, crops, torch.Generator(device).manual_seed(seed + run.step))
    exam = Exam.of(crops.measured, master, device)
    clock, reported, wrong = Clock(minutes * 60, run.tick), 0.0, []
    while (tick := clock.tick) < TICKS:
        wrong.append(lesson.step(run, tick))
        if clock.elapsed > reported + every:
            reported, wrong = clock.elapsed, report(run, exam, wrong, clock, out)
    report(run, exam, wrong, clock, out)


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """JPEGs: tight crops, wide ones, and tight ones that are measured on."""

    tight: list[bytes]
    wide: list[bytes]
    measured: list[bytes]

    @classmethod
    def read(cls, folder: Path) -> Crops:
        """Of all shards in a folder, without labelled videos."""
        shards = [shard.rows(shard.fold == "") for shard in map(Shard.read, sorted(folder.glob("*.npz")))]
        held = [jpeg for shard in shards for jpeg in shard.rows(shard.held_out).jpegs]
        rest = [shard.rows(~shard.held_out) for shard in shards]
        tight, wide = (
            [jpeg for shard in rest for jpeg in shard.rows((shard.around > 1) == around).jpegs]
            for around in (False, True)
        )
        return cls(tight, wide, held[:MEASURED])


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What the student is shown, and what the teacher says of it."""

    teacher: MesoNet
    crops: Crops
    generator: torch.Generator

    def step(self, run: Training[MesoNet], tick: int) -> float:
        """One step; the share of the teacher's variance that it missed."""
        faces = self.faces()
        with torch.autocast(faces.device.type, torch.bfloat16):
            with torch.no_grad():
                aim = self.teacher.features(faces).float()
            found = run.net.train().features(faces).float()
        wanted, logits = self.teacher.logits(aim).detach(), run.net.logits(found)
        missed = (logits - wanted).square().mean() / wanted.var()
        spread = aim.var(dim=(0, 2, 3), keepdim=True) + 1e-3
        run.advance(missed + FEATURES * ((found - aim).square() / spread).mean(), tick)
        return float(missed.detach())

    @torch.no_grad()
    def faces(self) -> Tensor:
        """float [2 * BATCH, 3, 256, 256], channels last: pictures, then their mirror images."""
        widely = BATCH * WIDE if self.crops.wide else 0
        chosen = [self._of(self.crops.wide if row < widely else self.crops.tight) for row in range(BATCH)]
        pictures = stacked(chosen, stored_size(SHOWN)).to(self.generator.device)
        dice = Dice(BATCH, self.generator)
        x = sharpened(relit(placed(pictures, dice, SHOWN), dice), dice)
        some = torch.randperm(BATCH, generator=self.generator, device=x.device)[: round(BATCH * COMPRESSED)]
        x[some] = recompressed(x[some], Dice(len(some), self.generator), 1.0)
        return torch.cat([x, x.flip(3)]).contiguous(memory_format=torch.channels_last)

    def _of(self, jpegs: list[bytes]) -> bytes:
        return jpegs[int(torch.randint(len(jpegs), (1,), generator=self.generator, device=self.generator.device))]


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """Pictures that training never shows, uint8 [N, 3, 256, 256], and what the teacher says of them, float [N]."""

    pictures: Tensor
    wanted: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, jpegs: list[bytes], teacher: MesoNet, device: str) -> Exam | None:
        """None where there are too few to differ."""
        if len(jpegs) < 2:
            return None
        pictures = stacked(jpegs, SIZE).byte().to(device)
        return cls(pictures, said_by(teacher, pictures))

    @torch.no_grad()
    def missed(self, student: MesoNet) -> float:
        """The share of the teacher's variance that a student misses."""
        said = said_by(student.eval(), self.pictures)
        return float((said - self.wanted).square().mean() / self.wanted.var())


def said_by(net: MesoNet, pictures: Tensor) -> Tensor:
    """Its logits of many pictures: float [N]."""
    return torch.cat([net(part) for part in pictures.split(64)])


def sharpened(x: Tensor, dice: Dice) -> Tensor:
    """Most pictures with their details raised (unsharp masking): face crops at hand are softer than videos' faces."""
    amount = dice.sometimes(0.8, 0.3, 3.0, 0.0)
    soft = along(blur_matrix(dice.uniform(0.7, 2.0), x.shape[-1]), x)
    return (x + wide(amount) * (x - soft)).clamp(0, 255)


def stacked(jpegs: list[bytes], size: int) -> Tensor:
    """JPEGs as float [N, 3, size, size], 0 to 255, RGB."""
    pictures = np.stack([stretched(decoded(jpeg), size, size) for jpeg in jpegs])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()


def report(run: Training[MesoNet], exam: Exam | None, wrong: list[float], clock: Clock, out: Path) -> list[float]:
    """Prints the figures and writes the weights; an empty list, for the next ones."""
    seen = f"missed {np.mean(wrong):.3f} of the variance" if wrong else "no step"
    unseen = f", {exam.missed(run.average):.3f} of unseen pictures'" if exam else ""
    click.echo(f"step {run.step} {clock.elapsed:.0f} s {seen}{unseen}")
    run.write(out / "mesonet.pt")
    run.save()
    return []


if __name__ == "__main__":
    main()
