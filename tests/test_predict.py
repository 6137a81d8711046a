"""The main job, end to end, on files as they come."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from clips import encode, sound_only

import dfx
from dfx.errors import InputError, MissingInputError, ModelError, OutputError
from dfx.find import find
from dfx.govern import Job
from dfx.journal import Journal, journal_of
from dfx.pipeline import Pipeline
from dfx.predict import _Run
from dfx.values import Reason


def read_csv(path: Path) -> dict[str, float]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        return {row["filename"]: float(row["label"]) for row in csv.DictReader(lines)}


def pictures(path: Path, count: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [next(frames).to_ndarray(format="rgb24") for _ in range(count)]


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, who may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as users have them: good videos, odd names, and files that are no videos."""
    import dfx.demo

    folder, samples = tmp_path_factory.mktemp("mixed"), dfx.demo.SAMPLES
    for name in ("plain.mp4", "with space.mp4", "quo\"te's, comma.mp4", "größe-映画.mp4", "=1+1.mp4", "-dash.mp4"):
        shutil.copy(samples / "real.mp4", folder / name)
    shutil.copy(samples / "no_face.mp4", folder / "landscape.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is no video\n" * 100)
    whole = (samples / "real.mp4").read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 3])
    sound_only(folder / "sound.mp4")
    shots = pictures(samples / "real.mp4", 32)
    encode(folder / "one_frame.mp4", shots[:1], crf="20")
    encode(folder / "upright.mp4", shots, crf="20")
    return folder


@pytest.fixture(scope="module")
def result(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dfx.Predictions, Path]:
    out = tmp_path_factory.mktemp("out") / "submission.csv"
    return dfx.predict_dir(mixed, out, progress=False), out


def test_every_file_has_a_row_with_its_reason(result: tuple[dfx.Predictions, Path], mixed: Path) -> None:
    reasons = {row.filename: row.reason for row in result[0]}
    assert set(reasons) == {path.name for path in mixed.iterdir()}
    wrong = {
        "empty.mp4": Reason.CORRUPT,
        "text.mp4": Reason.CORRUPT,
        "truncated.mp4": Reason.CORRUPT,
        "sound.mp4": Reason.UNSUPPORTED,
        "landscape.mp4": Reason.NO_FACE,
    }
    assert {name: reason for name, reason in reasons.items() if reason != Reason.OK} == wrong


def test_what_cannot_be_scored_gets_the_prior_and_a_sentence(result: tuple[dfx.Predictions, Path]) -> None:
    for row in result[0]:
        if row.reason != Reason.OK:
            assert row.probability == 0.5
            assert len(row.detail) > 10


def test_good_ones_score_as_if_alone(result: tuple[dfx.Predictions, Path], mixed: Path) -> None:
    rows = {row.filename: row for row in result[0]}
    for name in ("plain.mp4", "größe-映画.mp4", "one_frame.mp4", "upright.mp4"):
        assert dfx.predict_video(mixed / name) == rows[name]
    assert len({rows[name].probability for name in ("plain.mp4", "with space.mp4", "=1+1.mp4", "-dash.mp4")}) == 1


def test_the_csv_says_what_the_rows_say(result: tuple[dfx.Predictions, Path]) -> None:
    predictions, out = result
    assert read_csv(out) == {row.filename: round(row.probability, 6) for row in predictions}


def test_the_evidence_stands_in_the_row(result: tuple[dfx.Predictions, Path]) -> None:
    row = next(row for row in result[0] if row.filename == "plain.mp4")
    assert row.faces == 1
    assert all(0 <= clip.start < clip.end <= 3 for clip in row.clips)
    left, top, right, bottom = row.clips[0].box
    assert 100 < left < right < 300
    assert 0 <= top < bottom < 220


def test_a_rotated_video_scores_as_the_upright_one(mixed: Path, tmp_path: Path) -> None:
    upright = pictures(mixed / "upright.mp4", 32)
    encode(
        tmp_path / "turned.mp4",
        [np.ascontiguousarray(np.rot90(picture)) for picture in upright],
        rotation=-90,
        crf="20",
    )
    tracks = dfx.find_faces(tmp_path / "turned.mp4")
    straight = dfx.find_faces(mixed / "upright.mp4")
    assert len(tracks) == len(straight) > 0
    overlap = np.abs(tracks[0].boxes.mean(axis=0) - straight[0].boxes.mean(axis=0))
    assert overlap.max() < 5


