"""The classifier's data, network, measures and export, on small pictures and tables that the tests make."""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")

import cv2
import torch
from click.testing import CliRunner
from disks import full_disk
from tolerances import EXPORT

from dfx.classify import Classifier
from dfx.errors import OutputError
from dfx.infer import Calibration
from dfx.settings import MODELS
from dfx.torch import clip_data, clipnet, eval_classifier, eval_measures, train_classifier
from dfx.torch.augment import Dice, augment, blur_matrix, compressed, quality_tables, shrink_matrix
from dfx.torch.clip_data import Labelled, Sample, VideoClips, read_labels
from dfx.torch.clipnet import (
    CLIP_LENGTH,
    CROP_SIZE,
    DESIGNS,
    TIGHT,
    Backbone,
    ClipNet,
    Design,
    FrameNet,
    TemporalHead,
    design_of,
)
from dfx.torch.crop_store import CropStore, Shard, stored_size
from dfx.torch.dfdc_crops import Crops
from dfx.torch.export_classifier import export_classifier
from dfx.torch.folds import calibrate, calibrate_with_doubt, probabilities_of
from dfx.torch.loop import Training
from dfx.torch.pack_crops import ENTRY_BYTES, Item
from dfx.torch.pack_crops import main as pack_crops
from dfx.torch.parts import dealt
from dfx.torch.pseudo_fakes import self_blended, swapped
from dfx.torch.subgroups import false_alarms, wilson
from dfx.torch.train_backbone import Feed
from dfx.torch.train_backbone import main as train_backbone
from dfx.torch.views import VIEWED
from dfx.values import Track

pytestmark = pytest.mark.torch
STORED_SIZE = stored_size(TIGHT)
NAMES = [f"{a}{b}abcdefgh.mp4" for a in "abcdefgh" for b in "abcde"]  # 40 originals, each with one fake
FEATURES = Backbone.features


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the public repository lays it out; a fake shows the very picture of its original."""
    path = tmp_path_factory.mktemp("crops")
    (path / "faces_224").mkdir()
    rows = [["videoname", "original_width", "original_height", "label", "original"]]
    rng = np.random.default_rng(0)
    for name in NAMES:
        picture = cv2.resize(rng.integers(0, 256, (14, 14, 3), np.uint8), (224, 224))
        for video, label, original in ((name, "REAL", ""), (f"x{name[1:]}", "FAKE", name)):
            unique = video if label == "REAL" else f"{name[:2]}fakefake.mp4"
            rows.append([unique, "224", "224", label, original])
            cv2.imwrite(str(path / "faces_224" / f"{Path(unique).stem}.jpg"), picture)
    with (path / "metadata.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    (path / "exclude.txt").write_text(digest(NAMES[0]) + "\n" + digest("abfakefake.mp4") + "\n")
    return path


@pytest.fixture(scope="module")
def crops(folder: Path) -> Crops:
    return Crops(folder, folder / "exclude.txt")


@pytest.fixture(scope="module")
def shards(folder: Path) -> Path:
    """The folder's pictures, packed: four originals are held out."""
    options = ["--crops", str(folder), "--exclude", str(folder / "exclude.txt"), "--out", str(folder / "shards")]
    CliRunner().invoke(pack_crops, [*options, "--size", "0.15", "--held-out", "4"], catch_exceptions=False)
    return folder / "shards"


@pytest.fixture
def store(shards: Path) -> CropStore:
    return CropStore(shards, torch.device("cpu"))


def dice(count: int, copies: int = 1) -> Dice:
    return Dice(count, torch.Generator().manual_seed(0), copies)


def portrait(count: int) -> torch.Tensor:
    """Smooth pictures float [N, 3, STORED_SIZE, STORED_SIZE] of 0 to 255."""
    coarse = torch.rand((count, 3, 8, 8), generator=torch.Generator().manual_seed(1)) * 255
    return torch.nn.functional.interpolate(coarse, STORED_SIZE, mode="bilinear")


