"""The export scripts: checkpoints and ONNX files in each precision, and the check that compares them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from disks import full_disk
from models import CONTRACT
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))

import agreement
import check
import to_onnx

from dfx.classify import Classifier
from dfx.detect import Detector
from dfx.errors import OutputError
from dfx.infer import Calibration
from dfx.settings import MODELS

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # torch's exporter and its like warn a lot


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of every network, as training leaves them."""
    torch = pytest.importorskip("torch")
    from dfx.torch.clipnet import DESIGNS, ClipNet
    from dfx.torch.retinaface import RetinaFace

    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for name, design in DESIGNS.items():
        doubt = {"doubt": 0.5} if name == "lite1" else {}  # older files have none
        torch.save({"net": ClipNet(design).state_dict(), "scale": 1.5, "bias": 0.25, **doubt}, folder / f"{name}.pt")
    torch.save(RetinaFace().state_dict(), folder / "detector.pt")
    torch.save({"other": torch.zeros(1)}, folder / "other.pt")
    return folder


@pytest.mark.parametrize(("design", "doubt"), [("lite0", 0.0), ("lite1", 0.5)])
def test_a_classifier_of_either_design_keeps_its_calibration(
    design: str, doubt: float, checkpoints: Path, tmp_path: Path
) -> None:
    _run(checkpoints / f"{design}.pt", tmp_path / "m.onnx", "--model-version", "7")
    contract = Classifier(tmp_path / "m.onnx").contract
    assert (contract.calibration, contract.version) == (Calibration(1.5, 0.25, doubt), "7")
    session = onnx.load(str(tmp_path / "m.onnx"))
    assert session.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_a_detector_is_exported_and_checked_against_torch(checkpoints: Path, tmp_path: Path, samples: Path) -> None:
    _run(checkpoints / "detector.pt", tmp_path / "m.onnx")
    assert Detector(tmp_path / "m.onnx").contract.strides == (8, 16, 32)
    results = check.check([tmp_path / "m.onnx"], samples, 2, checkpoints / "detector.pt")
    assert [result.provider for result in results][:2] == ["torch", "CPUExecutionProvider"]
    assert all(result.holds for result in results)


def test_a_checkpoint_of_something_else_is_named(checkpoints: Path) -> None:
    import checkpoints as read  # needs torch

    with pytest.raises(ValueError, match=r"other\.pt holds \['other'\]"):
        read.net_of(checkpoints / "other.pt")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_shipped_detector_runs_in_each_precision_at_several_sizes(precision: str, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    _run(MODELS / "detector.onnx", out, "--precision", precision, "--count", "2")
    assert check.precision_of(out) == precision
    for count, height, width in ((1, 64, 96), (3, 32, 32)):
        scores, boxes, landmarks = check.runner(out, check.PROVIDERS[0])(np.zeros((count, 3, height, width), np.uint8))
        anchors = 2 * sum(height * width // stride**2 for stride in Detector(out).contract.strides)
        assert (scores.shape, boxes.shape) == ((count, anchors), (count, anchors, 4))
        assert landmarks.shape == (count, anchors, 10)
        assert all(np.isfinite(values).all() for values in (scores, boxes, landmarks))


def test_fp16_agrees_and_a_wrong_model_does_not(tmp_path: Path, samples: Path) -> None:
    shipped, half, wrong = MODELS / "classifier.onnx", tmp_path / "half.onnx", tmp_path / "wrong.onnx"
    _run(shipped, half, "--precision", "fp16", "--count", "2")
    _takes_several_clips(half, "fp16")
    model = onnx.load(str(shipped))
    bias = next(item for item in model.graph.initializer if item.name.endswith("vote.bias"))
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1, bias.name))
    onnx.save(model, str(wrong))
    good = CliRunner().invoke(check.main, [str(shipped), str(half), "--count", "2"])
    assert good.exit_code == 0, good.output
    bad = CliRunner().invoke(check.main, [str(shipped), str(wrong), "--count", "2"])
    assert bad.exit_code == 1
    assert "NO" in bad.output


