"""The model seam: contracts read and checked, sessions that say what is wrong."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from models import TEMPLATE, brightness_classifier
from onnx import TensorProto
from tolerances import SINGLE_PRECISION

from dfx.classify import Classifier
from dfx.cli import main
from dfx.detect import Detector
from dfx.errors import InputError, MissingInputError, ModelError
from dfx.infer import DetectorContract, OnnxSession
from dfx.infer.session import fingerprint, list_hash
from dfx.ops import letterbox_geometry
from dfx.pipeline import Pipeline
from dfx.settings import Settings


def test_a_foreign_model_with_the_contract_runs(tmp_path: Path) -> None:
    classifier = Classifier(brightness_classifier(tmp_path / "m.onnx"))
    np.testing.assert_array_equal(classifier.contract.crop_template, np.float32(TEMPLATE))
    clips = np.random.default_rng(0).integers(0, 256, (7, 16, 3, 32, 32), dtype=np.uint8)
    np.testing.assert_allclose(classifier.score(clips), clips.mean(axis=(1, 2, 3, 4)), rtol=SINGLE_PRECISION)


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_logits_of_another_kind_are_refused(tmp_path: Path, kind: int) -> None:
    """On a GPU their bytes would be read as float32."""
    with pytest.raises(ModelError, match=r"outputs must be tensor\(float\); got .*'logits'.*add a Cast"):
        Classifier(brightness_classifier(tmp_path / "m.onnx", kind))


@pytest.mark.parametrize("words", ["Failed to allocate memory for requested buffer of size 9", "std::bad_alloc"])
def test_a_network_without_memory_is_no_broken_model(
    samples: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {words}")

    pipeline = Pipeline()
    monkeypatch.setattr(OnnxSession, "_values", full)
    row = pipeline.predict(samples / "real.mp4")
    assert (row.reason, row.detail) == ("too_large", "detector.onnx needs more memory than the limit allows")


def test_no_clips_give_no_logits(tmp_path: Path) -> None:
    classifier = Classifier(brightness_classifier(tmp_path / "m.onnx"))
    assert classifier.score(np.zeros((0, 16, 3, 32, 32), np.uint8)).shape == (0,)


def test_clips_of_another_shape_are_refused(tmp_path: Path) -> None:
    classifier = Classifier(brightness_classifier(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=r"must be uint8 \[16, 3, 32, 32\]; got uint8 \(8, 3, 32, 32\)"):
        classifier.score(np.zeros((1, 8, 3, 32, 32), np.uint8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_length": None}, "no key 'dfx.clip_length'"),
        ({"contract": "2"}, "reads '1'"),
        ({"task": "face-detector"}, "a model for 'deepfake-clip' is needed"),
        ({"colour": "BGR"}, "dfx gives 'RGB BT.601'"),
        ({"crop_template": "[1, 2]"}, "'dfx.crop_template' holds '\\[1, 2\\]'"),
        ({"crop_size": "0"}, "'dfx.crop_size' holds '0'"),
        ({"crop_template": json.dumps([[0.5, 0.5]] * 5)}, "five finite points .* not all in one place is needed"),
        ({"crop_template": json.dumps([[math.nan, 0.5], *TEMPLATE[1:]])}, "'dfx.crop_template' holds '.*NaN"),
        ({"crop_template": json.dumps([[1e300, 0.5], *TEMPLATE[1:]])}, "'dfx.crop_template' holds"),
        ({"crop_template": json.dumps([[1, 2, 3, 4, 5], [1, 2, 3, 4, 6]])}, "'dfx.crop_template' holds"),
        ({"clip_length": "0"}, "'dfx.clip_length' holds '0'; a whole number from 1 to 16384 is needed: export"),
        ({"clip_length": "16.5"}, "'dfx.clip_length' holds '16.5'"),
        ({"clip_stride": "-4"}, "'dfx.clip_stride' holds '-4'; a whole number from 1 to 16384 is needed"),
        ({"crop_size": "16385"}, "'dfx.crop_size' holds '16385'"),
        ({"clip_length": "[" * 100_000}, r"'dfx.clip_length' holds '\[+'"),
        ({"calibration": "{}"}, "'dfx.calibration' holds '{}'; a finite scale and bias, by these names, each from"),
        ({"calibration": '{"scale": NaN, "bias": 0}'}, "'dfx.calibration' holds"),
        ({"calibration": '{"scale": 1, "bias": 0, "doubt": -1}'}, "'dfx.calibration' holds .* doubt, if any, from 0"),
        ({"calibration": '{"scale": 1, "bias": Infinity}'}, "'dfx.calibration' holds"),
        ({"calibration": '{"scale": 1e308, "bias": 0}'}, r"'dfx.calibration' holds .* from -1e\+06 to 1e\+06"),
    ],
)
def test_a_contract_that_is_wrong_is_named(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Classifier(brightness_classifier(tmp_path / "m.onnx", **changes))


@pytest.fixture(scope="module")
def metadata() -> dict[str, str]:
    """What the shipped detector says of itself."""
    session = OnnxSession(Settings().detector, inputs=DetectorContract.inputs, outputs=DetectorContract.outputs)
    return dict(session.metadata)


@pytest.mark.parametrize(
    ("key", "value", "needed"),
    [
        ("score_threshold", "NaN", "a number between 0 and 1, neither of them itself,"),
        ("score_threshold", "2", "a number between 0 and 1, neither of them itself,"),
        ("score_threshold", '"nan"', "a number between 0 and 1, neither of them itself,"),
        ("variances", "[0, 0.2]", "a list of two finite numbers above 0"),
        ("variances", "[0.1, NaN]", "a list of two finite numbers above 0"),
        ("variances", "[0.1, 0.2, 0.3]", "a list of two finite numbers above 0"),
        ("strides", "[8, -16, 32]", "a list of whole numbers that divide 32"),
        ("strides", "[8, 16.5, 32]", "a list of whole numbers that divide 32"),
        ("strides", "[8, 16, 64]", "a list of whole numbers that divide 32"),
        ("strides", "[]", "a list of whole numbers that divide 32"),
        ("min_sizes", "[[16, 32], [64, 128]]", "a list of 3 lists, one a stride, of whole numbers from 1 to 16384"),
        ("min_sizes", "[[16, 32], [64, 128], [0]]", "a list of 3 lists, one a stride, of whole numbers from 1 to"),
        ("min_sizes", "[[16, 32], [64, 128], []]", "a list of 3 lists, one a stride, of whole numbers from 1 to"),
        ("long_side", "-640", "a whole number from 1 to 16384"),
        ("long_side", "1e9", "a whole number from 1 to 16384"),
        ("score_votes", "0", "a whole number from 1 to 16384"),
    ],
)
def test_a_detector_whose_numbers_mean_nothing_is_refused(
    metadata: dict[str, str], key: str, value: str, needed: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(f"mine.onnx: its key 'dfx.{key}' holds {value!r}; {needed}")) as one:
        DetectorContract.read(metadata | {f"dfx.{key}": value}, "mine.onnx")
    assert str(one.value).endswith(" is needed: export the model again with that, or name another one")


@pytest.mark.parametrize(("long_side", "canvas"), [("640", 640), ("500", 512)])
def test_what_a_gpu_is_made_for_holds_every_picture(metadata: dict[str, str], long_side: str, canvas: int) -> None:
    """An upright picture's canvas and a wide one's fit into it, whatever a detector from elsewhere was tuned for."""
    contract = DetectorContract.read(metadata | {"dfx.long_side": long_side}, "mine.onnx")
    assert contract.shapes["images"][2:] == (canvas, canvas)
    for size in ((1920, 1080), (1080, 1920), (500, 500), (30, 40)):
        box = letterbox_geometry(*size, contract.long_side)
        assert max(box.height, box.width) <= canvas


def test_predict_refuses_such_a_file_before_the_run(tmp_path: Path, samples: Path) -> None:
    model = brightness_classifier(tmp_path / "m.onnx", calibration='{"scale": NaN, "bias": 0.0}')
    words = ["predict", str(samples / "real.mp4"), "--model", str(model), "--out", str(tmp_path / "s.csv"), "--quiet"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    assert "'dfx.calibration' holds" in done.stderr


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"this is no model")
    with pytest.raises(ModelError, match="not an ONNX model"):
        Classifier(path)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"nothing\.onnx"):
        Classifier(tmp_path / "nothing.onnx")


def test_a_model_that_differs_from_the_list_beside_it_is_refused(tmp_path: Path) -> None:
    path = brightness_classifier(tmp_path / "m.onnx")
    digest = fingerprint(path)
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  m.onnx\n{'0' * 64}  other.onnx\n")
    Classifier(path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelError, match="damaged, or not the file that SHA256SUMS beside it lists"):
        Classifier(path)


def test_the_shipped_models_are_on_their_list() -> None:
    folder = Settings().detector.parent
    listed = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert listed == {path.name: fingerprint(path) for path in folder.glob("*.onnx")}


def test_a_classifier_is_no_detector(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="dfx needs"):
        Detector(brightness_classifier(tmp_path / "m.onnx"))


def test_the_shipped_models_fulfil_their_contracts() -> None:
    settings = Settings()
    detector, classifier = Detector(settings.detector).contract, Classifier(settings.models[0]).contract
    assert detector.strides == (8, 16, 32)
    assert (classifier.clip_length - 1) * classifier.clip_stride + 1 <= 16, "a window is about half a second"
    assert settings.models[0].stat().st_size <= 20e6


def test_the_hash_of_a_model_whose_name_has_a_blank_is_listed_once(tmp_path: Path) -> None:
    model, sums = brightness_classifier(tmp_path / "my model.onnx"), tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  my model.onnx\n{'1' * 64} *other.onnx\n")
    with pytest.raises(ModelError, match="damaged"):
        fingerprint(model)
    list_hash(model)
    assert sums.read_text().splitlines() == [f"{fingerprint(model)}  my model.onnx", f"{'1' * 64}  other.onnx"]
