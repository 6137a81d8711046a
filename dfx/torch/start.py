"""What a training begins with: the weights of a file of dfx, or none; and the videos that its folder is bound to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from dfx.clip_cache import same_bytes
from dfx.errors import InputError, MissingInputError, ModelError, OutputError
from dfx.extract import save
from dfx.find import Found
from dfx.journal import state_of
from dfx.labels import Entry
from dfx.torch.clipnet import DESIGNS, TIGHT, ClipNet, FrameNet, design_of, with_weights
from dfx.torch.steady import clips_of

STATE = 2  # values of what is known of a video that are its file's, the last ones: size and time of change
RELABELLED = "with another label, original, split or group"
Known = Mapping[str, Sequence[Any]]  # of each labelled video: what its `Entry` says, and its file's state


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
        single = "head.weight" in state
        net = ClipNet.from_frames(with_weights(FrameNet, state)) if single else with_weights(ClipNet, state)
    except (UnpicklingError, EOFError, DecodeError) as error:  # whose texts are of torch's switches, or empty
        raise ModelError(f"{start}: not the weights of a network of dfx, nor any that can be read") from error
    except (ValueError, RuntimeError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ModelError(f"{start}: not the weights of a network of dfx ({error})") from error
    if net.cut != TIGHT:
        raise ModelError(f"{start}: made for crops of {net.cut.size} pixels; training here cuts those of {TIGHT.size}")
    return net


def _weights(start: Path) -> dict[str, torch.Tensor]:
    if start.suffix == ".onnx":
        return from_onnx(start)
    state = torch.load(start, weights_only=True, map_location="cpu")
    return clips_of(state.get("net", state))


def from_onnx(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a ClipNet in an ONNX file of ours, by their names in torch; those of other parts are left."""
    stored = stored_in(path)
    return filled(ClipNet(design_of(stored)), stored)


def filled(net: torch.nn.Module, stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a network's weights are in an ONNX file, by their names in torch.

    The exporter keeps the names, but for the matrix of a linear layer, which it turns over and numbers. Raises
    ModelError where none or several may be that one.
    """
    state = {}
    for name, weight in net.state_dict().items():
        turned = [value.T for value in stored.values() if value.ndim == 2 and value.T.shape == weight.shape]
        if name not in stored and len(turned) != 1:
            raise ModelError(f"{len(turned)} of its matrices may be {name!r}; export it anew with export/to_onnx.py")
        state[name] = stored[name] if name in stored else turned[0]
    return state


def stored_in(path: Path) -> dict[str, torch.Tensor]:
    """The weights in an ONNX file, by their names there."""
    return {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in onnx.load(path).graph.initializer}


def fingerprint_of(path: Path | None) -> str | None:
    """SHA-256 of a file, None without one. Raises MissingInputError."""
    if path is not None and not path.is_file():
        raise MissingInputError(f"no file at {path}: --start takes shipped, nothing, or a file of weights")
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def known_of(found: Sequence[Found], entries: Mapping[str, Entry]) -> dict[str, list[Any]]:
    """What a run notes of each labelled video, by its name."""
    labelled = {item.filename: item.path for item in found if item.filename in entries and item.path is not None}
    return {name: [*astuple(entries[name]), *state_of(path)] for name, path in labelled.items()}


def refuse_foreign(out: Path) -> None:
    """Raises InputError where OUT has something in it and no run, whose files would take the place of others."""
    if out.is_dir() and any(out.iterdir()) and not (out / "run.json").exists():
        raise InputError(f"{out} is not empty, and holds no run of dfx train: name a folder that is new (--out)")


def refuse_other(out: Path, asked: Mapping[str, Any]) -> None:
    """Raises InputError where the run in OUT, if there is one, was asked for something else.

    Until it is split there are clips only, which follow from the videos and from `windows`.
    """
    noted = out / "run.json"
    before = json.loads(noted.read_text()) if noted.exists() else asked
    only_cut = (out / "data.json").exists() and not (out / "split.json").exists()
    names = ["windows"] if only_cut else list(asked)
    odd = [f"{name} {before.get(name)!r}" for name in names if before.get(name) != asked[name]]
    if odd:
        raise InputError(f"{out} holds a run with {', '.join(odd)}: give that again, or name another --out")


def bind(out: Path, asked: Mapping[str, Any], known: Known, paths: Mapping[str, Path]) -> None:
    """Notes in OUT what is asked for and of which videos; the clips of those that changed since the last note go.

    A run that an older dfx began has noted no videos, and goes on.

    Raises:
        InputError: something changed and the split is made, so that what was trained on is no longer what is there.
        OutputError: OUT cannot be written.
    """
    noted = out / "data.json"
    odd = _changes(json.loads(noted.read_text()), known, paths, out / "clips") if noted.exists() else {}
    if odd and (out / "split.json").exists():
        words = "; ".join(f"{len(names)} {what}, {names[0]!r} for one" for what, names in odd.items())
        raise InputError(f"{out} holds a run on other videos or labels: {words}; undo that, or name another --out")
    for name in (name for what, names in odd.items() if what != RELABELLED for name in names):
        (out / "clips" / f"{name}.npz").unlink(missing_ok=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {out} ({error.strerror}); name one that can be written") from error
    save(out / "run.json", json.dumps(asked, indent=1).encode())
    save(noted, json.dumps(known).encode())


def _changes(before: Known, now: Known, paths: Mapping[str, Path], clips: Path) -> dict[str, list[str]]:
    """What changed since the last note, in words, each with the videos; a file that was only touched did not."""
    both = sorted(before.keys() & now.keys())
    touched = [name for name in both if before[name][-STATE:] != now[name][-STATE:]]
    found = {
        "added": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        RELABELLED: [name for name in both if before[name][:-STATE] != now[name][:-STATE]],
        "replaced by other files": [name for name in touched if not same_bytes(paths[name], clips / f"{name}.npz")],
    }
    return {what: names for what, names in found.items() if names}
