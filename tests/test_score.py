"""The measures, against hand-made cases and against scikit-learn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import DOUBLE_PRECISION

from dfx.errors import InputError, MissingInputError
from dfx.results import Predictions
from dfx.score import RESAMPLES, SEED, auc, auc_interval, calibration_error, log_loss, read_labels, score
from dfx.values import Prediction, Reason

labelled = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])), min_size=2, max_size=60
)


def submission(path: Path, rows: str) -> Path:
    path.write_text("filename,label\n" + rows)
    return path


def test_log_loss_is_the_challenges() -> None:
    y, p = np.array([1.0, 0.0]), np.array([0.9, 0.2])
    assert log_loss(y, p) == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2)
    assert log_loss(np.array([1.0]), np.array([0.0])) == pytest.approx(-math.log(1e-15))
    assert log_loss(np.array([0.0]), np.array([1.0])) == pytest.approx(-math.log(1e-15), rel=0.01)


@given(labelled)
def test_auc_and_log_loss_agree_with_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    y, p = np.array([float(fake) for fake, _ in rows]), np.array([value for _, value in rows])
    if 0 < y.sum() < len(y):
        assert auc(y, p) == pytest.approx(metrics.roc_auc_score(y, p), abs=DOUBLE_PRECISION)
        inner = p.clip(0.01, 0.99)
        assert log_loss(y, inner) == pytest.approx(metrics.log_loss(y, inner), abs=DOUBLE_PRECISION)
    else:
        assert auc(y, p) is None


def test_calibration_error_of_known_cases() -> None:
    y = np.array([1.0, 0.0] * 50)
    assert calibration_error(y, np.full(100, 0.5)) == pytest.approx(0)
    assert calibration_error(y, np.full(100, 0.9)) == pytest.approx(0.4)


def test_the_interval_holds_the_value_and_narrows_with_size() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for size in (50, 2000):
        y = np.repeat([0.0, 1.0], size)
        p = 1 / (1 + np.exp(-rng.normal(y, 1)))
        interval, value = auc_interval(y, p), auc(y, p)
        assert interval is not None
        assert value is not None
        assert interval[0] < value < interval[1]
        widths.append(interval[1] - interval[0])
    assert widths[1] < widths[0] / 4
    assert auc_interval(y, p) == interval, "seeded"


def test_the_interval_is_that_of_resampled_rows() -> None:
    rng = np.random.default_rng(1)
    y, p = np.repeat([0.0, 1.0], [30, 20]), rng.integers(0, 8, 50) / 8
    again, draws = np.random.default_rng(SEED), []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([again.choice(p[y == 0], 30), again.choice(p[y == 1], 20)])
        wins = drawn[30:, None] - drawn[None, :30]
        draws.append(((wins > 0) + 0.5 * (wins == 0)).mean())
    assert auc_interval(y, p) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=DOUBLE_PRECISION)


def test_every_way_of_giving_labels(tmp_path: Path) -> None:
    rows = submission(tmp_path / "s.csv", "a.mp4,0.9\nb.mp4,0.2\n")
    (tmp_path / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "FAKE"}, "b.mp4": {"label": "REAL"}}))
    (tmp_path / "words.csv").write_text("filename,label,other\na.mp4,FAKE,x\nb.mp4,REAL,y\n")
    (tmp_path / "numbers.csv").write_text("filename,label\nb.mp4,0\na.mp4,1\n")
    given = Predictions((Prediction("a.mp4", 0.9, Reason.OK), Prediction("b.mp4", 0.2, Reason.OK)))
    reports = [score(rows, tmp_path / name) for name in ("metadata.json", "words.csv", "numbers.csv", ".")]
    reports += [score(given, {"a.mp4": 1, "b.mp4": 0}), score(given, {"a.mp4": "FAKE", "b.mp4": "real"})]
    reports += [score(given, {"a.mp4": True, "b.mp4": False})]
    assert all(report == reports[0] for report in reports)
    assert reports[0].log_loss == pytest.approx(0.164252, abs=1e-6)
    assert (reports[0].auc, reports[0].accuracy) == (1.0, 1.0)


def test_a_training_set_in_parts_has_the_names_of_predict_dir(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for part, label in (("part_0", "FAKE"), ("part_1", "REAL")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "metadata.json").write_text(json.dumps({"a.mp4": {"label": label}}))
    assert read_labels(tmp_path) == {"part_0/a.mp4": 1, "part_1/a.mp4": 0}
    with pytest.raises(MissingInputError, match=r"no metadata\.json"):
        read_labels(empty)


@pytest.mark.parametrize("name", ["a\rb.mp4", "a\r\nb.mp4", "a\x85b.mp4", "a\u2028b.mp4", "a\udcffb.mp4", '"a",b.mp4'])
def test_any_name_survives_the_way_through_the_csv(tmp_path: Path, name: str) -> None:
    Predictions((Prediction(name, 0.9, Reason.OK),)).to_csv(tmp_path / "s.csv")
    assert score(tmp_path / "s.csv", {name: 1}).videos == 1


def test_a_spreadsheets_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbffilename,label\r\na.mp4,0.9\r\n")
    assert score(tmp_path / "s.csv", {"a.mp4": 1}).videos == 1


def test_what_has_no_partner_is_counted(tmp_path: Path) -> None:
    rows = submission(tmp_path / "s.csv", "a.mp4,0.9\nb.mp4,0.2\nc.mp4,0.5\n")
    report = score(rows, {"a.mp4": 1, "b.mp4": 0, "d.mp4": 0, "e.mp4": 1})
    assert (report.videos, report.unlabelled, report.unscored) == (2, 1, 2)


def test_one_class_has_no_auc(tmp_path: Path) -> None:
    report = score(submission(tmp_path / "s.csv", "a.mp4,0.9\nb.mp4,0.2\n"), {"a.mp4": 1, "b.mp4": 1})
    assert report.auc is None
    assert "all labels are the same" in repr(report)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ("a.mp4,1.2\n", "filename,label\na.mp4,FAKE\n", r"'1\.2'"),
        ("a.mp4,nan\n", "filename,label\na.mp4,FAKE\n", "'nan'"),
        ("a.mp4,\n", "filename,label\na.mp4,FAKE\n", "''"),
        ("a.mp4,0.5\na.mp4,0.5\n", "filename,label\na.mp4,FAKE\n", "twice"),
        ("a.mp4,0.5\n", "filename,label\na.mp4,MAYBE\n", "'MAYBE'"),
        ("a.mp4,0.5\n", "name,label\na.mp4,FAKE\n", "'filename'"),
        ("a.mp4,0.5\n", "filename,label\nz.mp4,FAKE\n", "there are .a.mp4. and .z.mp4., for one"),
        ("a.mp4,0.5\n", "label,filename\nFAKE\n", "cut short"),
        ("a" * 200_000 + ",0.5\n", "filename,label\na.mp4,FAKE\n", "not a CSV"),
    ],
)
def test_nonsense_is_named(tmp_path: Path, rows: str, labels: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(labels)
    with pytest.raises(InputError, match=message):
        score(submission(tmp_path / "s.csv", rows), tmp_path / "l.csv")


def test_nonsense_in_memory_is_named_too() -> None:
    given = Predictions((Prediction("a.mp4", math.nan, Reason.OK),))
    with pytest.raises(InputError, match="the probability is nan"):
        score(given, {"a.mp4": 1})
    with pytest.raises(InputError, match="the label is 2"):
        score(Predictions(()), {"a.mp4": 2})


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"nothing\.csv"):
        score(tmp_path / "nothing.csv", {"a": 1})
    (tmp_path / "bad.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"metadata\.json"):
        score(submission(tmp_path / "s.csv", "a,0.5\n"), tmp_path / "bad.json")
