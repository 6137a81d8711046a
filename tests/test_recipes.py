"""Models of others: published weights of a ResNet-50 RetinaFace, and classifiers made of networks for pictures."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[export]')")
sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

import check
import checkpoints
import face_box
import from_frames
import to_onnx
import torch
from click.testing import CliRunner
from tolerances import EXPORT

import dfx
from dfx.classify import Classifier
from dfx.detect import Detector
from dfx.infer import Calibration
from dfx.settings import Settings
from dfx.torch import retinaface_resnet50 as resnet50

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # torch's exporter and its like warn a lot

NAMES = "e4bfdc53ec33b8769580102a67628e3504293c5ff28c95b579382fa798cfcf69"
"""SHA-256 of the lines `name shape` of biubug6/Pytorch_Retinaface's network with `cfg_re50`, made by its own code
(commit b984b4b) with torchvision 0.28: 456 tensors."""
STAGES, WIDTH = resnet50.STAGES, resnet50.WIDTH
FORMS = {name: published.form for name, published in checkpoints.PUBLISHED.items()}


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    """One block a stage and a quarter of the pyramid's width: the same code at a fiftieth of the cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet50, "STAGES", tuple((width, 1, stride) for width, _, stride in resnet50.STAGES))
        patch.setattr(resnet50, "WIDTH", 64)
        yield


@pytest.fixture(scope="module")
def large(shallow: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names, as DataParallel saves them; batch statistics are those of noise, and
    anchors are taken for background."""
    torch.manual_seed(0)
    net = resnet50.RetinaFaceResNet50().train()
    with torch.no_grad():
        net(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
        for head in net.ClassHead:
            head.conv1x1.bias[0::2] += 20.0
    path = tmp_path_factory.mktemp("large") / "Resnet50_Final.pth"
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def exported(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that to_onnx makes of it; the export itself compares it with torch at three sizes and counts."""
    out = tmp_path_factory.mktemp("exported") / "large.onnx"
    _run(to_onnx.main, large, "--out", out, "--like", "facexlib")
    return out


def test_names_and_shapes_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resnet50, "STAGES", STAGES)
    monkeypatch.setattr(resnet50, "WIDTH", WIDTH)
    state = resnet50.RetinaFaceResNet50().state_dict()
    lines = "".join(f"{name} {'x'.join(map(str, state[name].shape))}\n" for name in sorted(state))
    assert hashlib.sha256(lines.encode()).hexdigest() == NAMES


@pytest.mark.parametrize("name", FORMS)
def test_the_graph_takes_rgb_levels_as_the_published_network_takes_its_own(name: str, large: Path) -> None:
    """The same weights without the folding, on pixels that are prepared as the publisher prepares them."""
    form, state = FORMS[name], checkpoints.read(large)
    plain, folded = resnet50.RetinaFaceResNet50(), resnet50.RetinaFaceResNet50()
    plain.load_published(state, resnet50.PixelForm("RGB", (0.0, 0.0, 0.0)))
    folded.load_published(state, form)
    rgb = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (form.mean, form.deviation))
    prepared = (rgb.float() - mean) / deviation
    given = prepared.flip(1) if form.order == "BGR" else prepared
    with torch.no_grad():
        for ours, theirs in zip(folded.eval()(rgb), plain.eval()(given), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=EXPORT, atol=EXPORT)


def test_the_means_are_the_publishers() -> None:
    """B, G and R are 104, 117 and 123 in biubug6's detect.py; ternaus normalises as ImageNet is."""
    assert FORMS["facexlib"] == resnet50.PixelForm("BGR", (123.0, 117.0, 104.0))
    assert FORMS["retinaface-pytorch"].order == "RGB"
    imagenet = [255 * np.array(values) for values in from_frames.IMAGENET]
    np.testing.assert_allclose([FORMS["retinaface-pytorch"].mean, FORMS["retinaface-pytorch"].deviation], imagenet)


def test_onnx_agrees_with_torch_on_pictures(large: Path, exported: Path, samples: Path) -> None:
    results = check.check([exported], samples, 1, large, "facexlib")
    assert [result.provider for result in results][:2] == ["torch", "CPUExecutionProvider"]
    assert all(result.holds for result in results)