def test_no_original_is_on_both_sides(crops: Crops) -> None:
    train, held = ({real.original for real, _ in crops.pairs(held_out=side)} for side in (False, True))
    assert train
    assert held
    assert not train & held
    assert all(fake.original == real.name for real, fakes in crops.pairs(held_out=False) for fake in fakes)


def test_excluded_names_are_nowhere(crops: Crops) -> None:
    names = {entry.name for entry in crops.entries}
    assert NAMES[0] not in names
    assert "abfakefake.mp4" not in names
    assert "aafakefake.mp4" not in names, "the fake of an excluded original shows the excluded person and scene"


def test_scenes_that_are_measured_on_are_not_trained_on(folder: Path, crops: Crops) -> None:
    everything = [real.original for side in (False, True) for real, _ in crops.pairs(held_out=side)]
    labels = folder / "labels.csv"
    labels.write_text(f"source_path\nsome/{everything[0]}\nother/{everything[1][:2]}fakefake.mp4\n")
    held = Crops(folder, folder / "exclude.txt", labels)
    kept = {real.original for side in (False, True) for real, _ in held.pairs(held_out=side)}
    assert set(everything) - kept == set(everything[:2])


def test_a_shard_is_small_and_comes_back_whole(shards: Path) -> None:
    paths = sorted(shards.glob("*.npz"))
    assert len(paths) > 1
    assert max(path.stat().st_size for path in paths) < 0.15 * 2**20 + 4096
    shard = Shard.read(paths[0])
    assert shard.held_out.tolist() == [True] * 8 + [False] * (len(shard.jpegs) - 8)
    assert shard.pictures(TIGHT, 32).shape == (len(shard.jpegs), 32, 32, 3)


@pytest.mark.parametrize(
    ("weights", "parts"),
    [([], [[]]), ([9], [[9]]), ([9, 1], [[9], [1]]), ([1, 9, 1, 1], [[1], [9], [1, 1]]), ([2, 2, 2], [[2, 2], [2]])],
)
def test_no_part_is_empty_where_there_is_anything(weights: list[int], parts: list[list[int]]) -> None:
    items = [Item(b" " * weight, "", fake=False) for weight in weights]
    assert [[len(item.jpeg) for item in part] for part in dealt(items, 4 + 2 * ENTRY_BYTES)] == parts


def test_no_original_is_trained_on_and_measured_on(store: CropStore) -> None:
    assert not set(store.held_out.group) & set(store._group)
    assert len(store.held_out.pictures) == 8
    real, fake = store.pairs(dice(50))
    assert (store._group[real] == store._group[fake]).all()
    assert store._fake[fake].all()
    assert not store._fake[real].any()
    donors = store.donors(real, dice(50))
    assert not (donors == real).any()
    assert not store._fake[donors].any()


def test_a_store_grows_and_waits_for_half_a_shard(shards: Path, tmp_path: Path) -> None:
    first, second, *_ = sorted(shards.glob("*.npz"))
    (tmp_path / first.name).write_bytes(first.read_bytes())
    store = CropStore(tmp_path, torch.device("cpu"))
    before = len(store.pictures)
    (tmp_path / second.name).write_bytes(second.read_bytes()[:5000])
    assert not store.refresh()
    (tmp_path / second.name).write_bytes(second.read_bytes())
    assert store.refresh()
    assert len(store.pictures) == before + len(Shard.read(second).jpegs)
    assert not store.refresh()


def test_both_of_a_pair_get_the_same_change() -> None:
    pictures = portrait(16)
    real, fake = augment(torch.cat([pictures, pictures]), dice(16, copies=2)).chunk(2)
    assert real.shape == (16, 3, CROP_SIZE, CROP_SIZE)
    assert real.dtype == torch.uint8
    assert torch.equal(real, fake)