def test_int8_holds_since_its_first_layers_stay_in_fp32(tmp_path: Path) -> None:
    shipped, out = MODELS / "classifier.onnx", tmp_path / "int8.onnx"
    _run(shipped, out, "--precision", "int8", "--count", "4")
    _takes_several_clips(out, "int8")
    first = next(node for node in onnx.load(str(shipped)).graph.node if node.op_type == "Conv")
    (weight,) = [node.input[1] for node in onnx.load(str(out)).graph.node if node.name == first.name]
    assert weight == first.input[1], "not the output of a DequantizeLinear"
    good = CliRunner().invoke(check.main, [str(shipped), str(out), "--count", "4"])
    assert good.exit_code == 0, good.output


def test_what_measures_texture_stays_in_fp32(tmp_path: Path) -> None:
    model, clips = onnx.load(str(MODELS / "classifier.onnx")), [np.zeros((1, 4, 3, 280, 280), np.uint8)]
    names = to_onnx.measuring(model)
    nodes = [node for node in model.graph.node if node.name in names]
    assert [node.op_type for node in nodes].count("Conv") == 5, "a level each"
    assert nodes[-1].output[0] == model.graph.output[0].name, "down to the logit"
    assert len(nodes) < len(model.graph.node) / 4
    assert set(names) <= set(to_onnx.to_fp16(model, clips)[1])
    assert to_onnx.measuring(_overflowing()) == []


def test_a_nan_planted_in_fp16_is_mended_by_name() -> None:
    """70000 is infinite in FP16, and infinity less infinity is NaN."""
    model, clips = _overflowing(), np.full((1, 4), 200, np.uint8)
    assert to_onnx.overflowing(model, [clips]) == ["square", "difference"]
    naive = to_onnx.convert_float_to_float16(to_onnx._copy(model), keep_io_types=True)
    to_onnx.OnnxModel(naive).topological_sort()
    assert np.isnan(_values(naive, clips)).all()
    mended, kept = to_onnx.to_fp16(model, [clips])
    assert kept == ["difference", "real", "scaled", "square"], "what multiplies pixels may scale the picture"
    np.testing.assert_allclose(_values(mended, clips), _values(model, clips), rtol=1e-3)
    assert {item.key: item.value for item in mended.metadata_props} == {"dfx.task": "deepfake-clip"}


def test_a_constant_beyond_fp16_is_kept() -> None:
    model = _overflowing()
    assert to_onnx.overflowing(model, [np.zeros((1, 4), np.uint8)]) == []
    large = numpy_helper.from_array(np.eye(4, dtype=np.float32) * 1e6, "half")
    model.graph.initializer[0].CopyFrom(large)
    assert to_onnx.overflowing(model, [np.zeros((1, 4), np.uint8)]) == ["scaled"]


def test_a_name_that_no_node_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no node is called nothing; the graph has"):
        to_onnx.to_fp16(_overflowing(), [np.zeros((1, 4), np.uint8)], ["nothing"])


def test_a_model_without_a_contract_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no key 'dfx\.task'"):
        to_onnx.task_of(onnx.ModelProto())


def test_a_nan_holds_no_tolerance() -> None:
    assert not check.Result("m", "CPU", "int8", float("nan"), 0.0, 0.0).holds
    assert agreement.TOLERANCES["fp32"] < agreement.TOLERANCES["fp16"] < agreement.TOLERANCES["int8"]


