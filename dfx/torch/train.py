"""`dfx train`: labelled videos -> a cache of face clips -> a trained, calibrated, checked ONNX file with its card."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from dfx.clip_cache import CachedClips
from dfx.contain import contained
from dfx.errors import DeviceError, InputError, MissingInputError, ModelError, OutputError
from dfx.extract import save
from dfx.find import Found, find
from dfx.infer import Calibration
from dfx.labels import Entry, entries_beside, original_of, read_entries
from dfx.settings import Limits
from dfx.torch.clipnet import DESIGNS, ClipNet, FrameNet, design_of
from dfx.torch.eval_classifier import Figures, figures
from dfx.torch.export_classifier import export_classifier
from dfx.torch.split import Case, check, components, split
from dfx.torch.train_classifier import calibrate
from dfx.torch.train_loop import Example, Plan, fit, load_best, precision, scores, sigmoid

FOLDS = 5  # of the held-out groups, when the calibration is measured
RATES = {True: 1e-4, False: 1e-3}  # of a network that was trained before, and of one from nothing
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for. start: weights to begin with; None begins from nothing; loaders: processes that read."""

    start: Path | None = None
    design: str = "lite0"
    epochs: int = 20
    minutes: float = 140.0
    patience: int = 5
    batch: int = 16
    windows: int = 2
    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
    loaders: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of the held-out videos: probabilities float [N] by a calibration that never saw them."""

    examples: Sequence[Example]
    groups: NDArray[np.int64]
    logits: Float
    probabilities: Float
    calibration: Calibration

    @property
    def fake(self) -> Bool:
        """bool [N]."""
        return np.array([example.fake for example in self.examples])

    @property
    def figures(self) -> Figures:
        """Over all of them, both classes weighing the same.

        AUC is that of the logits: it asks for an order, which calibrations of several folds would mix up.
        """
        return replace(figures(self.probabilities, self.fake), auc=float(roc_auc_score(self.fake, self.logits)))


def train(folders: Sequence[Path], labels: Path | None, out: Path, options: Options) -> Figures:
    """Writes OUT/model.onnx, card.md and validation.csv; on an unfinished OUT it goes on where that one stopped.

    folders: of videos, each with its metadata.json, unless `labels`, a CSV or JSON, speaks for all of them.

    Returns:
        What was measured on the held-out videos.

    Raises:
        MissingInputError, InputError, OutputError, DeviceError, ModelError: each in one line.
        RuntimeError: the ONNX file does not do what the network does.
    """
    options = replace(options, device=device_of(options.device))
    _same(out, _asked(folders, labels, options))
    found = find(list(folders))
    entries = _entries(found, labels)
    net = begin(options.start, options.design)
    clips, skipped = cached([item for item in found if item.filename in entries], out / "clips", options)
    _write_skipped(skipped, out)
    cases = [_case(name, entries[name], clips[name]) for name in sorted(clips)]
    cases, held = _split(cases, options.seed, out / "split.json")
    sides = [[Example(c.filename, c.fake, clips[c.filename]) for c in _of(cases, held == side)] for side in (0, 1)]
    _say(f"{len(found)} videos, {len(entries)} labelled, {len(cases)} of them with faces: {_counts(sides)}")
    epochs = _trained(net, sides, options, out)
    result = measured(sides[1], components(cases)[held], scores(net, sides[1], options.device))
    export_classifier(net, out / "model.onnx", result.calibration, about=_about(folders, sides[0]))
    _write_validation(result, out)
    save(out / "card.md", card(sides, (components(cases), held), skipped, epochs, options, result).encode())
    _say(f"{_in_words(result.figures)}\nThe model is in {out / 'model.onnx'}; {out / 'card.md'} says what it is")
    return result.figures


def device_of(wanted: str) -> str:
    """The device that torch trains on, of "auto", "cpu", "cuda" and "cuda:N"; "auto" says what it chose.

    Raises:
        InputError: another word. DeviceError: a GPU was asked for that torch does not see.
    """
    kind, _, number = wanted.partition(":")
    if wanted == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        _say(f"trains on {chosen}, since torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
        return chosen
    if wanted != "cpu" and (kind != "cuda" or (number and not number.isdecimal())):
        raise InputError(f"device is {wanted!r}; auto, cpu, cuda or cuda:N is needed")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{wanted} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
    return wanted


def begin(start: Path | None, design: str) -> ClipNet:
    """A network with the weights of an ONNX file that dfx wrote, of a classifier.pt or backbone.pt, or from nothing.

    Raises:
        MissingInputError: no such file. ModelError: it holds no such network.
    """
    if start is None:
        return ClipNet(DESIGNS[design])
    if not start.is_file():
        raise MissingInputError(f"no file at {start}: name a .onnx that dfx wrote, a classifier.pt or a backbone.pt")
    try:
        state = _weights(start)
        if "head.weight" in state:
            return ClipNet.from_frames(FrameNet.load(start))
        net = ClipNet(design_of(state))
        net.load_state_dict(state)
    except (ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise ModelError(f"{start}: not the weights of a network of dfx ({error})") from error
    return net


def _weights(start: Path) -> dict[str, torch.Tensor]:
    if start.suffix == ".onnx":
        return from_onnx(start)
    state = torch.load(start, weights_only=True, map_location="cpu")
    return dict(state.get("net", state))


def from_onnx(path: Path) -> dict[str, torch.Tensor]:
    """The weights in an ONNX file of ours, by their names in torch.

    The exporter keeps the names, but for the matrix of a linear layer, which it turns over and numbers.
    """
    stored = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in onnx.load(path).graph.initializer}
    net = ClipNet(design_of(stored))
    state = {}
    for name, weight in net.state_dict().items():
        turned = [value.T for value in stored.values() if value.ndim == 2 and value.T.shape == weight.shape]
        state[name] = stored[name] if name in stored else turned[0]
    return state


def cached(found: Sequence[Found], folder: Path, options: Options) -> tuple[dict[str, CachedClips], dict[str, str]]:
    """The clips of every video that shows a face, and why each other has none, both by file name.

    Cut in child processes, on the CPU whatever trains, so that every machine trains on the same bits; what is there
    already is kept.
    """
    places = [(item.filename, item.path, folder / f"{item.filename}.npz") for item in found if item.path is not None]
    for home in {place.parent for *_, place in places}:
        home.mkdir(parents=True, exist_ok=True)
    left = [(name, path, place) for name, path, place in places if not place.exists()]
    jobs = [{"path": str(path), "out": str(place)} for _, path, place in left]
    skipped = {}
    rows = contained("clips", {"windows": options.windows}, jobs, Limits(), options.workers) if jobs else ()
    for number, answer in tqdm(rows, "cutting clips", len(jobs), unit="video", dynamic_ncols=True, disable=not jobs):
        if "reason" in answer:
            skipped[left[number][0]] = f"{answer['reason']}: {answer['detail']}"
    clips = {name: CachedClips.open(place) for name, _, place in places if place.exists()}
    skipped |= {name: "no_face" for name, own in clips.items() if not len(own)}
    return {name: own for name, own in clips.items() if len(own)}, dict(sorted(skipped.items()))


def _entries(found: Sequence[Found], labels: Path | None) -> dict[str, Entry]:
    """What is known of each video that has a label."""
    entries, notes = (read_entries(labels), list[str]()) if labels else entries_beside(found)
    for note in notes:
        _say(note)
    known = {item.filename: entries[item.filename] for item in found if item.filename in entries}
    if not known:
        raise InputError(
            f"none of the {len(found)} videos has a label: a metadata.json must lie beside them, or --labels name a CSV"
        )
    return known


def _case(name: str, entry: Entry, clips: CachedClips) -> Case:
    """A video with what it shares with others: its name or its original's, its people, its very bytes."""
    keys = {f"video {name}", f"sha256 {clips.digest}"}
    keys |= {f"video {original_of(name, entry)}"} if entry.original else set()
    keys |= {f"group {entry.group}"} if entry.group else set()
    return Case(name, entry.label == "FAKE", frozenset(keys), entry.split)


