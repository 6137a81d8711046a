"""The training loop of `dfx train`: Lightning's, with AMP on a GPU, checkpoints, early stop and TensorBoard logs."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from dfx.clip_cache import CachedClips
from dfx.errors import InputError
from dfx.extract import save
from dfx.torch.augment import Dice, augment
from dfx.torch.clip_data import VideoClips
from dfx.torch.clipnet import ClipNet
from dfx.torch.draws import Batches, Draws, Example, Whole, together
from dfx.torch.folds import sigmoid
from dfx.torch.loop import keep_freed_memory

MONITOR = "val_log_loss"
SAVE_MINUTES = 5.0  # between checkpoints within an epoch
MOST = 30.0  # a logit beyond it is as sure as a float can say


class WholeFiles(TorchCheckpointIO):
    """Has a checkpoint take the place of the last one when it is all there.

    Lightning writes it to the temporary folder and moves it; to another disk that is a copy, which a kill cuts.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint; raises OutputError where it cannot."""
        file = io.BytesIO()
        torch.save(checkpoint, file)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save(Path(path), file.getvalue())


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. patience: epochs without a better validation log loss; minutes: of training, over all runs; pseudo,
    h264: as of `Draws`.
    """

    epochs: int
    minutes: float
    patience: int
    batch: int
    rate: float
    seed: int
    device: str
    loaders: int
    pseudo: float
    h264: float


