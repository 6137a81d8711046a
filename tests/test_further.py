"""Where the first windows show nobody, more are looked at: a video may begin and end with titles."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from clips import encode

import dfx
from dfx.decode import Decoder
from dfx.evidence import request, show
from dfx.find import Found
from dfx.govern import Job
from dfx.info import VideoInfo
from dfx.journal import Journal, read
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.predict import _Run
from dfx.probe import probe
from dfx.settings import FURTHER
from dfx.values import Frames, Plan, Prediction, Reason

TITLE = 100  # frames before and after the 75 of the portrait
BEGINS, ENDS = TITLE / 25, (TITLE + 75) / 25  # seconds


@pytest.fixture(scope="module")
def titled(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait between two titles; a keyframe every second, at which the windows begin."""
    with av.open(str(samples / "real.mp4")) as container:
        portrait = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    title = [np.full_like(portrait[0], 40)] * TITLE
    folder = tmp_path_factory.mktemp("titled")
    return encode(folder / "titled.mp4", [*title, *portrait, *title], g="25", keyint_min="25", sc_threshold="0")


class Counted:
    """A decoder that notes how many windows each look has."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self.looks = decoder, list[int]()

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        self.looks.append(len(plan.windows))
        return self._decoder.read(info, plan)


@pytest.fixture(scope="module")
def row(titled: Path) -> Prediction:
    return dfx.predict_video(titled)


def test_a_face_between_titles_is_scored(row: Prediction) -> None:
    assert (row.reason, row.windows) == (Reason.OK, FURTHER)
    assert row.clips
    assert all(BEGINS <= clip.start < clip.end <= ENDS for clip in row.clips)


def test_its_score_is_that_of_the_same_windows_asked_for(row: Prediction, titled: Path) -> None:
    asked = dfx.predict_video(titled, settings=dfx.Settings(windows=FURTHER))
    assert (asked.probability, asked.clips) == (row.probability, row.clips)


def test_without_looking_further_it_has_no_face(titled: Path) -> None:
    row = Pipeline().predict(titled, further=False)
    assert (row.reason, row.windows) == (Reason.NO_FACE, 2)


def test_it_looks_further_only_where_nobody_is_seen_and_there_is_more(
    samples: Path, titled: Path, tmp_path: Path
) -> None:
    pipeline, grey = Pipeline(), np.full((96, 96, 3), 40, np.uint8)
    counted = pipeline.decoder = Counted(pipeline.decoder)
    for path, looks in (
        (samples / "real.mp4", [2]),
        (titled, [2, FURTHER]),
        (encode(tmp_path / "one.mp4", [grey] * 20), [1]),
        (encode(tmp_path / "two.mp4", [grey] * 40, g="12"), [2]),
    ):
        counted.looks.clear()
        pipeline.predict(path)
        assert counted.looks == looks, path.name
    many = Pipeline(dfx.Settings(windows=9))
    assert many.predict(titled).windows == 9


def test_the_first_windows_are_among_the_further_ones(titled: Path) -> None:
    """So a further look forgets nothing, and a page that decodes as many windows as the row says sees the same."""
    info = probe(titled)
    few, many = ({window.start for window in plan(info, windows=count).windows} for count in (2, FURTHER))
    assert few < many


def test_find_faces_training_and_frames_look_further_too(titled: Path, tmp_path: Path) -> None:
    found = dfx.find_faces(titled)
    assert {bool(BEGINS <= track.seconds[0] < ENDS) for track in found} == {True}
    assert len(Pipeline().clips(titled)) == len(found) > 0
    dfx.frames(titled, tmp_path, plan=True, faces=True, progress=False)
    assert list(tmp_path.glob("*_p0.png"))


def test_the_report_shows_what_was_scored(row: Prediction, titled: Path) -> None:
    asked = request(row, titled, row.windows)
    seen = show(Pipeline(), asked["path"], asked["windows"], asked["turned"], asked["clips"])
    assert not seen["problem"]
    assert len(seen["clips"]) == len(asked["clips"]) > 0


def test_a_run_looks_further_and_does_not_do_so_twice(row: Prediction, titled: Path, tmp_path: Path) -> None:
    def run(budget: str | None = None) -> Prediction:
        (only,) = dfx.predict_dir(titled, tmp_path / "s.csv", budget=budget, device="cpu", progress=False)
        return only

    first = run()
    assert (first.probability, first.windows) == (row.probability, FURTHER)
    assert run().seconds == first.seconds
    assert run("60s").seconds == first.seconds, "four of the eight windows were looked at again"


def test_what_a_budget_saw_nobody_in_is_looked_at_further_without_one(samples: Path, tmp_path: Path) -> None:
    paths = {"titled.mp4": samples / "real.mp4"}
    with Journal.open(tmp_path / "j", {"limits": 1}) as journal:
        run = _Run([Found(name, path) for name, path in paths.items()], dfx.Settings(), None, journal)
        run.begin()
        nobody = Prediction("titled.mp4", 0.5, Reason.NO_FACE, windows=2)
        run.add(Job("titled.mp4", paths["titled.mp4"], 2, 60.0), nobody)
        again = run.schedule(2, 60.0, 1, None)
        assert again is not None
        job = again.take()
        assert job is not None
        assert (job.windows, job.further) == (2, True)
        run.add(job, nobody)
        assert run.schedule(2, 60.0, 1, None) is None, "there was no more to look at"
        known = read(tmp_path / "j").rows["titled.mp4"]
        assert known[1] == FURTHER


@pytest.mark.parametrize("windows", [3, FURTHER])
def test_a_budget_has_no_second_look_for_what_was_looked_at_further(samples: Path, windows: int) -> None:
    """A video may have room for fewer windows than eight; all were looked at."""
    run = _Run([Found("a.mp4", samples / "real.mp4")], dfx.Settings(), None, None)
    row = replace(dfx.predict_video(samples / "real.mp4"), filename="a.mp4", windows=windows)
    run.add(Job("a.mp4", samples / "real.mp4", 2, 60.0, further=True), row)
    governor = run.schedule(2, 60.0, 1, time.monotonic() + 60)
    assert governor is not None
    assert governor.take() is None


def test_a_budget_finds_the_face_by_second_looks(titled: Path) -> None:
    (only,) = dfx.predict_dir(titled, budget="60s", device="cpu", progress=False)
    assert only.reason == Reason.OK
