"""Wide crops, labelled videos in the training of the backbone, and folds that are left out, on pictures that the tests
make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")

import cv2
import torch
from click.testing import CliRunner

from dfx.classify import Classifier
from dfx.errors import ModelError
from dfx.infer import Calibration
from dfx.pipeline import Pipeline
from dfx.settings import Settings
from dfx.torch import eval_classifier, train_classifier
from dfx.torch.augment import Dice
from dfx.torch.clip_data import FOLDS, Labelled, cut
from dfx.torch.clipnet import CROP_TEMPLATE, DESIGNS, LITE1_WIDE, TIGHT, WIDE, ClipNet, Cut, FrameNet
from dfx.torch.crop_store import UNKNOWN, CropStore, Shard, fitted
from dfx.torch.export_classifier import export_classifier
from dfx.torch.pack_crops import number_of
from dfx.torch.pack_videos import items_of
from dfx.torch.pseudo_fakes import masks
from dfx.torch.start import begin
from dfx.torch.train_backbone import bared
from dfx.torch.train_backbone import main as train_backbone

pytestmark = pytest.mark.torch


def dice(count: int, copies: int = 1) -> Dice:
    return Dice(count, torch.Generator().manual_seed(0), copies)


def jpeg(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())


def crops() -> Shard:
    """Tight crops: six originals and a fake of each, two of them held out."""
    rng = np.random.default_rng(1)
    number, none = np.arange(12), np.zeros(12, np.int64)
    pictures = [jpeg(cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (60, 60))) for _ in number]
    return Shard(pictures, number // 2, number % 2 == 1, number < 4, np.full(12, ""), np.ones(12, np.float32), none)


@pytest.fixture(scope="module")
def labelled_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six originals with a fake each, and frames of two videos of each of two folds: of "a" the fake shows its real
    one at the same moments, of "b" it stands alone."""
    path = tmp_path_factory.mktemp("labelled")
    crops().write(path / "shard_0.npz")
    rng = np.random.default_rng(0)
    rows = [(fold, fake, frame) for fold in "ab" for fake in (False, True) for frame in range(6)]
    names = [f"{fold if fold == 'a' or fake else 'b alone'}: {frame}" for fold, fake, frame in rows]
    shard = Shard(
        [jpeg(cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), (84, 84))) for _ in rows],
        np.array([number_of(name) for name in names]),
        np.array([fake for _, fake, _ in rows]),
        np.zeros(len(rows), np.bool_),
        np.array([fold for fold, *_ in rows]),
        np.full(len(rows), WIDE.around, np.float32),
        np.array([number_of(f"{fold}{fake}") for fold, fake, _ in rows]),
    )
    shard.write(path / "videos_0.npz")
    return path


def test_a_shard_of_before_is_read(labelled_shards: Path, tmp_path: Path) -> None:
    """It had neither folds nor wide pictures: all of it may be trained on, whatever is left out."""
    old = labelled_shards / "shard_0.npz"
    with np.load(old) as arrays:
        kept = {name: arrays[name] for name in ("data", "ends", "group", "fake", "held_out")}
    np.savez(tmp_path / "old.npz", **kept)
    shard, now = Shard.read(tmp_path / "old.npz"), Shard.read(old)
    assert shard.jpegs == now.jpegs
    assert set(shard.fold.tolist()) == {""}
    assert (shard.around == 1).all()


def test_a_picture_lies_where_its_canvas_wants_it() -> None:
    """A wide picture's middle is the tight crop; around a tight one nothing is known."""
    wide_one = np.zeros((140, 140, 3), np.uint8)
    wide_one[20:120, 20:120] = 200
    assert (fitted(wide_one, 1.4, 1.0, 50) == 200).all()
    assert np.array_equal(fitted(wide_one, 1.4, 1.4, 140), wide_one)
    placed = fitted(np.full((100, 100, 3), 200, np.uint8), 1.0, 1.4, 140)
    assert (placed[20:120, 20:120] == 200).all()
    placed[20:120, 20:120] = UNKNOWN
    assert (placed == UNKNOWN).all()


def test_a_face_is_as_large_in_a_wide_crop() -> None:
    eyes = [np.diff(cut.template[:2], axis=0)[0, 0] * cut.size for cut in (TIGHT, WIDE)]
    assert eyes[0] == pytest.approx(eyes[1], rel=1e-4)
    np.testing.assert_array_equal(TIGHT.template, CROP_TEMPLATE)


@pytest.mark.parametrize("cut", [TIGHT, WIDE])
def test_what_is_left_out_is_measured_and_not_trained_on(labelled_shards: Path, cut: Cut) -> None:
    everything = CropStore(labelled_shards, torch.device("cpu"), cut)
    store = CropStore(labelled_shards, torch.device("cpu"), cut, ("b",))
    assert len(everything.left_out.fake) == 0
    assert len(store.left_out.fake) == 12
    assert len(everything.pictures) - len(store.pictures) == 12
    assert set(store.left_out.group) == {number_of(f"b{fake}") for fake in (False, True)}
    assert not set(store.left_out.group) & set(store._video)
    real, fake = store.labelled(dice(50))
    assert (store._group[real] == store._group[fake]).all(), "the very moment of the original"
    assert (store._around[store.reals(dice(50))] == np.float32(WIDE.around)).all()
    alone = CropStore(labelled_shards, torch.device("cpu"), cut, ("a",))
    real, fake = alone.labelled(dice(50))
    assert alone._fake[fake].all()
    assert not alone._fake[real].any()
    neither = CropStore(labelled_shards, torch.device("cpu"), cut, ("a", "b"))
    assert len(neither.left_out.fake) == 24
    assert neither.has == (True, False)


