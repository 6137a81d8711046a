"""People who stand on their head, or lie on their side, are seen upright, whatever their file says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import encode
from surfaces import planar_on_host, planes

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from simulated import on_simulated_gpu
from turned import Lying

import dfx
from dfx.crop import crop_middle
from dfx.decode import Decoder
from dfx.detect import Detector
from dfx.doubts import doubts
from dfx.evidence import request, show
from dfx.info import VideoInfo
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.track import follow
from dfx.upright import SIDE, Upright
from dfx.values import Frames, Plan, Prediction, Reason, Surface


def lying(pipeline: Pipeline, degrees: int) -> Pipeline:
    pipeline.decoder = Lying(pipeline.decoder, degrees)
    return pipeline


@pytest.fixture(scope="module")
def upright(samples: Path) -> Prediction:
    return Pipeline().predict(samples / "real.mp4")


@pytest.fixture(scope="module")
def on_its_head(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait, turned by half and encoded so; its file says nothing of it."""
    with av.open(str(samples / "real.mp4")) as container:
        pictures = [np.rot90(frame.to_ndarray(format="rgb24"), 2) for frame in container.decode(video=0)]
    path = tmp_path_factory.mktemp("turned") / "head.mp4"
    return encode(path, map(np.ascontiguousarray, pictures), crf="18")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_video_that_lies_scores_as_the_upright_one(samples: Path, upright: Prediction, degrees: int) -> None:
    row = lying(Pipeline(), degrees).predict(samples / "real.mp4")
    assert row.turned == 360 - degrees
    assert (row.probability, row.clips) == (upright.probability, upright.clips)


def test_a_video_that_stands_is_left_alone(upright: Prediction) -> None:
    assert upright.turned == 0


def test_a_file_that_stands_on_its_head_is_not_called_a_fake(on_its_head: Path, upright: Prediction) -> None:
    row = dfx.predict_video(on_its_head)
    assert row.turned == 180
    assert row.probability == pytest.approx(upright.probability, abs=0.1)
    assert row.probability < 0.5
    said = doubts(row, None, lambda *_: row.probability)
    assert "People are on their head in it, and its file does not say so: dfx turned it by 180 degrees." in said