@pytest.fixture
def home(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what is easily named by mistake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.mp4").write_bytes((samples / "real.mp4").read_bytes())
    (tmp_path / "m.onnx").write_bytes((MODELS / "classifier.onnx").read_bytes())
    (tmp_path / "garbage.onnx").write_text("a shopping list")
    (tmp_path / "nothing").mkdir()
    half = onnx.load("m.onnx")
    half.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float16), "half"))
    onnx.save(half, "half.onnx")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.onnx", "--out", "v.mp4"], "v.mp4 ends in '.mp4'; .onnx is needed"),
        (["m.onnx", "--out", "m.onnx"], "m.onnx would take the place of m.onnx"),
        (["m.onnx", "--out", "garbage.onnx"], "garbage.onnx is there already"),
        (["m.onnx", "--out", "nodir/x.onnx"], "cannot write nodir/x.onnx"),
        (["garbage.onnx", "--out", "x.onnx"], "garbage.onnx: not an ONNX model"),
        (["none.onnx", "--out", "x.onnx"], "no model at none.onnx"),
        (["half.onnx", "--precision", "fp16", "--out", "x.onnx"], "half.onnx is in fp16; a file in fp32 is needed"),
        (["half.onnx", "--out", "x.onnx"], "half.onnx is in fp16; a file in fp32 is needed"),
        (["m.onnx", "--count", "-1", "--out", "x.onnx"], "-1 is not in the range x>=1"),
        (["m.onnx", "--precision", "fp16", "--calibrate", "nothing", "--out", "x.onnx"], "no video in nothing"),
    ],
)
def test_a_mistake_costs_no_file_and_one_line(home: Path, words: list[str], message: str) -> None:
    before = {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}
    _refused(to_onnx.main, words, message)
    assert {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()} == before


@pytest.mark.usefixtures("home")
def test_an_older_file_of_its_own_is_written_anew() -> None:
    _run(Path("m.onnx"), Path("half.onnx"))
    assert check.precision_of(Path("half.onnx")) == "fp32"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["garbage.onnx"], "garbage.onnx: not an ONNX model"),
        (["m.onnx", "garbage.onnx"], "garbage.onnx: not an ONNX model"),
        (["m.onnx", str(MODELS / "detector.onnx")], "is for face-detector, m.onnx for deepfake-clip"),
        (["m.onnx", "--videos", "nothing"], "no video in nothing"),
        (["m.onnx", "--count", "0"], "0 is not in the range x>=1"),
        (["m.onnx", "--count", "1", "--checkpoint", "garbage.onnx"], "no weights that torch can read"),
    ],
)
def test_a_mistake_is_no_broken_tolerance(words: list[str], message: str) -> None:
    _refused(check.main, words, message)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_full_disk_costs_no_older_file_and_leaves_no_half_one(home: Path) -> None:
    before = _contents(home)
    for out in ("half.onnx", "new.onnx"):
        with full_disk(2**20):
            _refused(to_onnx.main, ["m.onnx", "--out", out], f"cannot write {out} (File too large)")
        assert _contents(home) == before


def test_a_form_that_differs_from_torch_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from dfx.torch import contract

    class Brightness(torch.nn.Module):  # type: ignore[misc]
        def forward(self, clips: Any) -> Any:
            return clips.float().mean(dim=(1, 2, 3, 4))

    def export() -> None:
        clips = [torch.zeros((count, 2, 3, 8, 8), dtype=torch.uint8) for count in (2, 1)]
        contract.export(Brightness(), tmp_path / "m.onnx", clips, [0], keys)

    keys = {name.removeprefix("dfx."): value for name, value in CONTRACT.items() if name != "dfx.contract"}
    export()
    before = _contents(tmp_path)
    assert Classifier(tmp_path / "m.onnx").contract.name == "brightness"
    keys["name"] = "another"
    with full_disk(500), pytest.raises(OutputError, match=r"cannot write .*m\.onnx \(File too large\)"):
        export()
    assert _contents(tmp_path) == before
    monkeypatch.setattr(contract, "AGREEMENT", -1.0)
    with pytest.raises(RuntimeError, match=r"m\.onnx: ONNX Runtime differs from torch by 0"):
        export()
    assert _contents(tmp_path) == before