def test_what_is_not_to_change_does_not() -> None:
    torch.testing.assert_close(shrink_matrix(torch.ones(1), 192)[0], torch.eye(192))
    torch.testing.assert_close(blur_matrix(torch.zeros(1), 192)[0], torch.eye(192))
    for matrix in (shrink_matrix(torch.tensor([0.3, 0.77]), 192), blur_matrix(torch.tensor([0.5, 2.0]), 192)):
        torch.testing.assert_close(matrix.sum(2), torch.ones(2, 192))


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_compression_is_about_what_jpeg_does(quality: int) -> None:
    picture = portrait(1)
    rows = picture[0].permute(1, 2, 0).round().byte().numpy()
    coded = cv2.imencode(".jpg", rows[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB)).permute(2, 0, 1).float()
    found = compressed(picture, quality_tables(torch.tensor([float(quality)])), torch.tensor([0.5]))[0]
    assert (found - expected).abs().mean() < 1.0
    assert (found - picture[0]).abs().mean() < (1.0 if quality == 95 else 4.0)


def test_training_goes_by_the_clock_and_goes_on(shards: Path, tmp_path: Path) -> None:
    common = ["--shards", str(shards), "--out", str(tmp_path), "--pairs", "4", "--every", "0"]
    result = CliRunner().invoke(train_backbone, [*common, "--minutes", "0.02"], catch_exceptions=False)
    assert "step 1 " in result.output
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] >= 1
    assert state["optimiser"]["param_groups"][0]["lr"] < 8e-4
    again = CliRunner().invoke(train_backbone, [*common, "--minutes", "0"], catch_exceptions=False)
    assert f"step {state['step']} " in again.output
    FrameNet.load(tmp_path / "backbone.pt")


def test_a_full_disk_costs_no_weights_and_leaves_no_half_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    run = Training(FrameNet(), 1, 0.1, tmp_path / "checkpoint.pt")
    run.save()
    run.write(tmp_path / "backbone.pt")
    (tmp_path / "classifier.pt").write_bytes(b"of another run")
    before = contents()
    monkeypatch.setattr(train_classifier, "seen", lambda *_, **__: ([], {}))
    monkeypatch.setattr(train_classifier, "calibrate", lambda *_: Calibration())
    words = [str(tmp_path / "backbone.pt"), "--videos", str(tmp_path), "--out", str(tmp_path)]
    with full_disk(2**16):
        for work in (run.save, lambda: run.write(tmp_path / "backbone.pt")):
            with pytest.raises((OutputError, RuntimeError)):  # torch's own, where it is told of the disk
                work()
        assert CliRunner().invoke(train_classifier.main, words).exception
    assert contents() == before
    assert CliRunner().invoke(train_classifier.main, words, catch_exceptions=False).exit_code == 0
    assert set(torch.load(tmp_path / "classifier.pt", weights_only=True)) == {"net", "views", "scale", "bias", "doubt"}


FREED = """
import ctypes, sys
import torch
from dfx.torch.loop import keep_freed_memory
NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Blocks(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]
blocks = ctypes.CDLL(None).mallinfo2
blocks.restype = Blocks
if sys.argv[1:]:
    keep_freed_memory()
before = blocks().fordblks
torch.ones(2**24)
print(blocks().fordblks - before)
"""
GLIBC = tuple(map(int, platform.libc_ver()[1].split(".")[:2])) if platform.libc_ver()[0] == "glibc" else (0, 0)


@pytest.mark.skipif(GLIBC < (2, 33), reason="mallinfo2 is of glibc from 2.33 on")
def test_training_keeps_the_memory_that_it_frees() -> None:
    """Free bytes that the heap has more of, after a tensor of 64 MiB was taken and let go; some may be free before."""
    left, kept = (
        int(subprocess.run([sys.executable, "-c", FREED, *words], capture_output=True, check=True).stdout)
        for words in ([], ["keep"])
    )
    assert left < 2**22
    assert kept > 2**25