def test_any_count_and_size_runs(exported: Path) -> None:
    for count, height, width in ((1, 32, 64), (3, 96, 64)):
        images = np.random.default_rng(0).integers(0, 256, (count, 3, height, width), np.uint8)
        outputs = check.runner(exported, check.PROVIDERS[0])(images)
        anchors = 2 * sum(height * width // stride**2 for stride in Detector(exported).contract.strides)
        assert [values.shape for values in outputs] == [(count, anchors), (count, anchors, 4), (count, anchors, 10)]


def test_predict_takes_the_larger_detector(exported: Path, samples: Path) -> None:
    result = dfx.predict_video(samples / "real.mp4", settings=Settings(detector=exported, windows=1))
    assert result.reason == "no_face", result.detail


def test_own_weights_need_the_form_of_their_pixels(large: Path) -> None:
    with pytest.raises(ValueError, match="give --like facexlib or --like retinaface-pytorch"):
        checkpoints.net_of(large)
    with pytest.raises(ValueError, match="choose one of facexlib, retinaface-pytorch"):
        checkpoints.net_of(large, "other")
    done = CliRunner().invoke(to_onnx.main, [str(large), "--out", "m.onnx"])
    assert done.exit_code == 2
    assert "none of the published files" in done.output


def test_a_published_file_is_known_by_its_hash(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _publish(monkeypatch, large, hashlib.sha256(large.read_bytes()).hexdigest()[:9])
    assert checkpoints.known(large) == "facexlib"
    assert isinstance(checkpoints.net_of(large), torch.nn.Module)


def test_a_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "weights.pth"
    source.write_bytes(b"weights")
    _publish(monkeypatch, source, hashlib.sha256(b"weights").hexdigest())
    path = checkpoints.fetch("facexlib", tmp_path / "cache")
    assert path.read_bytes() == b"weights"
    source.unlink()
    assert checkpoints.fetch("facexlib", tmp_path / "cache") == path
    source.write_bytes(b"others")
    path.write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="invalid hash"):
        checkpoints.fetch("facexlib", tmp_path / "cache")


def test_weights_in_a_zip_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.pth", "a.pth")
    for name in ("a.pth", "a.zip"):
        assert checkpoints.read(tmp_path / name)["a"].tolist() == [1.0, 1.0]


def test_a_source_that_is_nothing_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(to_onnx.main, [str(tmp_path / "none.pt"), "--out", str(tmp_path / "m.onnx")])
    assert done.exit_code == 2
    assert "facexlib, retinaface-pytorch" in done.output


# -- classifiers of others ---------------------------------------------------------------------------------------------

NETWORKS = """
from torch import nn

def small(outputs=1):
    body = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(1)
    return nn.Sequential(*body, nn.Linear(4 * 15 * 15, outputs))

def two():
    return small(2)

def three():
    return small(3)

def number():
    return 1

def needy():
    import a_package_that_is_not_here
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a module of somebody's networks, as the working folder; `m.onnx` is made of `two` there."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "somebodys.py").write_text(NETWORKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", [*sys.path, str(folder)])
        _weights(folder, "two")
        words = ["--fake", "0", "--frames", "2", "--stride", "3", "--margin", "0.333", "--calibration", "0.5", "0"]
        _run(from_frames.main, "somebodys:two", *_files(folder), "--out", folder / "m.onnx", *words)
        yield folder
        sys.modules.pop("somebodys", None)


@pytest.mark.parametrize(("function", "fake", "frames"), [("small", 1, 1), ("small", 0, 2), ("two", 1, 3)])
def test_a_clip_is_the_mean_of_its_pictures(function: str, fake: int, frames: int, theirs: Path) -> None:
    net = from_frames.build(f"somebodys:{function}").eval()
    clips = torch.randint(0, 256, (2, frames, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        found = from_frames.Clips(net, *from_frames.IMAGENET, fake)(clips)
        torch.testing.assert_close(found, _by_hand(net, clips, fake), rtol=EXPORT, atol=EXPORT)


def test_a_network_for_pictures_becomes_a_classifier(theirs: Path) -> None:
    """One of two classes, the fake first, two frames a clip; its checkpoint is as training scripts leave them."""
    net = from_frames.build("somebodys:two").eval()
    net.load_state_dict(from_frames.read(theirs / "weights.pt"))
    classifier = Classifier(theirs / "m.onnx")
    contract = classifier.contract
    assert (contract.clip_length, contract.clip_stride, contract.crop_size) == (2, 3, 32)
    assert contract.calibration == Calibration(0.5, 0.0)
    clips = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        wanted = _by_hand(net, clips, fake=0).tolist()
    assert classifier.score(list(clips.numpy())).tolist() == pytest.approx(wanted, abs=EXPORT)


def test_predict_scores_with_it(theirs: Path, samples: Path) -> None:
    result = dfx.predict_video(samples / "real.mp4", settings=Settings(models=(theirs / "m.onnx",), windows=2))
    assert (result.reason, len(result.clips)) == ("ok", 2), result.detail


def test_other_precisions_follow_and_the_list_of_hashes_too(theirs: Path) -> None:
    """`dfx/models` keeps such a list, and prediction refuses a model that differs from it."""
    (theirs / "SHA256SUMS").write_text(f"{'0' * 64}  half.onnx\n{'1' * 64}  other.onnx\n")
    _run(to_onnx.main, theirs / "m.onnx", "--precision", "fp16", "--count", 2, "--out", theirs / "half.onnx")
    assert check.precision_of(theirs / "half.onnx") == "fp16"
    assert Classifier(theirs / "half.onnx").contract.crop_size == 32
    assert f"{'1' * 64}  other.onnx" in (theirs / "SHA256SUMS").read_text()


@pytest.mark.parametrize(
    ("function", "message"),
    [("three", "returns [2, 3]"), ("number", "returned a int"), ("none", "MODULE:FUNCTION")],
)
def test_what_is_no_such_network_is_said(function: str, message: str, theirs: Path) -> None:
    if function == "three":
        _weights(theirs, function, "others.pt")
    words = [f"somebodys:{function}", *map(str, _files(theirs, "others.pt")), "--out", "none.onnx"]
    done = CliRunner().invoke(from_frames.main, words)
    assert done.exit_code == 2
    assert message in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibration", "nan", "0"], "--calibration is (nan, 0.0); a finite scale other than 0 is needed"),
        (["--calibration", "0", "0"], "--calibration is (0.0, 0.0); a finite scale other than 0 is needed"),
        (["--calibration", "1", "inf"], "a finite bias is needed"),
        (["--margin", "nan"], "--margin is nan; a finite number above -0.5 is needed"),
        (["--margin", "-0.5"], "--margin is -0.5; a finite number above -0.5 is needed"),
        (["--margin", "1e9"], "that are not all in one place is needed"),
        (["--template", "abc"], "--template is 'abc'; a list of five finite points [x, y]"),
        (["--template", "[[0, 0], [1, 1]]"], "'dfx.crop_template' holds '[[0, 0], [1, 1]]'; a list of five"),
        (["--template", str([[0.5, 0.5]] * 5)], "that are not all in one place is needed"),
        (["--std", "0.2", "0", "0.2"], "--std is (0.2, 0.0, 0.2); a finite number above 0 each"),
        (["--mean", "nan", "0", "0"], "a finite number each for R, G and B is needed"),
        (["--out", "bad.pt"], "bad.pt ends in '.pt'; .onnx is needed"),
        (["--out", "nodir/bad.onnx"], "cannot write nodir/bad.onnx"),
        (["--out", "text.onnx"], "text.onnx is there already"),
        (["--weights", "weights.onnx", "--out", "weights.onnx"], "would take the place of weights.onnx"),
    ],
)
def test_what_makes_no_model_is_refused_before_any_work(
    words: list[str], message: str, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs / "text.onnx").write_text("a shopping list")
    (theirs / "weights.onnx").write_bytes((theirs / "weights.pt").read_bytes())
    monkeypatch.setattr(from_frames, "build", lambda _: pytest.fail("it began to work"))
    given = ["somebodys:two", *map(str, _files(theirs)), "--out", "bad.onnx", *words]
    _refused(from_frames.main, given, message)
    assert not (theirs / "bad.onnx").exists()
    assert (theirs / "text.onnx").read_text() == "a shopping list"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("somebodys:count_of", "MODULE:FUNCTION"),
        ("somebodys:nn", "give MODULE:FUNCTION, a function without arguments"),
        ("math:hypot2", "MODULE:FUNCTION"),
        ("copy:copy", "missing a required argument: 'x'; give MODULE:FUNCTION, a function without arguments"),
        (":two", "module is ''"),
        ("somebody.networks:two", "No module named 'somebody'; give MODULE:FUNCTION"),
        ("somebodys:needy", "No module named 'a_package_that_is_not_here'; install what it needs"),
    ],
)
def test_a_function_that_cannot_be_called_is_said(network: str, message: str, theirs: Path) -> None:
    _refused(from_frames.main, [network, *map(str, _files(theirs)), "--out", "none.onnx"], message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty.pt: no weights that torch can read"),
        (b"garbage", "empty.pt: no weights that torch can read"),
        ([torch.ones(2)], "holds a list; a dict of tensors by name is needed"),
        ({"epoch": 3, "model": {}}, "holds ['epoch', 'model']; tensors by name, or a state_dict of them, are needed"),
    ],
)
def test_weights_that_are_none_are_said(content: Any, message: str, theirs: Path) -> None:
    if isinstance(content, bytes):
        (theirs / "empty.pt").write_bytes(content)
    else:
        torch.save(content, theirs / "empty.pt")
    _refused(from_frames.main, ["somebodys:two", *map(str, _files(theirs, "empty.pt")), "--out", "none.onnx"], message)
    if not isinstance(content, dict):
        _refused(to_onnx.main, [str(theirs / "empty.pt"), "--out", "none.onnx"], message)


def test_a_broken_video_costs_the_others_nothing(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes((samples / "real.mp4").read_bytes()[:3000])
    done = CliRunner().invoke(face_box.main, [str(samples / "real.mp4"), str(tmp_path / "broken.mp4")])
    assert done.exit_code == 0, done.output
    assert "broken.mp4 is left out: " in done.stderr
    assert "1 faces" in done.stdout
    _refused(face_box.main, [str(tmp_path / "broken.mp4")], "no face in 1 videos; name videos with faces")


def test_a_folder_without_videos_is_said(tmp_path: Path) -> None:
    _refused(face_box.main, [str(tmp_path)], "no video in")


def test_the_template_is_that_of_the_box_with_its_margin() -> None:
    """Margin 0.5 shows twice the box, so that what lies in it lies half as far from the middle."""
    tight, wide = (np.array(face_box.template(margin)) - 0.5 for margin in (0.0, 0.5))
    np.testing.assert_allclose(tight, face_box.IN_BOX, atol=1e-4)
    np.testing.assert_allclose(wide, tight / 2, atol=1e-4)


def test_landmarks_are_measured_in_the_box() -> None:
    points = np.array([[[-0.2, -0.1], [0.1, -0.1], [0.0, 0.0], [-0.1, 0.2], [0.1, 0.3]]])
    even = face_box.symmetric(points)
    np.testing.assert_allclose(even, [[-0.15, -0.1], [0.15, -0.1], [0.0, 0.0], [-0.1, 0.25], [0.1, 0.25]])


@pytest.mark.parametrize("script", [from_frames.main, face_box.main])
def test_help_has_an_example(script: Any) -> None:
    assert "Example:\n" in CliRunner().invoke(script, ["--help"]).output


def _publish(monkeypatch: pytest.MonkeyPatch, file: Path, digest: str) -> None:
    item = replace(checkpoints.PUBLISHED["facexlib"], url=file.as_uri(), sha256=digest)
    monkeypatch.setitem(checkpoints.PUBLISHED, "facexlib", item)


def _weights(folder: Path, function: str, name: str = "weights.pt") -> None:
    """A checkpoint in the manner of training scripts: DataParallel's names, a loss that NumPy computed."""
    torch.manual_seed(0)
    net = from_frames.build(f"somebodys:{function}")
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "best": np.float64(0.5)}, folder / name)


def _files(folder: Path, name: str = "weights.pt") -> list[Any]:
    return ["--weights", folder / name, "--size", 32]


def _by_hand(net: torch.nn.Module, clips: torch.Tensor, fake: int) -> torch.Tensor:
    """Picture by picture, as the network's author would: logits [N]."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in from_frames.IMAGENET)
    scores = []
    for clip in clips:
        found = net((clip / 255 - mean) / deviation)
        single = found[:, 0] if found.shape[1] == 1 else found[:, 1] - found[:, 0]
        scores.append((single if fake else -single).mean())
    return torch.stack(scores)


def _refused(script: Any, words: list[str], message: str) -> None:
    """One line of dfx's own, and its exit status."""
    done = CliRunner().invoke(script, words)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.output
    assert message in done.stderr.splitlines()[-1]


def _run(script: Any, *words: Any) -> None:
    done = CliRunner().invoke(script, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
