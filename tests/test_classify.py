"""Several classifiers that score the same faces: what their mean is, how clips are cut for each, what is remembered."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from models import TEMPLATE, brightness_classifier

import dfx
from dfx.classify import Ensemble
from dfx.doubts import doubts
from dfx.errors import InputError
from dfx.infer import Calibration
from dfx.journal import read
from dfx.settings import Settings
from dfx.values import ClipScore, Prediction, Reason

SHIPPED = Settings().models[0]
UNBOUNDED = (0.0, 1.0)


def calibrated(scale: float, bias: float) -> str:
    return json.dumps({"scale": scale, "bias": bias})


def predict(path: Path, *models: Path) -> Prediction:
    return dfx.predict_video(path, settings=Settings(models=models, clip_range=UNBOUNDED))


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_a_file_beside_a_copy_of_itself_scores_as_alone(samples: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(SHIPPED, tmp_path / "copy.onnx"))
    alone, twice = (predict(samples / "manipulated.mp4", *models) for models in ([SHIPPED], [SHIPPED, copy]))
    assert twice.probability == alone.probability
    assert [clip.logit for clip in twice.clips] == [clip.logit for clip in alone.clips]
    assert alone.clips[0].opinions == ()
    assert len(twice.clips[0].opinions) == 2


def test_the_mean_is_that_of_the_calibrated_logits(samples: Path, tmp_path: Path) -> None:
    bright = brightness_classifier(tmp_path / "bright.onnx", calibration=calibrated(0.02, -3.0))
    dull = brightness_classifier(tmp_path / "dull.onnx", calibration=calibrated(0.002, 0.5))
    video = samples / "real.mp4"
    alone = [logit(predict(video, path).probability) for path in (bright, dull)]
    assert abs(alone[0] - alone[1]) > 0.1
    assert logit(predict(video, bright, dull).probability) == pytest.approx(np.mean(alone))


def test_each_sees_the_clip_that_it_would_see_alone(samples: Path, tmp_path: Path) -> None:
    """Another length, stride, size and template than the shipped one's; of one span both, so that tracks agree."""
    length = str(Ensemble([SHIPPED]).contract.span)
    changes = {"clip_length": length, "clip_stride": "1", "crop_size": "32", "crop_template": json.dumps(TEMPLATE)}
    other = brightness_classifier(tmp_path / "other.onnx", **changes, calibration=calibrated(0.01, -1.0))
    video = samples / "real.mp4"
    together, apart = predict(video, SHIPPED, other), [predict(video, path) for path in (SHIPPED, other)]
    calibrations = Ensemble([SHIPPED]).calibration, Calibration(0.01, -1.0)
    for number, (alone, calibration) in enumerate(zip(apart, calibrations, strict=True)):
        heard = [clip.opinions[number] for clip in together.clips]
        assert heard == [calibration.odds(clip.logit) for clip in alone.clips]


def test_clips_are_cut_once_where_contracts_agree(tmp_path: Path) -> None:
    same = [brightness_classifier(tmp_path / f"{i}.onnx", name=f"of {i}") for i in range(2)]
    slow = brightness_classifier(tmp_path / "slow.onnx", clip_length="4", clip_stride="6")
    slower = brightness_classifier(tmp_path / "slower.onnx", clip_length="8", clip_stride="4")
    assert len(Ensemble(same).cuts) == 1
    assert Ensemble(same).window == (16, 1)
    ensemble = Ensemble([slow, same[0], same[1], slower])
    assert [cut.clip_length for cut in ensemble.cuts] == [4, 16, 8]
    assert Ensemble([slow, slower]).window == (15, 2)
    clips = [[np.full((cut.clip_length, 3, 32, 32), 10 * (i + 1), np.uint8) for i, cut in enumerate(ensemble.cuts)]]
    assert ensemble.score(clips).tolist() == [[10, 20, 20, 30]]