def _split(cases: list[Case], seed: int, stored: Path) -> tuple[list[Case], Bool]:
    """The split, made once and then kept, so that what was trained on is never held out by a later run.

    A video that could not be cut when the split was made, and can be now, stays out.
    """
    if not stored.exists():
        held = split(cases, seed)
        sides = dict(zip([case.filename for case in cases], held.tolist(), strict=True))
        save(stored, json.dumps(sides, indent=1).encode())
    sides = json.loads(stored.read_text())
    cases = [case for case in cases if case.filename in sides]
    held = np.array([sides[case.filename] for case in cases], np.bool_)
    check(cases, held)
    return cases, held


def _of(cases: Sequence[Case], chosen: Bool) -> list[Case]:
    return [case for case, one in zip(cases, chosen.tolist(), strict=True) if one]


def _trained(net: ClipNet, sides: Sequence[Sequence[Example]], options: Options, out: Path) -> int:
    """Trains unless that is done; the net has the best epoch's weights then. Returns how many epochs there were."""
    done, asked = out / "done.json", {"epochs": options.epochs, "minutes": options.minutes}
    plan = Plan(
        options.epochs,
        options.minutes,
        options.patience,
        options.batch,
        RATES[options.start is not None],
        options.seed,
        options.device,
        options.loaders,
    )
    if done.exists() and json.loads(done.read_text())["asked"] == asked:
        load_best(net, out)
        _say(
            f"training is done already; more --epochs or --minutes than {options.epochs} and {options.minutes:g} go on"
        )
        return int(json.loads(done.read_text())["epochs"])
    epochs = fit(net, sides[0], sides[1], plan, out)
    save(done, json.dumps({"asked": asked, "epochs": epochs}).encode())
    return epochs