@pytest.fixture
def make_samples(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for clips of five frames."""
    pytest.importorskip("skimage")
    import make_samples

    monkeypatch.setattr(make_samples, "FRAMES", 5)
    return make_samples


def test_the_samples_are_made_in_a_folder(home: Path, make_samples: ModuleType) -> None:
    _refused(make_samples.main, ["--out", "v.mp4"], "'v.mp4' is a file")
    assert "Example:" in CliRunner().invoke(make_samples.main, ["-h"]).output
    for _ in range(2):  # the second time in place of its own
        done = CliRunner().invoke(make_samples.main, ["--out", "new/made"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert _contents(home / "new" / "made").keys() == {"real.mp4", "manipulated.mp4", "no_face.mp4"}


@pytest.mark.parametrize("content", [b"\0\0\0\x20ftypisom, of a user's own", b"a shopping list"])
def test_samples_take_no_strangers_place(tmp_path: Path, make_samples: ModuleType, content: bytes) -> None:
    (tmp_path / "no_face.mp4").write_bytes(content)
    _refused(make_samples.main, ["--out", str(tmp_path)], "no_face.mp4 is there already, and not as dfx writes it")
    assert _contents(tmp_path) == {"no_face.mp4": content}


def test_the_shipped_samples_are_its_own_and_outlive_a_full_disk(
    tmp_path: Path, make_samples: ModuleType, samples: Path
) -> None:
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    before = _contents(tmp_path)
    with full_disk(2**14):
        _refused(make_samples.main, ["--out", str(tmp_path)], "File too large")
    assert _contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(before), "no folder of its work is left"


@pytest.mark.parametrize("script", [check.main, to_onnx.main])
def test_help_has_an_example(script: Any) -> None:
    assert "Example:\n" in CliRunner().invoke(script, ["--help"]).output


def _refused(script: Any, words: list[str], message: str) -> None:
    """One line of dfx's own, and its exit status."""
    done = CliRunner().invoke(script, words)
    assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.output
    assert message in done.stderr.splitlines()[-1]


def _run(source: Path, out: Path, *words: str) -> None:
    done = CliRunner().invoke(to_onnx.main, [str(source), "--out", str(out), *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def _takes_several_clips(classifier: Path, precision: str) -> None:
    """A logit for each of one clip and of three."""
    assert check.precision_of(classifier) == precision
    contract = Classifier(classifier).contract
    for count in (1, 3):
        shape = (count, contract.clip_length, 3, contract.crop_size, contract.crop_size)
        (logits,) = check.runner(classifier, check.PROVIDERS[0])(np.zeros(shape, np.uint8))
        assert logits.shape == (count,)
        assert np.isfinite(logits).all()


def _values(model: onnx.ModelProto, clips: Any) -> Any:
    """By ONNX's own reference, which keeps every value in its type; ONNX Runtime's CPU leaves FP16 out on the way."""
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, {"clips": clips})[0]


def _overflowing() -> onnx.ModelProto:
    """Logits (700 y - 700 y) + y of y = x / 2: 70000 less itself, for x = 200."""
    nodes = [
        helper.make_node("Cast", ["clips"], ["x"], name="real", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "half"], ["y"], name="scaled"),
        helper.make_node("MatMul", ["y", "large"], ["much"], name="square"),
        helper.make_node("Sub", ["much", "much"], ["zero"], name="difference"),
        helper.make_node("Add", ["zero", "y"], ["logits"], name="sum"),
    ]
    constants = [
        numpy_helper.from_array(np.eye(4, dtype=np.float32) / 2, "half"),
        numpy_helper.from_array(np.eye(4, dtype=np.float32) * 700, "large"),
    ]
    clips = helper.make_tensor_value_info("clips", TensorProto.UINT8, ["n", 4])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "overflowing", [clips], [logits], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"dfx.task": "deepfake-clip"})
    return model