@pytest.mark.parametrize("design", DESIGNS.values())
def test_weights_tell_their_design(design: Design, tmp_path: Path) -> None:
    frames = FrameNet(design)
    torch.save(frames.state_dict(), tmp_path / "backbone.pt")
    clips = ClipNet.from_frames(FrameNet.load(tmp_path / "backbone.pt"))
    assert design_of(clips.state_dict()) == design
    with pytest.raises(ValueError, match="no design"):
        design_of({})


def test_imagenet_weights_are_folded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = Backbone()
    convs = [m for part in (backbone.stem, backbone.blocks) for m in part.modules() if isinstance(m, torch.nn.Conv2d)]
    state = {}
    for i, conv in enumerate(convs):
        channels = conv.out_channels
        norm = [torch.rand(channels) + 0.5, torch.randn(channels), torch.randn(channels), torch.rand(channels) + 0.5]
        parts = [torch.randn_like(conv.weight), *norm, torch.tensor(0)]
        state |= {f"{i}.{k}": part for k, part in enumerate(parts)}
    torch.save(state, tmp_path / "weights.pth")
    backbone.load_imagenet(tmp_path / "weights.pth")
    x = torch.randn(1, 3, 32, 32)
    weight, gain, bias, mean, variance, _ = (state[f"0.{k}"] for k in range(6))
    raw = torch.conv2d(x, weight, stride=2, padding=1)
    expected = torch.nn.functional.batch_norm(raw, mean, variance, gain, bias, eps=clipnet.NORM_EPSILON)
    torch.testing.assert_close(backbone.stem(x), expected, rtol=EXPORT, atol=EXPORT)


def test_a_clip_scores_as_the_mean_of_its_frames() -> None:
    torch.manual_seed(0)
    frames = FrameNet().eval()
    clips = torch.randint(0, 256, (2, 3, 3, CROP_SIZE, CROP_SIZE), dtype=torch.uint8)
    expected = torch.stack([frames(clip).mean() for clip in clips])
    torch.testing.assert_close(ClipNet.from_frames(frames).eval()(clips), expected, rtol=EXPORT, atol=EXPORT)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's exporter uses what torch has deprecated
def test_what_is_exported_is_what_dfx_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ClipNet().eval()
    with torch.no_grad():
        net.head.change.weight.normal_()
    export_classifier(net, tmp_path / "classifier.onnx", Calibration(0.5, -0.25, 0.75))
    classifier = Classifier(tmp_path / "classifier.onnx")
    assert classifier.contract.calibration == Calibration(0.5, -0.25, 0.75)
    clips = torch.randint(0, 256, (2, CLIP_LENGTH, 3, CROP_SIZE, CROP_SIZE), dtype=torch.uint8)
    with torch.no_grad():
        np.testing.assert_allclose(classifier.score(clips.numpy()), net(clips).numpy(), rtol=EXPORT, atol=EXPORT)


def test_the_shipped_file_has_the_networks_contract() -> None:
    contract = Classifier(MODELS / "classifier.onnx").contract
    assert (contract.clip_length, contract.crop_size) == (CLIP_LENGTH, VIEWED.size)
    np.testing.assert_array_equal(contract.crop_template, np.float32(VIEWED.template))
    assert (MODELS / "classifier.onnx").stat().st_size < 6e6


def sample(name: str, fake: bool, fold: str, change: float = 0.0, scene: str = "") -> Sample:
    """Two clips of steady frames; `change`: how much the first feature moves from frame to frame."""
    features = torch.zeros(2, CLIP_LENGTH, FEATURES)
    features[:, ::2, 0] = change
    clips = VideoClips(np.zeros((2, 1, 1, 1, 1), np.uint8), np.zeros(2, np.int64), np.ones(2))
    return Sample(Labelled(name, fake, fold, name, fold, scene), clips, features)


