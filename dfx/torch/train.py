"""`dfx train`: labelled videos -> a cache of face clips -> a trained, calibrated, checked ONNX file with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dfx.clip_cache import CachedClips
from dfx.contain import contained
from dfx.device import lanes_of, missing
from dfx.errors import DeviceError, InputError
from dfx.extract import save
from dfx.find import Found, find
from dfx.labels import Entry, entries_beside, missing_originals, originals_of, read_entries, unmatched
from dfx.ops import cuda
from dfx.process import default_workers
from dfx.settings import HOST, Limits
from dfx.torch.clipnet import TIGHT, ClipNet
from dfx.torch.draws import Example
from dfx.torch.export_classifier import export_classifier
from dfx.torch.figures import Figures
from dfx.torch.options import Options
from dfx.torch.split import Case, check, components, split
from dfx.torch.start import begin, bind, fingerprint_of, known_of, refuse_foreign, refuse_other
from dfx.torch.train_card import about, card, counts, in_words, measured, say, write_skipped, write_validation
from dfx.torch.train_loop import Plan, fit, load_best, refuse_fewer, scores

RATES = {True: 1e-4, False: 1e-3}  # of a network that was trained before, and of one from nothing
Bool = NDArray[np.bool_]


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
    found, entries, net = _accepted(folders, labels, out, options)
    clips, skipped = cached([item for item in found if item.filename in entries], out / "clips", options)
    write_skipped(skipped, out)
    cases, held = _split(cases_of(entries, clips), options.seed, out / "split.json")
    sides = [[Example(c.filename, c.fake, clips[c.filename]) for c in _of(cases, held == side)] for side in (0, 1)]
    say(f"{len(found)} videos, {len(entries)} labelled, {len(cases)} of them with faces: {counts(sides)}")
    epochs = _trained(net, sides, options, out)
    result = measured(sides[1], components(cases)[held], scores(net, sides[1], options.device))
    export_classifier(net, out / "model.onnx", result.calibration, about=about(folders, sides[0]))
    write_validation(result, out)
    save(out / "card.md", card(sides, (components(cases), held), skipped, epochs, options, result).encode())
    say(f"{in_words(result.figures)}\nThe model is in {out / 'model.onnx'}; {out / 'card.md'} says what it is")
    return result.figures


def _accepted(
    folders: Sequence[Path], labels: Path | None, out: Path, options: Options
) -> tuple[list[Found], dict[str, Entry], ClipNet]:
    """The videos, what is known of them, and the network to train; OUT is bound to these once nothing is refused."""
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise InputError(f"{out} holds the videos: name another folder for what training writes (--out)")
    asked = _asked(folders, labels, options)
    refuse_foreign(out)
    refuse_other(out, asked)
    refuse_fewer(out, options.epochs)
    found = find(list(folders))
    entries = labelled(found, labels)
    net = begin(options.start, options.design)
    if not (out / "split.json").exists():
        split(cases_of(entries), options.seed)
    bind(out, asked, known_of(found, entries), {item.filename: item.path for item in found if item.path is not None})
    return found, entries, net


def device_of(wanted: str) -> str:
    """The device that torch trains on, of "auto", "cpu", "cuda" and "cuda:N"; "auto" says what it chose.

    Raises:
        InputError: another word. DeviceError: a GPU was asked for that torch does not see.
    """
    kind, _, number = wanted.partition(":")
    if wanted == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "cpu"
        say(f"trains on {chosen}, since torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
        return chosen
    if wanted != "cpu" and (kind != "cuda" or (number and not number.isdecimal())):
        raise InputError(f"device is {wanted!r}; auto, cpu, cuda or cuda:N is needed")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{wanted} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
    return wanted


def cached(found: Sequence[Found], folder: Path, options: Options) -> tuple[dict[str, CachedClips], dict[str, str]]:
    """The clips of every video that shows a face, and why each other has none, both by file name.

    Cut in child processes; what is there already is kept. What a GPU could not cut, the CPU cuts.
    """
    places = [(item.filename, item.path, folder / f"{item.filename}.npz") for item in found if item.path is not None]
    for home in {place.parent for *_, place in places}:
        home.mkdir(parents=True, exist_ok=True)
    skipped: dict[str, str] = {}
    for device, workers in cutters(options):
        left = [each for each in places if not each[2].exists()]
        skipped = (
            _cut(left, {"windows": options.windows, "cut": TIGHT.contract, "device": device}, workers)
            if left
            else skipped
        )
    clips = {name: CachedClips.open(place) for name, _, place in places if place.exists()}
    skipped |= {name: "no_face" for name, own in clips.items() if not len(own)}
    return {name: own for name, own in clips.items() if len(own)}, dict(sorted(skipped.items()))


def cutters(options: Options) -> list[tuple[int, int | None]]:
    """Where videos are cut, one after the other, each with its processes: a GPU, if one serves, and the CPU."""
    cpu = [(HOST, options.workers)]
    if options.cut == "cpu" or options.device == "cpu":
        return cpu
    if lacking := missing():
        say(f"cuts on the CPU, since no GPU can: {lacking}")
        return cpu
    gpu = int(options.device.partition(":")[2] or 0)
    say(f"cuts on cuda:{gpu} ({cuda.device_name(gpu)})")
    return [(gpu, options.workers or lanes_of(cuda.memory(gpu), default_workers())), *cpu]


def _cut(left: Sequence[tuple[str, Path, Path]], asked: dict[str, Any], workers: int | None) -> dict[str, str]:
    """Cuts videos; why each other has no file. left: name, path and file of each; asked: the options of the task."""
    jobs = [{"path": str(path), "out": str(place)} for _, path, place in left]
    rows = contained("clips", asked, jobs, Limits(), workers)
    bar = tqdm(rows, "cutting clips", len(jobs), unit="video", dynamic_ncols=True)
    failed = {number: answer for number, answer in bar if "reason" in answer}
    return {left[number][0]: f"{answer['reason']}: {answer['detail']}" for number, answer in failed.items()}


def labelled(found: Sequence[Found], labels: Path | None) -> dict[str, Entry]:
    """What is known of each video that has a label; what is left out for want of one, or of a video, is said."""
    entries, notes = (read_entries(labels), list[str]()) if labels else entries_beside(found)
    known = {item.filename: entries[item.filename] for item in found if item.filename in entries}
    notes += unmatched([item.filename for item in found], entries)
    if not known:
        raise InputError("; ".join(["a metadata.json must lie beside the videos, or --labels name a CSV", *notes]))
    for note in notes:
        say(note)
    if lone := missing_originals(known):
        say(
            f"{len(lone)} originals, {next(iter(lone))!r} for one, are none of the labelled videos: the {lone.total()} "
            "fakes made of them stay together where they name the same one"
        )
    return known


def cases_of(entries: Mapping[str, Entry], clips: Mapping[str, CachedClips] | None = None) -> list[Case]:
    """The videos that have clips, sorted by name, each with what it shares with others; before any are cut, all videos.

    entries: of all labelled videos, so that fakes of an original that shows no face stay together too.
    """
    originals = originals_of(entries)
    digests = dict.fromkeys(entries, "") if clips is None else {name: own.digest for name, own in clips.items()}
    return [_case(name, entries[name], originals.get(name, ()), digests[name]) for name in sorted(digests)]


def _case(name: str, entry: Entry, originals: Sequence[str], digest: str) -> Case:
    """A video with what it shares with others: its name or its original's, its people, and its bytes, if known."""
    keys = {f"video {one}" for one in (name, *originals)}
    keys |= {f"group {entry.group}"} if entry.group else set()
    keys |= {f"sha256 {digest}"} if digest else set()
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
    if done.exists() and json.loads(done.read_text())["asked"] == asked:
        load_best(net, out)
        say(f"training is done already; more --epochs or --minutes than {options.epochs} and {options.minutes:g} go on")
        return int(json.loads(done.read_text())["epochs"])
    epochs = fit(net, sides[0], sides[1], _plan(options), out)
    save(done, json.dumps({"asked": asked, "epochs": epochs}).encode())
    return epochs


def _plan(options: Options) -> Plan:
    """The plan has the options' names, and a rate besides."""
    same = {item.name: getattr(options, item.name) for item in fields(Plan) if item.name != "rate"}
    return Plan(**same, rate=RATES[options.start is not None])


def _asked(folders: Sequence[Path], labels: Path | None, options: Options) -> dict[str, Any]:
    """What must be the same for a run to go on; epochs, minutes, device and processes may change."""
    return {
        "folders": sorted(str(folder.resolve()) for folder in folders),
        "labels": str(labels.resolve()) if labels else None,
        "start": fingerprint_of(options.start),
        **{
            name: getattr(options, name)
            for name in ("design", "patience", "batch", "windows", "seed", "pseudo", "h264")
        },
    }