def measured(held: Sequence[Example], groups: NDArray[np.int64], logits: Float) -> Result:
    """Calibrates on the held-out videos, and measures each by a calibration that its people had no part in."""
    fake = np.array([example.fake for example in held])
    smallest = min(len(np.unique(groups[fake == side])) for side in (False, True))
    final = calibrate(logits, fake)
    probabilities = _calibrated(final, logits)
    if smallest > 1:  # else there are too few people to leave some out, and the card says so
        folds = StratifiedGroupKFold(min(FOLDS, smallest)).split(logits, fake, groups)
        for rest, own in folds:
            if 0 < fake[rest].sum() < len(rest):
                probabilities[own] = _calibrated(calibrate(logits[rest], fake[rest]), logits[own])
    return Result(held, groups, logits, probabilities, final)


def _calibrated(calibration: Calibration, logits: Float) -> Float:
    return sigmoid(calibration.scale * logits + calibration.bias)


def _asked(folders: Sequence[Path], labels: Path | None, options: Options) -> dict[str, Any]:
    """What must be the same for a run to go on; epochs, minutes, device and processes may change."""
    return {
        "folders": sorted(str(folder.resolve()) for folder in folders),
        "labels": str(labels.resolve()) if labels else None,
        "start": fingerprint_of(options.start),
        **{name: getattr(options, name) for name in ("design", "patience", "batch", "windows", "seed")},
    }


def fingerprint_of(path: Path | None) -> str | None:
    """SHA-256 of a file, None without one. Raises MissingInputError."""
    if path is not None and not path.is_file():
        raise MissingInputError(f"no file at {path}: --start takes shipped, nothing, or a file of weights")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def _same(out: Path, asked: dict[str, Any]) -> None:
    """Notes what is asked for in OUT/run.json, or raises InputError where that run was asked for something else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out} ({error.strerror}); name one that can be written") from error
    noted = out / "run.json"
    if not noted.exists():
        save(noted, json.dumps(asked, indent=1).encode())
        return
    before = json.loads(noted.read_text())
    odd = [f"{name} {before.get(name)!r}" for name in asked if before.get(name) != asked[name]]
    if odd:
        raise InputError(f"{out} holds a run with {', '.join(odd)}: give that again, or name another --out")


def _about(folders: Sequence[Path], trained: Sequence[Example]) -> dict[str, str]:
    names = ", ".join(folder.name for folder in folders)
    fakes = sum(example.fake for example in trained)
    return {
        "name": "dfx-clipnet, trained by dfx train",
        "licence": "that of the videos it was trained on, and of the weights it began with; see card.md",
        "training_data": f"{len(trained)} videos of {names}, {fakes} of them fake; see card.md",
    }


def _write_validation(result: Result, out: Path) -> None:
    """A row a held-out video, with the probability by a calibration that never saw its people."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["filename", "label", "group", "logit", "probability"])
    for example, group, logit, probability in zip(
        result.examples, result.groups.tolist(), result.logits.tolist(), result.probabilities.tolist(), strict=True
    ):
        rows.writerow([example.filename, word(example), group, f"{logit:.6f}", f"{probability:.6f}"])
    save(out / "validation.csv", text.getvalue().encode("utf-8", "surrogateescape"))