def test_a_fold_is_scored_by_what_never_saw_it() -> None:
    data = [sample(f"{fold}{fake}", fake, fold) for fold in "abc" for fake in (True, False)]
    seen = []

    def method(train: list[Sample], test: list[Sample]) -> np.ndarray:
        seen.append(({s.video.fold for s in train}, {s.video.fold for s in test}))
        return np.array([float(s.video.fake) for s in test])

    assert eval_classifier.left_out(method, data).tolist() == [1.0, 0.0] * 3
    assert all(len(test) == 1 and train == set("abc") - test for train, test in seen)


def test_the_branch_over_time_learns_a_flicker() -> None:
    data = [sample(f"{i}", bool(i % 2), "a", change=float(i % 2)) for i in range(20)]
    start = TemporalHead()
    assert np.ptp(train_classifier.video_logits(start, [data[1], data[3]])) == 0
    logits = train_classifier.video_logits(train_classifier.fit_head(start, data, seed=0), data)
    assert logits[1::2].min() > logits[::2].max()


def test_calibration_is_found_again_and_never_reversed() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    fake = rng.random(4000) < 1 / (1 + np.exp(-0.5 * logits))
    found = calibrate(logits, fake)
    assert found.scale == pytest.approx(0.5, rel=0.2)
    assert calibrate(-logits, fake) == Calibration(0.0, 0.0)


def test_one_real_video_in_ten_is_in_doubt() -> None:
    rng = np.random.default_rng(1)
    fake = rng.random(400) < 0.3
    logits = rng.normal(0, 1, 400) + fake
    plain, found = calibrate(logits, fake), calibrate_with_doubt(logits, fake)
    assert (found.scale, found.bias) == (plain.scale, plain.bias)
    alarms = (probabilities_of(logits, found)[~fake] > 0.5).mean()
    assert 0.09 < alarms <= 0.1
    assert (probabilities_of(logits, plain)[~fake] > 0.5).mean() > 0.2


def test_there_is_no_doubt_where_real_videos_raise_none() -> None:
    fake = np.arange(40) % 2 == 0
    assert calibrate_with_doubt(np.where(fake, 3.0, -3.0), fake).doubt == 0


def test_figures_of_known_scores() -> None:
    fake = np.array([True, True, False, False])
    perfect = eval_classifier.figures(np.array([0.9, 0.9, 0.1, 0.1]), fake)
    assert (perfect.auc, perfect.accuracy) == (1.0, 1.0)
    assert perfect.ece == pytest.approx(0.1)
    assert perfect.log_loss == pytest.approx(-np.log(0.9))
    assert eval_classifier.figures(np.full(4, 0.5), fake).log_loss == pytest.approx(np.log(2))
    assert eval_classifier.within(np.array([1.0, 1.0, 0.0, 0.0]), fake).startswith("0.0010 from 0.001 to 0.999, 0.0101")


def test_swaps_are_compared_with_their_own_originals() -> None:
    data = [sample(f"{scene}{fake}", fake, "a", scene=scene) for scene in ("one", "two", "") for fake in (True, False)]
    assert eval_classifier.ranked(np.array([0.9, 0.1, 0.2, 0.3, 0.0, 1.0]), data) == (1, 2)