def test_doubt_is_averaged(tmp_path: Path) -> None:
    """So that a file beside a copy of itself says what it says alone."""
    text = json.dumps({"scale": 0.5, "bias": 1.0, "doubt": 0.75})
    one = brightness_classifier(tmp_path / "one.onnx", calibration=text)
    sure = brightness_classifier(tmp_path / "sure.onnx", calibration=calibrated(0.5, 1.0))
    assert Ensemble([one, one]).calibration == Ensemble([one]).calibration == Calibration(0.5, 1.0, 0.75)
    both = Ensemble([one, sure])
    assert both.calibration == Calibration(0.5, 1.0, 0.375)
    said = [1.0, -2.5]
    assert both.calibration.odds(both.mean(said)) == np.mean(both.opinions(said)), "before doubt, it is their mean"


def test_who_has_no_say_has_none(tmp_path: Path) -> None:
    """A calibration of scale 0, as `dfx train` writes it for a model that learned nothing."""
    mute = [brightness_classifier(tmp_path / f"{i}.onnx", calibration=calibrated(0.0, float(i))) for i in range(2)]
    loud = brightness_classifier(tmp_path / "loud.onnx", calibration=calibrated(0.5, 1.0))
    assert Ensemble([*mute]).calibration == Calibration(0.0, 0.5)
    assert Ensemble([*mute]).mean([3.0, 5.0]) == 4.0
    ensemble = Ensemble([mute[0], loud])
    assert ensemble.mean([100.0, 4.0]) == 4.0
    assert ensemble.calibration.of(4.0) == np.mean([0.0, 0.5 * 4.0 + 1.0])


def test_a_journal_knows_all_its_models(samples: Path, tmp_path: Path) -> None:
    other = brightness_classifier(tmp_path / "other.onnx", calibration=calibrated(0.01, -1.0))
    video, out = samples / "real.mp4", tmp_path / "s.csv"
    both = Settings(models=(SHIPPED, other))
    (row,) = dfx.predict_dir(video, out, settings=both, device="cpu", progress=False)
    ((remembered, _, _),) = read(out.with_name("s.csv.journal")).rows.values()
    assert remembered.clips == row.clips
    assert all(len(clip.opinions) == 2 for clip in row.clips)
    for fewer in (Settings(), Settings(models=(other, SHIPPED))):
        with pytest.raises(InputError, match="models was"):
            dfx.predict_dir(video, out, settings=fewer, device="cpu", progress=False)
    with pytest.raises(InputError, match="models is empty"):
        Settings(models=())


def test_a_report_is_told_all_models_of_the_run(samples: Path, tmp_path: Path) -> None:
    from dfx import report

    other = brightness_classifier(tmp_path / "other.onnx", calibration=calibrated(0.01, -1.0))
    out, page = tmp_path / "s.csv", tmp_path / "r.html"
    dfx.predict_dir(samples / "real.mp4", out, settings=Settings(models=(SHIPPED, other)), device="cpu", progress=False)
    journal = out.with_name("s.csv.journal")
    with pytest.raises(InputError, match="nothing is not the model"):
        report.from_journal(journal, page, progress=False)
    report.from_journal(journal, page, models=(SHIPPED, other), progress=False)
    text = page.read_text(encoding="utf-8")
    assert "other.onnx is not the model that ships with dfx" in text
    assert "Nobody has measured it by skin colour" in text
    assert "The model that scored these videos is weak" not in text


def test_classifiers_that_disagree_are_a_doubt() -> None:
    def row(*opinions: float) -> Prediction:
        clip = ClipScore(0, 0.0, 0.5, (0.0, 0.0, 100.0, 100.0), 0.9, 1.0, opinions)
        return Prediction("a", 0.9, Reason.OK, clips=(clip, clip))

    def disagree(*opinions: float) -> bool:
        return any("by themselves they say 0.88, 0.12" in line for line in doubts(row(*opinions), None, lambda *_: 0.9))

    assert disagree(2.0, -2.0)
    assert not disagree(2.0, 2.1)
    assert not disagree()