def test_a_bare_pair_tells_nothing_of_its_label() -> None:
    pictures = torch.rand(40, 3, 28, 28) * 100
    once = bared(torch.cat([pictures, pictures]), dice(40, copies=2), 1.4)
    real, fake = once.chunk(2)
    assert torch.equal(real, fake)
    assert torch.equal(real[..., 4:24, 4:24], pictures[..., 4:24, 4:24])
    bare = (real[:, :, 0, 0] == UNKNOWN).all(1)
    assert 0 < bare.sum() < 40
    assert torch.equal(real[~bare], pictures[~bare])
    assert bared(pictures, dice(40), 1.0) is pictures


def test_a_wide_mask_reaches_beyond_a_tight_crop_and_ends_within_the_canvas() -> None:
    drawn = dice(60)
    mask = masks(drawn, 112, drawn.uniform(0, 0.3), WIDE.around)[:, 0] > 0.5
    tight = mask.clone()
    tight[:, 16:96, 16:96] = False
    assert tight.flatten(1).any(1).float().mean() > 0.5
    border = torch.cat([mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1]], 1)
    assert border.any(1).float().mean() < 0.2


def test_a_wide_network_starts_with_a_tight_ones_weights(labelled_shards: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tight = FrameNet(DESIGNS["lite1"])
    torch.save(tight.state_dict(), tmp_path / "start.pt")
    options = ["--shards", str(labelled_shards), "--out", str(tmp_path), "--start", str(tmp_path / "start.pt")]
    more = ["--design", "lite1-wide", "--pairs", "4", "--minutes", "0", "--leave-out", "b"]
    result = CliRunner().invoke(train_backbone, [*options, *more], catch_exceptions=False)
    assert "left-out AUC" in result.output
    wide_one = FrameNet.load(tmp_path / "backbone.pt")
    assert wide_one.cut == WIDE
    assert all(torch.equal(value, wide_one.state_dict()[name]) for name, value in tight.state_dict().items())
    with pytest.raises(ModelError, match="224 pixels"):  # `dfx train` cuts tight crops
        begin(tmp_path / "backbone.pt", "lite1")


def test_faces_of_a_video_are_packed_with_what_is_around(samples: Path) -> None:
    video = Labelled("real.mp4", False, "", "", "a")
    items = list(items_of(Pipeline(), samples, video, 6, 95))
    assert 2 <= len(items) <= 6
    assert len({item.name for item in items}) == len(items)
    assert {(item.fold, item.video, item.fake) for item in items} == {("a", "real.mp4", False)}
    picture = cv2.imdecode(np.frombuffer(items[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (272, 272, 3)


def test_clips_are_cut_as_the_design_wants_them(samples: Path, tmp_path: Path) -> None:
    """The middle of a wide clip is the tight one."""
    videos = [Labelled("real.mp4", False, "", "", "a")]
    clips = {way: cut(samples, videos, tmp_path / str(way.size), way)["real.mp4"].pixels for way in (TIGHT, WIDE)}
    assert clips[TIGHT].shape[1:] == (TIGHT.length, 3, TIGHT.size, TIGHT.size)
    assert clips[WIDE].shape[1:] == (WIDE.length, 3, WIDE.size, WIDE.size)
    middle = clips[WIDE][0, 0, :, 32:192, 32:192].astype(int)
    assert np.abs(middle - clips[TIGHT][0, 0]).mean() < 3, "the same first frame, but tracks are smoothed over a window"


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses what torch has deprecated
def test_a_wide_classifier_scores_a_video(samples: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    export_classifier(ClipNet(LITE1_WIDE), tmp_path / "wide.onnx", Calibration(0.5, 0.0))
    contract = Classifier(tmp_path / "wide.onnx").contract
    assert (contract.clip_length, contract.clip_stride, contract.crop_size) == (WIDE.length, WIDE.stride, WIDE.size)
    np.testing.assert_array_equal(contract.crop_template, np.float32(WIDE.template))
    row = Pipeline(Settings(models=(tmp_path / "wide.onnx",))).predict(samples / "real.mp4")
    assert row.reason == "ok"
    assert row.clips


def test_each_fold_is_scored_by_its_own_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backbones that say nothing but their fold's number."""
    for number, fold in enumerate(FOLDS):
        net = FrameNet(LITE1_WIDE)
        torch.nn.init.zeros_(net.head.weight)
        torch.nn.init.constant_(net.head.bias, number)
        (tmp_path / fold).mkdir()
        torch.save(net.state_dict(), tmp_path / fold / "backbone.pt")
    videos = [Labelled(f"{fold}.mp4", False, "", "", fold) for fold in FOLDS]
    pixels = np.zeros((1, WIDE.length, 3, 32, 32), np.uint8)
    cached = tmp_path / f"clips-{WIDE.size}"
    cached.mkdir()
    for video in videos:
        np.savez(cached / f"{video.filename}.npz", pixels=pixels, person=np.zeros(1, np.int64), confidence=np.ones(1))
    monkeypatch.setattr("dfx.torch.clip_data.read_labels", lambda folder: videos)
    data, heads = train_classifier.seen(tmp_path, tmp_path, tmp_path)
    assert [sample.video.fold for sample in data] == list(FOLDS)
    np.testing.assert_allclose(train_classifier.logits_of(heads, data), np.arange(len(FOLDS)), atol=1e-5)
    assert set(eval_classifier.methods(heads)) == {"always 0.5", "one frame a clip", eval_classifier.PLAIN}