def test_false_alarms_are_counted_where_they_fall() -> None:
    """Twelve real videos: narrow faces are taken for fakes, wide ones are not; the fake ones do not count."""
    data = []
    for number in range(18):
        pixels = np.full((1, 1, 3, 4, 4), 10 * number, np.uint8)
        clips = VideoClips(pixels, np.zeros(1, np.int64), np.ones(1))
        label = Labelled(str(number), number >= 12, "", "", "", source="abc"[number // 6], face_width=50 + number)
        data.append(Sample(label, clips, torch.zeros(1, 1, FEATURES)))
    table = false_alarms(data, np.array([0.9] * 4 + [0.1] * 8 + [0.9] * 6))
    rows = list(zip(*(column._cells for column in table.columns[:3]), strict=True))
    assert rows == [
        ("all", "12", "4"),
        ("face 50 to 54 pixels wide", "4", "4"),
        ("face 54 to 57 pixels wide", "4", "0"),
        ("face 57 to 61 pixels wide", "4", "0"),
        ("mean of the crops 0 to 37 of 255", "4", "4"),
        ("mean of the crops 37 to 73 of 255", "4", "0"),
        ("mean of the crops 73 to 110 of 255", "4", "0"),
        ("a", "6", "4"),
        ("b", "6", "0"),
    ]


def test_wilson_s_interval_is_the_textbook_s() -> None:
    """Newcombe (Statistics in Medicine, 1998), table I: 81 of 263, and none of 20."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_a_video_counts_its_most_suspect_person() -> None:
    clips = VideoClips(np.zeros((3, 1, 1, 1, 1), np.uint8), np.array([0, 0, 1]), np.ones(3))
    assert clips.main.tolist() == [True, True, False]
    assert clips.video_logit([-2.0, -2.0, 3.0]) > 2 > clips.video_logit([-2.0, -2.0, 0.0])


def test_a_cache_file_that_was_cut_is_not_taken_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Exception):
        pass

    def half(file: Any, **arrays: np.ndarray) -> None:
        whole = io.BytesIO()
        savez(whole, **arrays)
        with io.BytesIO() if isinstance(file, io.BytesIO) else Path(file).open("wb") as place:
            place.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        raise Stopped

    savez, videos = np.savez, [Labelled("a.mp4", True, "", "a", "")]
    boxes, landmarks = np.zeros((1, 4), np.float32), np.zeros((1, 5, 2), np.float32)
    track = Track(np.arange(1), np.zeros(1), boxes, landmarks, np.ones(1, np.float32), np.ones(1, np.bool_))
    monkeypatch.setattr(clip_data, "Pipeline", lambda: None)
    monkeypatch.setattr(clip_data, "clips_of", lambda *_: [(track, np.ones((4, 3, 8, 8), np.uint8))])
    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(Stopped):
        clip_data.cut(tmp_path, videos, tmp_path / "clips")
    monkeypatch.setattr(np, "savez", savez)
    assert clip_data.cut(tmp_path, videos, tmp_path / "clips")["a.mp4"].pixels.all()


@pytest.mark.shared
def test_no_person_is_in_two_folds(shared: Path) -> None:
    videos = read_labels(shared / "data" / "videos")
    assert len(videos) == 150
    folds = {video.group: {other.fold for other in videos if other.group == video.group} for video in videos}
    assert all(len(found) == 1 for found in folds.values())
    scenes = {
        video.scene: {other.fold for other in videos if other.scene == video.scene} for video in videos if video.scene
    }
    assert len(scenes) == 27
    assert all(len(found) == 1 for found in scenes.values())
    assert {video.fold for video in videos} == {*clip_data.FAMILIES.values(), clip_data.REST}


def test_a_pseudo_fake_differs_from_its_real_under_the_mask_alone() -> None:
    outer, fake, mask = self_blended(portrait(24), dice(24))
    outside = (mask == 0).expand_as(fake)
    assert torch.equal(outer[outside], fake[outside])
    assert (mask[..., [0, 0, -1, -1], [0, -1, 0, -1]] < 0.5).all()
    changed = ((outer - fake).abs() > 0.5).any(1).float().mean((1, 2))
    assert changed.min() > 0.005
    assert changed.max() > 0.3


def test_a_swap_shows_the_donor_in_the_colours_of_its_host() -> None:
    pictures = portrait(16)
    fake, mask = swapped(pictures[:8], pictures[8:], dice(8))
    outside = (mask == 0).expand_as(fake)
    assert torch.equal(pictures[:8][outside], fake[outside])
    inside = (mask > 0.99).expand_as(fake)
    assert (fake - pictures[:8]).abs()[inside].mean() > 10
    assert (fake[inside].mean() - pictures[:8][inside].mean()).abs() < 10


def test_a_batch_holds_every_kind_of_fake(store: CropStore) -> None:
    feed = Feed(store, 10, 0.5, 0.4, 0.1, torch.Generator().manual_seed(0))
    assert feed.counts == (5, 3, 2, 0), "no labelled video is in this folder"
    assert feed.batch().shape == (20, 3, CROP_SIZE, CROP_SIZE)
    real, fake = feed.couples()
    assert torch.equal(real[:5], fake[:5]), "the fakes of this folder are copies"
    assert all((a != b).any() for a, b in zip(real[5:], fake[5:], strict=True))


def test_a_measure_that_knows_more_is_seen_to_gain() -> None:
    """Forty videos, two of each group: a strong vote in one frame that a mean of frames drowns; the mean against itself
    changes nothing."""
    rng = np.random.default_rng(0)
    data, votes = [], []
    for number in range(40):
        fake, one = bool(number % 2), sample(str(number // 2), bool(number % 2), "ab"[number // 2 % 2])
        data.append(one)
        votes.append(rng.normal(0, 1, (2, CLIP_LENGTH)))
        votes[-1][:, CLIP_LENGTH // 2] += 3.0 * fake - 1.5
    middle, mean = (eval_measures.measures()[name] for name in ("middle frame, in its view", eval_measures.SHIPPED))
    better, base = (eval_measures.left_out(each, data, votes) for each in (middle, mean))
    gained = eval_measures.changes_of(better, base, data)
    assert np.quantile(gained[:, 0], 0.025) > 0
    assert np.quantile(gained[:, 1], 0.975) < 0
    assert not eval_measures.changes_of(base, base, data).any()


def test_every_measure_takes_the_main_person_or_all() -> None:
    clips = VideoClips(np.zeros((3, 1, 1, 1, 1), np.uint8), np.array([0, 0, 1]), np.array([1.0, 0.5, 1.0]))
    one = Sample(Labelled("a", True, "", "", ""), clips, torch.zeros(3, 1, FEATURES))
    votes = np.array([[1.0] * 4, [3.0] * 4, [-9.0] * 4])
    found = {name: measure(one, votes) for name, measure in eval_measures.measures().items()}
    assert found["main person only"] == found["main person, median of clips"] == 2
    assert found["main person, strongest clip"] == 3
    assert found["main person, first clip"] == 1
    assert found["main person, clips by quality"] == pytest.approx((1 + 3 / 16) / (1 + 1 / 16))
    assert found[eval_measures.SHIPPED] == found["median of frames"] == found["strongest frame"]


@pytest.mark.parametrize("content", [b"", b"no weights", "other"], ids=["empty", "text", "another network's"])
@pytest.mark.parametrize(
    "command", ["export_classifier", "export_detector", "train_classifier", "train_backbone", "eval_views"]
)
def test_a_file_that_is_not_the_wanted_weights_is_refused_in_one_line(
    command: str, content: bytes | str, tmp_path: Path
) -> None:
    file, out = tmp_path / "weights.pt", tmp_path / "out"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save({"other": torch.zeros(1)}, file)
    words = {
        "train_backbone": ["--start", file, "--shards", tmp_path],
        "train_classifier": [file, "--videos", tmp_path],
        "eval_views": [file, "--videos", tmp_path],
    }
    main = importlib.import_module(f"dfx.torch.{command}").main
    done = CliRunner().invoke(main, [str(word) for word in (*words.get(command, [file]), "--out", out)])
    assert done.exit_code == 2
    assert done.output.startswith(f"Error: {file} ")
    assert done.output.count("\n") == 1
    assert "give what dfx.torch.train_" in done.output
    assert not out.is_file()
