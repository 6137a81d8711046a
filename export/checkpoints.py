"""What a checkpoint holds: dfx's own networks as training leaves them, and published weights of a larger detector."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfx.files import sha256_of
from dfx.torch.clipnet import ClipNet
from dfx.torch.export_classifier import calibration_of, export_classifier
from dfx.torch.export_detector import Probabilities, export_detector
from dfx.torch.retinaface import RetinaFace
from dfx.torch.retinaface_resnet50 import PixelForm, RetinaFaceResNet50
from dfx.torch.steady import classifier_of
from dfx.torch.views import ViewedNet

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """A public file of weights for `RetinaFaceResNet50`.

    sha256: the file's, or the digits that it begins with; threshold: score from which on its authors show a face.
    """

    url: str
    sha256: str
    form: PixelForm
    threshold: float
    about: dict[str, str]

    @property
    def filename(self) -> str:
        """The file's name at its publisher's."""
        return self.url.rpartition("/")[2]


WIDER = "WIDER FACE with landmarks by the authors of RetinaFace; weights by "
PUBLISHED = {
    "facexlib": Published(
        "https://github.com/xinntao/facexlib/releases/download/v0.1.0/detection_Resnet50_Final.pth",
        "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
        PixelForm("BGR", (123.0, 117.0, 104.0)),
        0.6,
        {"licence": "MIT", "training_data": f"{WIDER}biubug6/Pytorch_Retinaface, as facexlib carries them"},
    ),
    "retinaface-pytorch": Published(
        "https://github.com/ternaus/retinaface/releases/download/0.01/retinaface_resnet50_2020-07-20-f168fae3c.zip",
        "f168fae3c",
        PixelForm("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        0.7,
        {"licence": "MIT", "training_data": f"{WIDER}ternaus/retinaface"},
    ),
}
"""The first hash is the one that many public lists give for that file; the second is the end of the file's name, which
is a hash by torch.hub's convention. Neither file was at hand when this was written. The forms are those of the
repositories' own detection scripts."""


def find(source: str) -> Path:
    """A file, or published weights by their name, which are fetched.

    Raises:
        FileNotFoundError: neither. RuntimeError, OSError: as `fetch`.
    """
    if source in PUBLISHED:
        return fetch(source)
    if Path(source).is_file():
        return Path(source)
    raise FileNotFoundError(f"no file {source}, and no published weights of that name ({', '.join(PUBLISHED)})")


def fetch(name: str, folder: Path | None = None) -> Path:
    """Downloads a published file to torch's own cache (`folder` instead), unless it is there, and checks its hash.

    Raises:
        RuntimeError: the file has another hash. ConnectionError: the network.
    """
    published = PUBLISHED[name]
    path = (folder or Path(torch.hub.get_dir()) / "checkpoints") / published.filename
    if path.exists() and sha256_of(path).startswith(published.sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(published.url, str(path), published.sha256, progress=sys.stderr.isatty())
    except OSError as error:
        raise ConnectionError(f"{published.url} cannot be fetched ({error}): put it at {path} yourself") from error
    return path


def to_fp32(source: Path, out: Path, version: str, like: str | None = None) -> None:
    """Writes a checkpoint as ONNX in FP32, compared with torch on several sizes.

    Raises:
        ValueError: as `net_of`.
    """
    net = net_of(source, like)
    if isinstance(net, ClipNet | ViewedNet):
        export_classifier(net, out, calibration_of(read(source)), version)
    elif isinstance(net, Probabilities) and isinstance(net.net, RetinaFaceResNet50):
        published = publication(source, like)
        about = {"name": "retinaface-resnet50", "score_votes": "1", **published.about}
        export_detector(net.net, out, published.threshold, version, about)
    elif isinstance(net, Probabilities):
        export_detector(net.net, out, version=version)


def net_of(source: Path, like: str | None = None) -> nn.Module:
    """The network of a checkpoint, as it is exported.

    like: the name of the published file whose pixels a ResNet-50 RetinaFace was trained on; told by the file's hash
    where it is None.

    Raises:
        ValueError: a checkpoint of something else, or a ResNet-50 that is no published file, without `like`.
    """
    state = read(source)
    names = {name.removeprefix("module.") for name in state}
    if {"net", "scale", "bias"} <= names:
        return classifier_of(state).eval()
    if "body.layer4.0.conv1.weight" in names:
        large = RetinaFaceResNet50()
        large.load_published(state, publication(source, like).form)
        return Probabilities(large).eval()
    if any(name.startswith("body.") for name in names):
        small = RetinaFace()
        small.load_state_dict(state)
        return Probabilities(small).eval()
    raise ValueError(
        f"{source} holds {sorted(state)[:3]}...; a classifier.pt or detector.pt of dfx, or a published ResNet-50 "
        "RetinaFace is needed. For networks of others there is export/from_frames.py"
    )


def publication(source: Path, like: str | None) -> Published:
    """The published file of that name, or that the source is; ValueError where there is none."""
    name = like or known(source)
    if name not in PUBLISHED:
        raise ValueError(f"no published weights are called {name}: choose one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]


def known(source: Path) -> str:
    """Which published file this is, by its hash."""
    digest = sha256_of(source)
    for name, published in PUBLISHED.items():
        if digest.startswith(published.sha256):
            return name
    raise ValueError(
        f"{source} is none of the published files (SHA-256 {digest[:12]}...), so that nothing says what pixels it was "
        f"trained on: give --like {' or --like '.join(PUBLISHED)}"
    )


def read(source: Path) -> State:
    """The tensors of a file that torch wrote, or of the one file in a zip."""
    archive = zipfile.ZipFile(source) if zipfile.is_zipfile(source) else None
    if archive is None or len(archive.namelist()) != 1:  # torch's own files since 1.6 are archives of many parts
        return unpickled(source, source)
    return unpickled(io.BytesIO(archive.read(archive.namelist()[0])), source)


def unpickled(file: Path | io.BytesIO, source: Path) -> State:
    """What torch wrote to a file, by name. Raises ValueError, naming the source, where that is something else."""
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise whatever they happen to spell
        said = str(error).rpartition("WeightsUnpickler error: ")[2].strip().split("\n")[0][:200] or "it is cut short"
        raise ValueError(f"{source}: no weights that torch can read ({said}); name a file that torch wrote") from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"{source} holds a {type(state).__name__}; a dict of tensors by name is needed")
    return state
