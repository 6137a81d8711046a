"""The network that ships sees every frame of a clip in a view of its own; training goes on with one view."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import EXPORT

import dfx
from dfx.infer import Calibration, ClassifierContract, open_session

torch = pytest.importorskip("torch", reason="needs torch (pip install 'dfx[train]')")
pytestmark = pytest.mark.torch

from torch.nn import functional  # noqa: E402

from dfx.torch.clipnet import LITE1, LITE1_WIDE, TIGHT, ClipNet  # noqa: E402
from dfx.torch.export_classifier import export_classifier  # noqa: E402
from dfx.torch.mesonet import MesoNet  # noqa: E402
from dfx.torch.start import begin, filled, stored_in  # noqa: E402
from dfx.torch.steady import SteadyNet, classifier_of  # noqa: E402
from dfx.torch.views import VIEWED, VIEWS, ViewedNet, resampling  # noqa: E402

SHIPPED = Path(dfx.__file__).parent / "models" / "classifier.onnx"


@pytest.fixture
def clips() -> Any:
    """Two clips of frames that differ, smooth enough to be resampled."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (8, 3, 28, 28), generator=rng).float()
    fine = functional.interpolate(coarse, (VIEWED.size, VIEWED.size), mode="bicubic").clamp(0, 255)
    return fine.round().to(torch.uint8).view(2, 4, 3, VIEWED.size, VIEWED.size)


def shipped() -> Any:
    """The network of the file that ships, in torch."""
    net = SteadyNet(ClipNet(LITE1), MesoNet()).eval()
    for norm in net.second.stages[2::4]:
        norm.num_batches_tracked = None  # of training alone: the file has none
    net.load_state_dict(filled(net, stored_in(SHIPPED)), strict=False)  # torch counts batches anew
    return net


def scaled(frames: Any, middle: int, size: int) -> Any:
    """What torch itself makes of a frame's middle."""
    edge = (VIEWED.size - middle) // 2
    part = frames[..., edge : edge + middle, edge : edge + middle].float()
    return functional.interpolate(part, (size, size), mode="bilinear", antialias=True, align_corners=False)


@pytest.mark.parametrize("view", VIEWS)
def test_resampling_is_torch_s_own(clips: Any, view: tuple[int, int]) -> None:
    matrix = resampling(*view)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(view[1]))
    part = scaled(clips[0], view[0], view[0])
    torch.testing.assert_close(matrix @ part @ matrix.T, scaled(clips[0], *view), rtol=0, atol=0.01)


def test_each_frame_has_its_view(clips: Any) -> None:
    net = shipped()
    with torch.no_grad():
        found = net.features(clips)
        for place, view in enumerate(VIEWS):
            wanted = net.backbone(scaled(clips[:, place], *view))
            torch.testing.assert_close(found[:, place], wanted, rtol=0, atol=1e-3)
            other = net.backbone(scaled(clips[:, place], *VIEWS[place - 1]))
            assert (found[:, place] - other).abs().max() > 0.1


def test_the_middle_frame_is_seen_as_in_training() -> None:
    middle = VIEWS[TIGHT.length // 2]
    assert middle.size == TIGHT.size
    assert VIEWED.size / middle.middle == VIEWED.around


def test_views_are_of_tight_crops_alone() -> None:
    with pytest.raises(ValueError, match="crops of 160 pixels; this one has 224"):
        ViewedNet(ClipNet(LITE1_WIDE))


def test_the_file_that_ships_is_its_weights(clips: Any) -> None:
    session = open_session(SHIPPED, ClassifierContract)
    theirs = np.asarray(session.run({"clips": clips.numpy()})["logits"])
    with torch.no_grad():
        torch.testing.assert_close(shipped()(clips), torch.from_numpy(theirs), rtol=EXPORT, atol=EXPORT)
    contract = ClassifierContract.read(session.metadata, "it")
    assert contract.crop_size == VIEWED.size
    np.testing.assert_allclose(contract.crop_template, VIEWED.template, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses what torch has deprecated
def test_training_goes_on_with_one_view(tmp_path: Path, clips: Any) -> None:
    torch.manual_seed(1)
    net = ClipNet(LITE1)
    export_classifier(SteadyNet(net, MesoNet()).eval(), tmp_path / "a.onnx", Calibration())
    begun = begin(tmp_path / "a.onnx", "lite1")
    assert begun.cut == TIGHT
    for name, weight in net.state_dict().items():
        torch.testing.assert_close(begun.state_dict()[name], weight, msg=name)


@pytest.mark.parametrize("views", [True, False])
def test_a_classifier_says_whether_it_was_calibrated_with_views(tmp_path: Path, views: bool) -> None:
    state = {"net": ClipNet(LITE1).state_dict(), "scale": 1.0, "bias": 0.0, "views": views}
    torch.save(state, tmp_path / "classifier.pt")
    net = classifier_of(torch.load(tmp_path / "classifier.pt", weights_only=True))
    assert isinstance(net, ViewedNet) == views
    assert net.state_dict().keys() == state["net"].keys()


def test_time_and_views_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "backbone.pt").touch()
    command = [sys.executable, "-m", "dfx.torch.train_classifier", "backbone.pt", "--videos", ".", "--out", "out"]
    done = subprocess.run(
        [*command, "--temporal", "--views"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "it needs --one-view" in done.stderr