def test_two_fresh_runs_are_the_same_to_the_byte(
    result: tuple[dfx.Predictions, Path], mixed: Path, tmp_path: Path
) -> None:
    dfx.predict_dir(mixed, tmp_path / "again.csv", workers=1, fresh=True, progress=False)
    assert (tmp_path / "again.csv").read_bytes() == result[1].read_bytes()


def test_a_second_run_scores_nothing_again(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = dfx.predict_dir(samples, tmp_path / "s.csv", progress=False)
    monkeypatch.setattr("dfx.predict.Pool", None)  # a pool that is asked for would fail
    assert dfx.predict_dir(samples, tmp_path / "s.csv", progress=False) == first


def test_other_settings_are_not_mixed_in(samples: Path, tmp_path: Path) -> None:
    dfx.predict_dir(samples, tmp_path / "s.csv", progress=False)
    with pytest.raises(InputError, match="windows"):
        dfx.predict_dir(samples, tmp_path / "s.csv", settings=dfx.Settings(windows=1), progress=False)
    rows = dfx.predict_dir(samples, tmp_path / "s.csv", settings=dfx.Settings(windows=1), fresh=True, progress=False)
    assert len(rows) == 3


def signalled(number: signal.Signals, seconds: float, folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`dfx predict`, which sends itself a signal so many seconds after it begins to journal the fourth video."""
    program = [Path(__file__).with_name("signalled.py"), "4", str(seconds), str(int(number))]
    command = [sys.executable, *program, "predict", folder, "--out", out, "--quiet"]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False)


@pytest.fixture
def many(samples: Path, tmp_path: Path) -> Path:
    """A folder of 40 videos."""
    (tmp_path / "in").mkdir()
    for number in range(40):
        shutil.copy(samples / "real.mp4", tmp_path / f"in/{number:02}.mp4")
    return tmp_path / "in"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_a_killed_run_goes_on(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    assert signalled(signal.SIGKILL, 0, many, out).returncode == -signal.SIGKILL
    assert set(read_csv(out)) == {path.name for path in many.iterdir()}
    before = journaled(out)
    assert len(before) == 3
    subprocess.run([sys.executable, "-P", "-m", "dfx", "predict", many, "--out", out, "--quiet"], check=True)
    after = journaled(out)
    assert len(after) == 40
    assert before <= after, "a video that was journaled was not scored again: its time is the same"
    assert len(set(read_csv(out).values())) == 1


def journaled(out: Path) -> set[tuple[bytes, str]]:
    """Name and row, its time included, of each video in the journal."""
    with closing(sqlite3.connect(f"{out}.journal")) as connection:
        return set(connection.execute("SELECT filename, row FROM videos"))


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_leaves_a_whole_csv(many: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "s.csv"
    run = signalled(number, 0.01, many, out)  # as it waits for the next
    assert run.returncode == 130
    assert "run the same command again to go on" in run.stderr
    assert len(read_csv(out)) == 40


def test_the_sample_submission_fixes_rows_and_order(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("filename,label\nreal.mp4,0.5\ngone.mp4,0.5\nmanipulated.mp4,0.5\n")
    rows = dfx.predict_dir(samples, tmp_path / "s.csv", sample_submission=tmp_path / "sample.csv", progress=False)
    assert [row.filename for row in rows] == ["real.mp4", "gone.mp4", "manipulated.mp4"]
    assert rows[1].reason == Reason.MISSING
    assert list(read_csv(tmp_path / "s.csv")) == ["real.mp4", "gone.mp4", "manipulated.mp4"]


def test_the_prior_and_the_clip_range_are_kept(mixed: Path) -> None:
    settings = dfx.Settings(prior=0.2, clip_range=(0.4, 0.45))
    assert dfx.predict_video(mixed / "text.mp4", settings=settings).probability == 0.2
    assert 0.4 <= dfx.predict_video(mixed / "plain.mp4", settings=settings).probability <= 0.45


def test_models_may_be_named_by_texts() -> None:
    plain = dfx.Settings()
    assert dfx.Settings(str(plain.detector), [str(plain.models[0])]) == plain  # type: ignore[arg-type]


def test_a_video_that_changes_after_it_was_opened_is_scored_again(samples: Path, tmp_path: Path) -> None:
    video = Path(shutil.copy(samples / "real.mp4", tmp_path / "a.mp4"))
    with Journal.open(tmp_path / "j", {}) as journal:
        run = _Run(find(video), dfx.Settings(), None, journal)
        run.begin()
        schedule = run.schedule(2, 60.0, 1, None)
        assert schedule is not None
        job = schedule.take()
        assert job is not None
        prediction = dfx.predict_video(job.path)
        shutil.copy(samples / "no_face.mp4", video)
        run.add(job, prediction)
        assert journal.done({"a.mp4": video}) == {}


@pytest.mark.skipif(os.name != "posix", reason="needs the rights of POSIX")
def test_what_may_not_be_read_is_no_broken_video_and_no_empty_folder(samples: Path) -> None:
    with tempfile.TemporaryDirectory() as home:  # not tmp_path, whose parents are closed to others
        Path(home).chmod(0o755)
        shutil.copy(samples / "real.mp4", Path(home, "a.mp4")).chmod(0)
        pipeline = Pipeline()
        pipeline.predict(samples / "real.mp4")  # loads all code, which may lie where nobody may read
        with nobody():
            row = pipeline.predict(Path(home, "a.mp4"))
        assert row.reason == Reason.MISSING
        assert "may not be read (Permission denied)" in row.detail
        Path(home, "closed").mkdir(0)
        for source in (home, f"{home}/closed", f"{home}/closed/b.mp4"):
            with nobody(), pytest.raises(MissingInputError, match=r"closed.* may not be looked into"):
                find(source)
        Path(home, "closed").rename(Path(home, "lost+found"))
        with nobody():
            assert [item.filename for item in find(home)] == ["a.mp4"], "what a file system keeps for itself"
        Path(home, "lost+found").chmod(0o755)


def test_what_could_not_be_opened_is_not_remembered(samples: Path, tmp_path: Path) -> None:
    video = samples / "real.mp4"
    with Journal.open(tmp_path / "j", {}) as journal:
        run = _Run(find(video), dfx.Settings(), None, journal)
        run.begin()
        run.add(Job("real.mp4", video, 2, 60.0), dfx.Prediction("real.mp4", 0.5, Reason.MISSING))
        assert run.scored == 1
        assert journal.done({"real.mp4": video}) == {}


def test_what_a_limit_stopped_is_tried_again_under_another(samples: Path, tmp_path: Path) -> None:
    def reasons(limits: dfx.Limits) -> dict[str, int]:
        return dfx.predict_dir(samples, tmp_path / "s.csv", limits=limits, progress=False).reasons

    assert reasons(dfx.Limits(pixels=1000)) == {"too_large": 3}
    assert reasons(dfx.Limits()) == {"ok": 2, "no_face": 1}
    assert reasons(dfx.Limits(pixels=1000)) == {"ok": 2, "no_face": 1}, "what is scored stays"


def test_what_stands_in_the_way_costs_no_score(samples: Path, tmp_path: Path) -> None:
    """A model that is none is known when a worker loads it: until then nothing is forgotten, and nothing bound."""
    out, bad = tmp_path / "s.csv", tmp_path / "bad.onnx"
    bad.write_bytes(b"nonsense")
    with pytest.raises(ModelError):
        dfx.predict_dir(samples, out, settings=dfx.Settings(models=(bad,)), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]
    first = dfx.predict_dir(samples, out, progress=False)
    with pytest.raises(ModelError):
        dfx.predict_dir(samples, out, settings=dfx.Settings(models=(bad,)), fresh=True, progress=False)
    again = dfx.predict_dir(samples, out, progress=False)
    assert [row.seconds for row in again] == [row.seconds for row in first], "they are remembered, not scored anew"


@pytest.mark.parametrize("bad", [False, True], ids=["too short", "no model"])
def test_a_budget_that_ends_before_a_worker_is_ready_forgets_nothing(samples: Path, tmp_path: Path, bad: bool) -> None:
    out, model = tmp_path / "s.csv", tmp_path / "bad.onnx"
    model.write_bytes(b"nonsense")
    settings = dfx.Settings(models=(model,)) if bad else None
    first = dfx.predict_dir(samples, out, progress=False)
    try:
        late = dfx.predict_dir(samples, out, settings=settings, budget=0.05, fresh=True, progress=False)
    except ModelError:
        assert bad
    else:  # a worker that would refuse the model may not have come to it
        assert late.reasons == {"out_of_budget": 3}
    again = dfx.predict_dir(samples, out, progress=False)
    assert [row.seconds for row in again] == [row.seconds for row in first]


def test_a_run_on_other_videos_says_what_the_csv_will_not_have(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s.csv"
    for names, told in (
        (["real.mp4"], ""),
        (["no_face.mp4"], "leaves out (1) will not be in"),
        (["real.mp4"], "leaves out (1)"),
    ):
        dfx.predict_dir([samples / name for name in names], out, device="cpu", progress=False)
        assert told in capsys.readouterr().err
        assert [line.split(",")[0] for line in out.read_text().splitlines()[1:]] == names
    dfx.predict_dir(samples, out, device="cpu", progress=False)
    assert capsys.readouterr().err == "", "all are asked for"


def test_a_second_look_that_fails_leaves_the_first_ones_score(samples: Path, tmp_path: Path) -> None:
    """A budget gave it fewer windows; the same call without one has its limit outlasted by the rest of them."""
    out = tmp_path / "s.csv"
    with Journal.open(journal_of(out), {"limits": 1}) as journal:
        journal.begin({})
        run = _Run(find(samples / "real.mp4"), dfx.Settings(), None, journal)
        first = replace(dfx.predict_video(samples / "real.mp4"), probability=0.25, windows=1)
        run.add(Job("real.mp4", samples / "real.mp4", 1, 60.0), first)
        for reason, kept in ((Reason.TIMEOUT, True), (Reason.CRASHED, True), (Reason.NO_FACE, False)):
            once = run.schedule(2, 60.0, 1, None)
            assert once is not None
            job = once.take()
            assert job is not None
            assert job.windows == 2
            assert (once.done(job, dfx.Prediction("real.mp4", 0.5, reason)) is None) == kept


def test_bad_arguments_end_at_once(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(MissingInputError):
        dfx.predict_dir(tmp_path / "nowhere", progress=False)
    with pytest.raises(MissingInputError):
        dfx.predict_video(tmp_path / "nothing.mp4")
    with pytest.raises(ModelError):
        dfx.predict_dir(
            samples, tmp_path / "s.csv", settings=dfx.Settings(models=(tmp_path / "bad.onnx",)), progress=False
        )
    with pytest.raises(OutputError):
        dfx.predict_dir(samples, tmp_path / "no" / "such" / "folder" / "s.csv", progress=False)
    with pytest.raises(InputError, match="windows is 0"):
        dfx.Settings(windows=0)
    with pytest.raises(InputError, match=r"models is 'mine\.onnx'; a tuple of files"):
        dfx.Settings(models="mine.onnx")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="it is a folder"):
        dfx.predict_dir(samples, tmp_path, progress=False)
    with pytest.raises(OutputError, match="it is a folder"):
        dfx.predict_dir(samples, "", progress=False)
    assert not tmp_path.with_name(f"{tmp_path.name}.journal").exists()
    assert not (tmp_path / "s.csv").exists()


def test_prediction_never_imports_torch(samples: Path, tmp_path: Path) -> None:
    code = f"import sys, dfx; dfx.predict_video({str(samples / 'real.mp4')!r}); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.shared
def test_every_labelled_video_gets_a_score(shared: Path, tmp_path: Path) -> None:
    rows = dfx.predict_dir(shared / "data" / "videos", tmp_path / "s.csv", progress=False)
    assert len(rows) == 150
    assert sum(row.reason == Reason.OK for row in rows) >= 0.97 * 150