@pytest.mark.parametrize("degrees", [90, 180])
def test_surfaces_are_turned_too(samples: Path, degrees: int, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = on_simulated_gpu().predict(samples / "real.mp4")
    pipeline = on_simulated_gpu()
    pipeline.gpu_decoder = Lying(pipeline.gpu_decoder, degrees)  # type: ignore[arg-type, assignment]
    row = pipeline.predict(samples / "real.mp4")
    assert row.turned == 360 - degrees
    assert row.probability == pytest.approx(straight.probability, abs=1e-6)


def test_planes_and_surfaces_turn_the_same_way() -> None:
    picture = planes(40, 24)
    surface = planar_on_host(picture)
    for degrees in (90, 180, 270):
        ours, theirs = picture.turned(degrees), surface.turned(degrees)
        assert (ours.width, ours.height) == (theirs.width, theirs.height)
        assert isinstance(theirs, Surface)
        assert theirs.rotation == degrees
        np.testing.assert_array_equal(ours.y, np.rot90(picture.y, -degrees // 90))
    assert picture.turned(360) is picture


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_detector_with_a_fixed_canvas_says_the_same(samples: Path, turn: int) -> None:
    pipeline, info = Pipeline(), probe(samples / "real.mp4")
    frames = next(iter(pipeline.decoder.read(info, pipeline.plan(info)))).turned(-turn)
    track = follow(frames.turned(turn), {0: pipeline.detector.detect([frames.turned(turn).pictures[0]])[0]})[0]
    face = np.rot90(np.asarray(crop_middle(frames.turned(turn), track, SIDE)), turn // 90, (1, 2))
    free = pipeline.detector.by_turn(face)
    pipeline.detector._square = pipeline.detector._on_gpu = True
    fixed = pipeline.detector.by_turn(face)
    assert np.argmax(free) == np.argmax(fixed) == turn // 90
    assert max(fixed) == pytest.approx(max(free), abs=0.04)


def test_a_video_without_a_face_is_searched_once(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, looked = Pipeline(), []
    monkeypatch.setattr(
        pipeline.detector, "detect", lambda given: (looked.append(given), Detector.detect(pipeline.detector, given))[1]
    )
    row = pipeline.predict(samples / "no_face.mp4", windows=4, further=False)
    assert (row.reason, row.turned, len(looked)) == (Reason.NO_FACE, 0, 4)


def test_the_journal_and_the_report_know_it(on_its_head: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    (first,) = dfx.predict_dir(on_its_head, out, device="cpu", progress=False)
    (again,) = dfx.predict_dir(on_its_head, out, device="cpu", progress=False)
    assert again.turned == first.turned == 180
    assert again.seconds == first.seconds, "it was remembered"
    sight = show(Pipeline(), **request(again, on_its_head, again.windows))
    assert sight["problem"] == ""
    assert len(sight["clips"]) == 2, "each is found where the prediction saw it"
    assert json.dumps(sight)


def test_a_row_of_an_older_journal_was_not_turned(upright: Prediction) -> None:
    from dfx.record import from_prediction, to_prediction

    plain: dict[str, Any] = from_prediction(replace(upright, turned=90))
    assert to_prediction(plain).turned == 90
    plain.pop("turned")
    assert to_prediction(plain).turned == 0


class Pieces:
    """A decoder that does something to the first window."""

    def __init__(self, decoder: Decoder, change: Callable[[Frames], Frames]) -> None:
        self._decoder, self._change = decoder, change

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        first, *others = self._decoder.read(info, plan)
        yield self._change(first)
        yield from others


def test_one_window_in_which_somebody_lies_turns_nothing(samples: Path) -> None:
    pipeline = Pipeline()
    pipeline.decoder = Pieces(pipeline.decoder, lambda frames: frames.turned(180))
    assert pipeline.predict(samples / "real.mp4").turned == 0


def test_a_window_without_a_face_says_nothing(samples: Path) -> None:
    def blank(frames: Frames) -> Frames:
        grey = tuple(replace(each, y=np.full_like(each.y, 90)) for each in frames.pictures)  # type: ignore[type-var, union-attr]
        return replace(frames, pictures=grey)

    pipeline = lying(Pipeline(), 180)
    pipeline.decoder = Pieces(pipeline.decoder, blank)
    row = pipeline.predict(samples / "real.mp4")
    assert (row.turned, len(row.clips)) == (180, 1)


@pytest.mark.parametrize("scores", [(0.0, 0.61, 0.0, 0.0), (0.5, 0.0, 0.7, 0.0), (0.9, 0.0, 0.93, 0.0)])
def test_what_is_hardly_a_face_turns_nothing(
    samples: Path, monkeypatch: pytest.MonkeyPatch, scores: tuple[float, ...]
) -> None:
    seen = iter(scores)
    upright = Upright(Pipeline().detector)
    monkeypatch.setattr(upright, "_seen", lambda *_: next(seen))
    frames = next(
        iter(Lying(Pipeline().decoder, 0).read(info := probe(samples / "no_face.mp4"), Pipeline().plan(info)))
    )
    upright.ask(frames, [])
    assert upright.turn == 0


def test_find_faces_says_by_how_much_it_turned(on_its_head: Path, samples: Path) -> None:
    assert dfx.find_faces(on_its_head).turned == 180
    assert dfx.find_faces(samples / "real.mp4").turned == 0


def test_a_video_that_is_turned_costs_a_second_pass_and_others_do_not(samples: Path) -> None:
    for degrees, reads in ((0, 1), (180, 2)):
        counting = Counting(degrees)
        pipeline = Pipeline()
        pipeline.decoder = counting
        assert pipeline.predict(samples / "real.mp4").turned == degrees
        assert counting.reads == reads


class Counting:
    def __init__(self, degrees: int) -> None:
        self.reads, self._decoder = 0, Lying(Pipeline().decoder, degrees)

    def read(self, info: VideoInfo, plan: Plan) -> Iterator[Frames]:
        self.reads += 1
        return self._decoder.read(info, plan)