class FineTuning(LightningModule):
    """A ClipNet, its loss, and what is measured of it on the validation side after each epoch."""

    def __init__(self, net: ClipNet, train: Sequence[Example], held: Sequence[Example], plan: Plan) -> None:
        super().__init__()
        self.net, self._train, self._held, self._plan = net, train, held, plan
        self._logits: dict[int, float] = {}

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """An epoch's batches, from the one on that an interrupted run had reached; made anew each epoch.

        They are drawn from the seed, the epoch and the position in it, so they are the same whether the run was
        interrupted or not, and whatever the number of `loaders`. Real and fake clips come as often as each other.
        """
        plan, loop = self._plan, self.trainer.fit_loop
        draws = Draws(self._train, plan.pseudo, plan.h264, seed=plan.seed, epoch=self.current_epoch)
        reached = loop.epoch_loop.batch_progress.current.processed if loop.restarting else 0
        batches = Batches(len(draws), plan.batch, reached)
        return DataLoader(draws, batch_sampler=batches, num_workers=plan.loaders, collate_fn=together)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """A video at a time, as a prediction takes them."""
        return DataLoader(Whole(self._held), batch_size=None, num_workers=self._plan.loaders)

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        """Cross entropy of a batch, each clip's frames changed alike."""
        clips, fake = batch
        logits = self.net(changed(clips, self._plan.seed + self.global_step))
        loss: Tensor = functional.binary_cross_entropy_with_logits(logits.float(), fake)
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(fake))
        return loss

    def validation_step(self, batch: tuple[Tensor, int], number: int) -> None:
        """Notes a video's logit, taken together from its clips as prediction does it."""
        clips, place = batch
        self._logits[place] = video_logit(self._held[place].clips, self.net(clips).float())

    def on_validation_epoch_end(self) -> None:
        """Logs the log loss and the AUC over the videos, both classes weighing the same."""
        logits = np.array([self._logits[place] for place in sorted(self._logits)])
        fake = np.array([self._held[place].fake for place in sorted(self._logits)])
        self._logits = {}
        if 0 < fake.sum() < len(fake):  # the loop first tries itself on a video or two
            loss = log_loss(fake, sigmoid(logits), sample_weight=compute_sample_weight("balanced", fake))
            self.log_dict({MONITOR: float(loss), "val_auc": float(roc_auc_score(fake, logits))}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate falling along half a cosine."""
        optimiser = torch.optim.AdamW(self.net.parameters(), self._plan.rate, weight_decay=0.02)
        epochs = self._plan.epochs
        fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2)
        return {"optimizer": optimiser, "lr_scheduler": fall}


class Within(ModelCheckpoint):
    """Checkpoints within an epoch, none after its last batch: going on from there, Lightning would not validate it."""

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        """Saves if it is time to."""
        if not trainer.is_last_batch:
            super().on_train_batch_end(trainer, *rest)


def changed(clips: Tensor, seed: int) -> Tensor:
    """What may befall a video besides manipulation, the same for all frames of a clip: uint8 [N, T, 3, S, S], both."""
    count, frames = clips.shape[:2]
    generator = torch.Generator(clips.device).manual_seed(seed)
    pictures = clips.transpose(0, 1).flatten(0, 1).float()
    with torch.autocast(clips.device.type, enabled=False):
        out = augment(pictures, Dice(count, generator, copies=frames))
    return out.view(frames, count, *out.shape[1:]).transpose(0, 1)


def video_logit(clips: CachedClips, logits: Tensor) -> float:
    """A video's logit before calibration, from its clips' logits float [K], as `dfx.aggregate` takes them together."""
    nothing = np.zeros((len(clips), 0, 3, 0, 0), np.uint8)
    return VideoClips(nothing, clips.person, clips.confidence).video_logit(logits.clamp(-MOST, MOST).tolist())


def precision(device: str) -> str:
    """Of the arithmetic: mixed where a GPU gains by it, whole on a CPU, which does not."""
    if device == "cpu":
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def fit(net: ClipNet, train: Sequence[Example], held: Sequence[Example], plan: Plan, out: Path) -> int:
    """Trains, from OUT/checkpoints/last.ckpt on if it is there; the net then has the best epoch's weights.

    A run that was killed and goes on under the same plan draws what one draws that was not, and comes to the same
    weights on a CPU, with as many threads. What still differs: sums on a GPU, which have no fixed order; where
    `minutes` end a run; and a run that was killed between its early stop and its end trains one epoch more.

    Returns:
        How many epochs there have been, over all runs.
    """
    if plan.device == "cpu":
        keep_freed_memory()
    folder = out / "checkpoints"
    best = ModelCheckpoint(folder, "best", monitor=MONITOR, enable_version_counter=False)
    within = Within(folder, "last", train_time_interval=timedelta(minutes=SAVE_MINUTES), **_ALWAYS)
    after = ModelCheckpoint(folder, "last", every_n_epochs=1, save_on_train_epoch_end=True, **_ALWAYS)
    trainer = _trainer(plan, out, [EarlyStopping(MONITOR, patience=plan.patience), best, within, after])
    last = folder / "last.ckpt"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(not have many workers|Checkpoint directory|not resumable).*")
        trainer.fit(FineTuning(net, train, held, plan), ckpt_path=last if last.exists() else None, weights_only=True)
    load_best(net, out)
    return int(trainer.current_epoch)


def refuse_fewer(out: Path, epochs: int) -> None:
    """Raises InputError where OUT has had more epochs than are asked for: a run cannot go back."""
    last = out / "checkpoints" / "last.ckpt"
    if not last.exists():
        return
    loops = torch.load(last, weights_only=True, map_location="cpu")["loops"]
    had = loops["fit_loop"]["epoch_progress"]["current"]["processed"]
    if had > epochs:
        raise InputError(
            f"epochs is {epochs}; {out} has had {had} already: --epochs {had} ends it with the best of them, more go "
            "on, and another --out begins anew"
        )


def load_best(net: ClipNet, out: Path) -> None:
    """Gives the net the weights of the best epoch in OUT/checkpoints, if one came to its end, and brings it home."""
    best = out / "checkpoints" / "best.ckpt"
    net.cpu().eval()
    if best.exists():
        state = torch.load(best, weights_only=True, map_location="cpu")["state_dict"]
        net.load_state_dict({name.removeprefix("net."): weight for name, weight in state.items()})


_ALWAYS: dict[str, Any] = {"save_top_k": 1, "monitor": None, "enable_version_counter": False}


def _trainer(plan: Plan, out: Path, callbacks: list[Any]) -> Trainer:
    seed_everything(plan.seed, verbose=False)
    return Trainer(
        accelerator="cpu" if plan.device == "cpu" else "gpu",
        devices=[int(plan.device.partition(":")[2] or 0)] if plan.device != "cpu" else 1,
        precision=precision(plan.device),
        max_epochs=plan.epochs,
        max_time=timedelta(minutes=plan.minutes),
        gradient_clip_val=5.0,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=1,
        logger=TensorBoardLogger(out, name="logs", version=""),
        callbacks=callbacks,
        plugins=[WholeFiles()],
        enable_model_summary=False,
    )


@torch.no_grad()
def scores(net: ClipNet, examples: Sequence[Example], device: str) -> NDArray[np.float64]:
    """Each video's logit before calibration, float [N], in whole precision as an ONNX file gives it."""
    net.to(device).eval()
    loaded = DataLoader(Whole(examples), batch_size=None)
    found = [video_logit(examples[place].clips, net(clips.to(device)).cpu()) for clips, place in loaded]
    net.to("cpu")
    return np.array(found, np.float64)