def _write_skipped(skipped: dict[str, str], out: Path) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([("filename", "reason"), *skipped.items()])
    save(out / "skipped.csv", text.getvalue().encode("utf-8", "surrogateescape"))
    if skipped:
        _say(f"{len(skipped)} videos give nothing to train on: {out / 'skipped.csv'} says why")


def word(example: Example) -> str:
    """REAL or FAKE."""
    return "FAKE" if example.fake else "REAL"


def _counts(sides: Sequence[Sequence[Example]]) -> str:
    words = [f"{len(side)} ({sum(example.fake for example in side)} fake)" for side in sides]
    return f"{words[0]} to train on, {words[1]} held out"


def _in_words(found: Figures) -> str:
    return (
        f"held out: AUC {found.auc:.3f}, log loss {found.log_loss:.3f}, accuracy {found.accuracy:.3f}, "
        f"calibration error {found.ece:.3f}"
    )


def _say(words: str) -> None:
    click.echo(words, err=True)


def card(
    sides: Sequence[Sequence[Example]],
    parts: tuple[NDArray[np.int64], Bool],
    skipped: dict[str, str],
    epochs: int,
    options: Options,
    result: Result,
) -> str:
    """The model card, in Markdown. parts: of each video its component, and whether it is held out."""
    groups, held = parts
    reasons = Counter(reason.partition(":")[0] for reason in skipped.values())
    found, calibration = result.figures, result.calibration
    rows = "\n".join(
        f"| {name} | {len(side)} | {sum(e.fake for e in side)} | {sum(not e.fake for e in side)} "
        f"| {len(np.unique(groups[held == place]))} | {sum(len(e.clips) for e in side)} |"
        for place, (name, side) in enumerate(zip(("training", "held out"), sides, strict=True))
    )
    begun = f"`{options.start.name}` (SHA-256 {fingerprint_of(options.start)})" if options.start else "nothing"
    versions = ", ".join(f"{name} {version(name)}" for name in ("dfx", "torch", "pytorch-lightning", "onnx", "av"))
    return f"""# The classifier `model.onnx`

Trained by `dfx train`, not by those who wrote dfx: they know nothing of what it does. Its scores are hints, never
proof.

## Data

| side | videos | fake | real | groups | clips |
| --- | --- | --- | --- | --- | --- |
{rows}

A group is what hangs together by a person (where the labels name groups), an original or the very same file; no group
is on both sides. Left out: {", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "no video"}.

## Training

    {" ".join(["dfx", *map(shlex.quote, sys.argv[1:])])}

Seed {options.seed}; {epochs} epochs of at most {options.epochs}, on {options.device} in {precision(options.device)}.
It began from {begun}.
REAL and FAKE are drawn as often as each other; the weights are those of the epoch with the least log loss on the
held-out videos. {versions}.

## Figures

On the {len(sides[1])} held-out videos, both classes weighing the same, each by a calibration that was fitted without
its group (where there are groups enough: at least two with REAL and two with FAKE):

| AUC | log loss | Brier | accuracy at 0.5 | calibration error |
| --- | --- | --- | --- | --- |
| {found.auc:.4f} | {found.log_loss:.4f} | {found.brier:.4f} | {found.accuracy:.4f} | {found.ece:.4f} |

Always 0.5 has a log loss of 0.6931. The file's own calibration, fitted on all of them, has the scale 0 where fakes did
not score higher than real videos, and the model then says 0.5 of everything:
probability = sigmoid({calibration.scale:.4f} * logit + {calibration.bias:.4f}).

## Known limits

* The epoch was chosen on the held-out videos, which flatters the figures a little; few videos make them uncertain.
* Generators of the held-out fakes were seen in training: on other generators it does worse, as every detector does.
* People whom the labels do not name may be on both sides (the challenge's metadata.json names originals, not people),
  and weights that it began from may have been trained on any of these videos; both flatter the figures too.
* Its licence follows the videos' and the starting weights'. ONNX Runtime and torch agreed when it was written.
"""
