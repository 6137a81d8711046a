"""Following people: linked, interpolated, and without what is no real face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import HALF_PIXEL

from dfx.track import PEOPLE, follow, join
from dfx.values import Faces, Frames, Planes, Track, Window

LOOKS = (0, 5, 10, 15)
MARKS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
Place = Callable[[int], tuple[float, float, float]]  # frame -> centre x, centre y, side


def window(start: int = 0, count: int = 16) -> Frames:
    grey = np.zeros((2, 2), np.uint8)
    index = np.arange(start, start + count)
    return Frames(Window(start, count, 1, start, start + count), index, index / 25, (Planes(grey, grey, grey),) * count)


def faces(*places: tuple[float, float, float], score: float = 0.9) -> Faces:
    boxes = np.array([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in places], np.float32).reshape(-1, 4)
    corners, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    return Faces(boxes, np.full(len(boxes), score, np.float32), corners + MARKS * sides)


def scene(*people: Place, looks: tuple[int, ...] = LOOKS) -> list[Track]:
    return follow(window(), {look: faces(*(person(look) for person in people)) for look in looks})


def walking(x: float, side: float = 100, speed: float = 4, y: float = 200) -> Place:
    return lambda frame: (x + speed * frame, y, side)


def shuffled(found: Faces, rng: np.random.Generator) -> Faces:
    order = rng.permutation(len(found))
    return Faces(found.boxes[order], found.scores[order], found.landmarks[order])


def boxes_of(tracks: list[Track]) -> list[list[float]]:
    return sorted(track.boxes.ravel().tolist() for track in tracks)


def test_steady_motion_is_interpolated_exactly() -> None:
    (track,) = scene(walking(200))
    centres = (track.boxes[:, 0] + track.boxes[:, 2]) / 2
    np.testing.assert_allclose(centres, 200 + 4 * np.arange(16), atol=HALF_PIXEL)
    np.testing.assert_allclose(track.landmarks[:, 2, 0], centres, atol=HALF_PIXEL)
    assert track.detected.nonzero()[0].tolist() == list(LOOKS)


def test_two_people_who_pass_each_other_keep_their_tracks() -> None:
    left, right = scene(walking(200, 110, 6, y=200), walking(290, 90, -6, y=330))
    assert left.boxes[0, 0] < left.boxes[-1, 0]
    assert right.boxes[0, 0] > right.boxes[-1, 0]


def test_a_missed_look_does_not_end_a_track() -> None:
    looked = {look: faces(walking(200)(look)) if look != 5 else faces() for look in LOOKS}
    (track,) = follow(window(), looked)
    assert len(track) == 16
    assert track.detected.nonzero()[0].tolist() == [0, 10, 15]


def test_before_and_after_the_detections_the_face_is_held() -> None:
    looked = {0: faces(), 5: faces((300, 200, 80)), 10: faces((310, 200, 80)), 15: faces()}
    (track,) = follow(window(), looked)
    np.testing.assert_array_equal(track.boxes[0], track.boxes[5])
    np.testing.assert_array_equal(track.boxes[15], track.boxes[10])


def test_a_blip_is_no_person() -> None:
    looked = {look: faces(walking(200)(look)) for look in LOOKS}
    looked[10] = faces(walking(200)(10), (600, 100, 90))
    assert len(follow(window(), looked)) == 1


def test_a_weak_detection_goes_on_with_a_track_but_begins_none() -> None:
    person = walking(200)
    looked = {look: faces(person(look), (600, 100, 90), score=0.4) for look in LOOKS}
    assert follow(window(), looked, sure=0.5) == []
    looked[5] = faces(person(5))
    (track,) = follow(window(), looked, sure=0.5)
    assert track.detected.nonzero()[0].tolist() == list(LOOKS)
    np.testing.assert_allclose((track.boxes[:, 0] + track.boxes[:, 2]) / 2, 200 + 4 * np.arange(16), atol=HALF_PIXEL)


def test_a_blip_beside_a_weak_face_stays_a_blip() -> None:
    looked = {look: faces((600, 100, 90), score=0.4) for look in LOOKS} | {10: faces((400, 100, 90))}
    assert follow(window(), looked, sure=0.5) == []


def test_a_face_in_a_face_or_on_its_cap_is_dropped() -> None:
    assert len(scene(walking(200, 200), walking(200, 60))) == 1
    assert len(scene(walking(200, 200), walking(200, 60, y=90))) == 1, "on the cap"


def test_a_face_behind_a_head_is_somebody() -> None:
    assert len(scene(walking(200, 200), walking(200, 60, y=30))) == 2
    assert len(scene(walking(200, 200), walking(200, 140, y=60))) == 2, "too large for a cap"


def test_a_crowd_is_cut_to_the_largest() -> None:
    crowd = scene(*(walking(100 + 150 * number, 60 + 10 * number, 1) for number in range(PEOPLE + 3)))
    sides = [float(track.boxes[0, 2] - track.boxes[0, 0]) for track in crowd]
    assert sides == sorted(sides, reverse=True)
    assert sides == pytest.approx([60 + 10 * number for number in range(PEOPLE + 2, 2, -1)])


Crowd = tuple[list[tuple[int, int, int]], ...]
places = st.tuples(st.integers(0, 1920), st.integers(0, 1080), st.integers(8, 600))
crowds = st.tuples(*[st.lists(places, max_size=6)] * len(LOOKS))


@given(crowds)
def test_a_track_stays_where_faces_were_seen(crowd: Crowd) -> None:
    looked = {look: faces(*found) for look, found in zip(LOOKS, crowd, strict=True)}
    seen = np.concatenate([found.boxes for found in looked.values()])
    tracks = follow(window(), looked)
    assert len(tracks) <= PEOPLE
    for track in tracks:
        assert 2 * track.detected.sum() >= len(LOOKS)
        assert (track.boxes >= seen.min(axis=0) - HALF_PIXEL).all()
        assert (track.boxes <= seen.max(axis=0) + HALF_PIXEL).all()


@given(crowds)
def test_every_track_of_a_window_is_another_person(crowd: Crowd) -> None:
    looked = {look: faces(*found) for look, found in zip(LOOKS, crowd, strict=True)}
    numbers = join([*follow(window(0), looked), *follow(window(250), looked)])
    half = len(numbers) // 2
    assert len(set(numbers[:half])) == len(set(numbers[half:])) == half


def test_the_order_of_the_detections_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        looked = {look: faces(*rng.uniform((0, 0, 20), (600, 400, 300), (5, 3))) for look in LOOKS}
        mixed = {look: shuffled(found, rng) for look, found in looked.items()}
        assert boxes_of(follow(window(), looked)) == boxes_of(follow(window(), mixed))


def test_nobody_gives_no_track() -> None:
    assert scene() == []


def test_a_single_frame_is_enough() -> None:
    (track,) = follow(window(count=1), {0: faces((300, 200, 80))})
    assert len(track) == 1


def test_the_same_places_later_are_the_same_people() -> None:
    first = follow(window(0), {look: faces((200, 200, 100), (500, 220, 90)) for look in LOOKS})
    later = follow(window(250), {look: faces((515, 220, 92), (230, 190, 105)) for look in LOOKS})
    numbers = join([*first, *later])
    assert numbers[:2] == [0, 1]
    places = [track.boxes[0, 0] < 350 for track in later]
    assert numbers[2:] == [0 if left else 1 for left in places]


def test_someone_else_later_is_someone_else() -> None:
    first = follow(window(0), {look: faces((200, 200, 100)) for look in LOOKS})
    later = follow(window(250), {look: faces((900, 200, 100)) for look in LOOKS})
    assert join([*first, *later]) == [0, 1]
