"""The detector looks around the faces of the middle picture as it looks at whole pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tolerances import NEARBY_LOOK

from dfx.demo import SAMPLES
from dfx.detect import WEAK, Detector, _inside
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.settings import Settings
from dfx.values import Faces, Planes


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(Settings().detector)


@pytest.fixture(scope="module")
def scene() -> list[Planes]:
    """Three pictures of 1920 x 1080, a face of about a quarter of the height that moves to the right by 8 pixels."""
    pipeline = Pipeline()
    info = probe(sorted(SAMPLES.glob("*.mp4"))[0])
    frames = next(pipeline.decoder.read(info, pipeline.plan(info)))
    face = frames.pictures[0]
    return [placed(face, 1200 + 8 * step, 400) for step in range(3)]


def placed(face: Planes, left: int, top: int) -> Planes:
    """The picture, on a grey one of 1920 x 1080."""

    def on_grey(plane: np.ndarray, half: int) -> np.ndarray:
        canvas = np.full((1080 // half, 1920 // half), 120 if half == 1 else 128, np.uint8)
        y, x = top // half, left // half
        room = canvas[y : y + plane.shape[0], x : x + plane.shape[1]]
        room[:] = plane[: room.shape[0], : room.shape[1]]
        return canvas

    return replace(face, y=on_grey(face.y, 1), u=on_grey(face.u, 2), v=on_grey(face.v, 2))


def blank(picture: Planes) -> Planes:
    grey = {"y": np.full_like(picture.y, 120), "u": np.full_like(picture.u, 128), "v": np.full_like(picture.v, 128)}
    return replace(picture, **grey)


@pytest.fixture
def looked(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that the network is run on."""
    shapes: list[tuple[int, ...]] = []
    run = detector.run

    def noted(images: np.ndarray, threshold: float) -> list[Faces]:
        shapes.append(images.shape)
        return run(images, threshold)

    monkeypatch.setattr(detector, "run", noted)
    return shapes


def sure(detector: Detector, pictures: list[Planes]) -> list[Faces]:
    """What is seen in pictures that are moments apart, without the weak ones."""
    return [faces[faces.scores > detector.sure] for faces in detector.watch(pictures)]


def test_faces_near_the_middle_ones_are_those_of_whole_pictures(
    detector: Detector, scene: list[Planes], looked: list[tuple[int, ...]]
) -> None:
    near = sure(detector, scene)
    pixels = [shape[2] * shape[3] for shape in looked]
    assert pixels[1] == pixels[2] < pixels[0] / 3, "the pictures before and behind cost a part of the middle one"
    for mine, whole in zip(near, detector.detect(scene), strict=True):
        assert len(mine) == len(whole) == 1
        side = float(whole.boxes[0, 3] - whole.boxes[0, 1])
        np.testing.assert_allclose(mine.boxes, whole.boxes, atol=NEARBY_LOOK * side)
        np.testing.assert_allclose(mine.landmarks, whole.landmarks, atol=NEARBY_LOOK * side)
    moved = [faces.boxes[0, 0] for faces in near]
    assert moved[0] < moved[1] < moved[2], "each picture keeps its place"


def test_where_the_middle_shows_no_face_the_others_are_seen_whole(detector: Detector, scene: list[Planes]) -> None:
    found = sure(detector, [scene[0], blank(scene[1]), scene[2]])
    assert [len(faces) for faces in found] == [1, 0, 1]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_any_number_of_pictures(detector: Detector, scene: list[Planes], count: int) -> None:
    assert [len(faces) for faces in sure(detector, scene[:count])] == [1] * count


def test_a_face_that_can_hardly_be_seen_is_told_of_as_a_weak_one(detector: Detector, scene: list[Planes]) -> None:
    faded = [
        replace(scene[0], y=(120 + share * (scene[0].y - 120.0)).astype(np.uint8))
        for share in np.geomspace(1, 0.01, 40)
    ]
    best = [max(faces.scores, default=0.0) for (faces,) in (detector.watch([picture]) for picture in faded)]
    weak = [picture for picture, score in zip(faded, best, strict=True) if 0 < score <= detector.sure]
    assert weak
    assert min(score for score in best if score) > WEAK * detector.sure
    assert not any(len(faces) for faces in detector.detect(weak))


def test_a_face_is_near_where_its_middle_is() -> None:
    boxes = np.array([[0, 0, 20, 20], [50, 50, 90, 70], [95, 10, 111, 20]], np.float32)
    assert _inside(boxes, np.array([0.0, 5.0, 100.0, 60.0])).tolist() == [True, True, False]
