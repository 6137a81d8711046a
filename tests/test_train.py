"""`dfx train`: the cache, the split, the leaks that must not be, and a run to a model that is killed on its way."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from clips import uneven
from tolerances import MILLISECOND

pytest.importorskip("torch", reason="torch is not installed (pip install 'dfx[train]')")

import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from dfx.clip_cache import CachedClips, ClipsTask, packed, unpacked
from dfx.errors import InputError, ModelError
from dfx.find import Found
from dfx.infer.contract import contract_to_cut
from dfx.labels import read_entries
from dfx.pipeline import Pipeline
from dfx.settings import MODELS, Limits, Settings
from dfx.torch.clip_data import Labelled, Sample, VideoClips, read_labels
from dfx.torch.clipnet import CLIP_LENGTH, TIGHT, Backbone, TemporalHead
from dfx.torch.folds import labels
from dfx.torch.mesonet import MesoNet
from dfx.torch.recompress import Pair, by_turns, recompress, scaled
from dfx.torch.split import Case, check, components, leaks, split
from dfx.torch.steady import SteadyNet
from dfx.torch.train_classifier import fit_head, video_logits
from dfx.torch.views import VIEWED

pytestmark = pytest.mark.torch
FEATURES = Backbone.features


def case(name: str, fake: bool, *keys: str, side: str = "") -> Case:
    return Case(name, fake, frozenset({f"video {name}", *keys}), side)


def test_packing_loses_nothing() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (2, 3, 9, 7), np.uint8)
    assert packed(clip).dtype == np.uint8
    np.testing.assert_array_equal(unpacked(packed(clip)), clip)


def test_the_cache_holds_what_a_prediction_with_that_model_would_see(samples: Path, tmp_path: Path) -> None:
    """Whatever the model sees that ships now, whose frames have views of their own."""
    task = ClipsTask(Limits(), windows=2, cut=TIGHT.contract)
    answer = task(str(samples / "real.mp4"), str(tmp_path / "real.npz"))
    clips = CachedClips.open(tmp_path / "real.npz")
    contract = contract_to_cut(**TIGHT.contract)
    expected = np.stack([clip for _, clip in Pipeline().clips(samples / "real.mp4", contract=contract)])
    assert expected.shape[1:] == (TIGHT.length, 3, TIGHT.size, TIGHT.size)
    assert answer == {"clips": len(clips)}
    np.testing.assert_array_equal(clips.all(), expected)
    assert set(clips.main) <= set(range(len(clips)))


def test_what_shares_a_key_also_through_others_is_one_component() -> None:
    cases = [case("a", False), case("b", True, "video a", "group x"), case("c", False, "group x"), case("d", True)]
    first, second, third, alone = components(cases).tolist()
    assert first == second == third != alone


ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 6)), min_size=8, max_size=40)


@given(ROWS, st.integers(0, 9))
def test_no_person_original_or_file_is_on_both_sides(rows: list[tuple[bool, int, int]], seed: int) -> None:
    keys = [[f"group {group}"] + ([f"video {original}.mp4"] if fake else []) for fake, group, original in rows]
    cases = [case(f"{i}.mp4", row[0], *own) for i, (row, own) in enumerate(zip(rows, keys, strict=True))]
    try:
        held = split(cases, seed)
    except InputError:  # refused rather than split in two
        found = list(zip([one.fake for one in cases], components(cases).tolist(), strict=True))
        people = [{group for fake, group in found if fake == side} for side in (False, True)]
        assert min(map(len, people)) < 4, "there are people enough of both classes"
        return
    sides = [{key for one, out in zip(cases, held, strict=True) if out == side for key in one.keys} for side in (0, 1)]
    assert not sides[0] & sides[1]
    assert not set(components(cases)[held]) & set(components(cases)[~held])


def test_a_leak_is_refused() -> None:
    cases = [case(f"{i}", bool(i % 2), "group x" if i in {0, 7} else f"group {i}") for i in range(8)]
    with pytest.raises(InputError, match="both sides of the split, 'group x'"):
        check(cases, np.arange(8) > 3)
    asked = [
        case(f"{i}", bool(i % 2), "sha256 same" if i in {0, 7} else f"sha256 {i}", side="test" * (i > 3))
        for i in range(8)
    ]
    with pytest.raises(InputError, match="both sides"):
        split(asked, 0)


def test_an_original_in_another_folder_is_on_the_side_of_its_fake(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")
    from dfx.torch.train import cases_of

    for original in ("real/{}.mp4", "{}.mp4", "../real/{}.mp4"):
        rows = [f"real/{i}.mp4,REAL,\nfake/{i}_swap.mp4,FAKE,{original.format(i)}" for i in range(40)]
        (tmp_path / "labels.csv").write_text("\n".join(["filename,label,original", *rows, ""]))
        entries = read_entries(tmp_path / "labels.csv")
        clips = {name: CachedClips(tmp_path / name, np.zeros(1, np.int64), np.ones(1), name) for name in entries}
        cases = cases_of(entries, clips)
        held = dict(zip([one.filename for one in cases], split(cases, 0).tolist(), strict=True))
        assert all(held[f"real/{i}.mp4"] == held[f"fake/{i}_swap.mp4"] for i in range(40)), original
        askew = np.array([one.filename == "real/7.mp4" or held[one.filename] for one in cases])
        with pytest.raises(InputError, match=r"'video real/7\.mp4' for one: put all .* on one side"):
            check(cases, askew ^ held["real/7.mp4"])


def test_originals_that_are_no_row_are_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")
    from dfx.torch.train import labelled

    (tmp_path / "labels.csv").write_text("filename,label,original\na.mp4,FAKE,z.mp4\nb.mp4,FAKE,z.mp4\nc.mp4,REAL,\n")
    assert set(labelled([Found(f"{name}.mp4", None) for name in "abc"], tmp_path / "labels.csv")) == {
        "a.mp4",
        "b.mp4",
        "c.mp4",
    }
    assert "1 originals, 'z.mp4' for one, are none of the labelled videos: the 2 fakes" in capsys.readouterr().err


@pytest.mark.shared
def test_the_folds_of_the_evaluation_have_no_leak(shared: Path) -> None:
    with (shared / "data" / "videos" / "labels.csv").open(newline="") as lines:
        rows = {row["filename"]: row for row in csv.DictReader(lines)}
    videos = read_labels(shared / "data" / "videos")
    keys = {
        video.filename: {f"group {video.group}", f"sha256 {rows[video.filename]['sha256']}", f"file {video.filename}"}
        | ({f"scene {video.scene}"} if video.scene else set())
        for video in videos
    }
    folds = {video.filename: video.fold for video in videos}
    assert leaks(keys, folds) == []
    moved = next(video for video in videos if sum(other.group == video.group for other in videos) > 1)
    assert leaks(keys, folds | {moved.filename: "elsewhere"})


def test_shuffled_labels_teach_nothing() -> None:
    """The same head learns the true labels from these features: the coin is the labels', not the head's."""
    rng = np.random.default_rng(0)
    truth = np.arange(120) % 2 == 1
    assert learned(truth, truth) > 0.9
    aucs = [learned(truth, rng.permutation(truth)) for _ in range(8)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.12)  # one such AUC has a spread of 0.08, the mean of eight 0.03


def learned(truth: np.ndarray, told: np.ndarray) -> float:
    """AUC, by what half of the videos were said to be, on the other half; real features flicker less than fake ones."""
    torch.manual_seed(0)
    features = 0.3 * torch.randn(len(truth), 2, CLIP_LENGTH, FEATURES)
    features[torch.from_numpy(truth), :, ::2, 0] += 3
    half = len(truth) // 2
    clips = VideoClips(np.zeros((2, 1, 1, 1, 1), np.uint8), np.zeros(2, np.int64), np.ones(2))
    data = [
        Sample(Labelled(str(i), bool(fake), "", str(i), "a"), clips, features[i])
        for i, fake in enumerate(told.tolist())
    ]
    head = fit_head(TemporalHead(), data[:half], seed=0)
    return float(roc_auc_score(labels(data[half:]), video_logits(head, data[half:])))


def test_the_shipped_file_gives_its_weights_back() -> None:
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")
    from dfx.classify import Classifier
    from dfx.torch.start import begin, stored_in

    file = MODELS / "classifier.onnx"
    clips = torch.randint(0, 256, (1, CLIP_LENGTH, 3, VIEWED.size, VIEWED.size), dtype=torch.uint8)
    net = SteadyNet(begin(file, "lite0"), MesoNet()).eval()
    others = ("second.", "expected.")  # what training does not go on with
    net.load_state_dict({name: one for name, one in stored_in(file).items() if name.startswith(others)}, strict=False)
    with torch.no_grad():
        ours = net(clips).numpy()
    np.testing.assert_allclose(ours, Classifier(MODELS / "classifier.onnx").score(clips.numpy()), atol=1e-3)
    with pytest.raises(ModelError, match="not the weights"):
        begin(MODELS / "detector.onnx", "lite0")


@pytest.mark.timeout(420)  # three starts of torch and an export, on a machine that may be busy
def test_a_run_is_killed_and_goes_on_to_a_model(samples: Path, tmp_path: Path) -> None:
    """Eight copies of the samples with a mark in each, else they would be the same file on both sides; two epochs."""
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed (pip install 'dfx[train]')")
    videos, out = tmp_path / "videos", tmp_path / "run"
    videos.mkdir()
    names = {f"{kind}{i}.mp4": kind for i in range(4) for kind in ("real", "manipulated")}
    for number, (name, kind) in enumerate(names.items()):
        mark = bytes([0, 0, 0, 9]) + b"free" + bytes([number])  # a box of MP4 that every reader skips
        (videos / name).write_bytes((samples / f"{kind}.mp4").read_bytes() + mark)
    (videos / "broken.mp4").write_bytes(b"no video")
    word = {"manipulated": "FAKE", "real": "REAL"}
    entries = {name: {"label": word[kind], "split": "train"} for name, kind in names.items()}
    (videos / "metadata.json").write_text(json.dumps(entries | {"broken.mp4": {"label": "REAL"}}))
    command = [sys.executable, "-m", "dfx", "train", str(videos), "--out", str(out), "--epochs", "2"]
    command += ["--windows", "1", "--start", "nothing", "--device", "cpu", "--batch", "4", "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not (out / "checkpoints" / "last.ckpt").exists():
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (out / "model.onnx").exists()
    kept = {path: path.stat().st_mtime_ns for path in (out / "clips").iterdir()}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "clips").iterdir()} == kept
    assert "Restor" in done.stderr
    assert json.loads((out / "done.json").read_text())["epochs"] == 2
    assert "broken.mp4,corrupt" in (out / "skipped.csv").read_text()
    assert "from nothing" in (out / "card.md").read_text().replace("\n", " ")
    assert Pipeline(Settings(models=(out / "model.onnx",))).predict(videos / "real0.mp4").reason == "ok"
    other = subprocess.run(
        [*command, "--seed", "5"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2
    assert "seed 0" in other.stderr


def test_verdicts_that_turn() -> None:
    assert Pair("a", True, 0.6, 0.4).spoilt
    assert not Pair("a", False, 0.6, 0.4).spoilt
    assert Pair("a", False, 0.6, 0.4).flipped
    assert not Pair("a", True, None, 0.4).flipped
    assert scaled(1920, 1080, 480) == (854, 480)
    assert scaled(320, 240, 480) == (320, 240)
    videos = [Labelled(str(i), i < 3, "", str(i), "") for i in range(9)]
    assert [video.fake for video in by_turns(videos)] == [True, False] * 3 + [False] * 3


def test_recompressed_pictures_stay_where_they_are_in_time(tmp_path: Path) -> None:
    stamps = np.cumsum(np.tile([67, 33, 33], 30)).tolist()  # a rate of 30 with a third of its pictures left out
    recompress(uneven(tmp_path / "a.mp4", stamps), tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        seconds = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(np.diff(seconds), np.diff(stamps) / 1000, atol=MILLISECOND)
