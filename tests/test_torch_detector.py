"""The detector's training: its arithmetic is the shipped contract's, its splits never mix, its labels are honest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tolerances import EXPORT, HALF_PIXEL, SUBPIXEL

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from dfx import ops  # noqa: E402
from dfx.infer import DetectorContract, OnnxSession  # noqa: E402
from dfx.torch import detector_data as data  # noqa: E402
from dfx.torch import detector_scenes as scenes  # noqa: E402
from dfx.torch.eval_detector import SMALLEST, precision  # noqa: E402
from dfx.torch.export_detector import Probabilities  # noqa: E402
from dfx.torch.retinaface import MIN_SIZES, STRIDES, VARIANCES, RetinaFace, anchors, encode, inside, match  # noqa: E402
from dfx.torch.train_detector import _targets, step_loss  # noqa: E402
from dfx.values import Faces  # noqa: E402


def faces(*rows: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes and landmarks of square faces: centre x, centre y, side."""
    boxes = torch.tensor([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in rows]).reshape(-1, 4)
    marks = torch.tensor([[[x + dx * s, y + dy * s] for dx, dy in MARKS] for x, y, s in rows]).reshape(-1, 5, 2)
    return boxes, marks


MARKS = ((-0.2, -0.15), (0.2, -0.15), (0.0, 0.1), (-0.15, 0.3), (0.15, 0.3))


def test_what_training_encodes_prediction_decodes() -> None:
    priors = anchors(96, 160)
    boxes, marks = faces((40, 50, 30), (120, 40, 50))
    wanted, box_deltas, mark_deltas = _targets(priors, boxes, marks, torch.ones(2))
    scores = torch.where(wanted > 0, 0.9, 0.0)
    (found,) = ops.decode_faces(
        scores[None].numpy(), box_deltas[None].numpy(), mark_deltas[None].numpy(), 96, 160,
        strides=STRIDES, min_sizes=MIN_SIZES, variances=VARIANCES, threshold=0.5,
    )  # fmt: skip
    order = np.argsort(found.boxes[:, 0])
    np.testing.assert_allclose(found.boxes[order], boxes.numpy(), atol=SUBPIXEL)
    np.testing.assert_allclose(found.landmarks[order], marks.numpy(), atol=SUBPIXEL)


def test_every_face_has_an_anchor_and_the_unknown_have_no_loss() -> None:
    priors = anchors(96, 160)
    boxes, marks = faces((37, 51, 11), (120, 40, 50))
    assert set(match(boxes, priors).tolist()) >= {0, 1}
    wanted, *_ = _targets(priors, boxes, marks, torch.tensor([0.6, torch.nan]))
    assert wanted[wanted > 0].unique().tolist() == pytest.approx([0.6])
    assert wanted[inside(boxes[1:], priors)].isnan().all()


def test_a_network_learns_one_scene() -> None:
    torch.manual_seed(0)
    net = RetinaFace()
    pixels = torch.full((3, 96, 160), 90, dtype=torch.uint8)
    pixels[:, 35:65, 25:55] = 220
    sample = (pixels, *faces((40, 50, 30)), torch.ones(1))
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        loss = step_loss(net.train(), [sample, sample]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_shipped_file_is_this_network() -> None:
    from dfx.settings import Settings

    session = OnnxSession(Settings().detector, inputs=DetectorContract.inputs, outputs=DetectorContract.outputs)
    contract = DetectorContract.read(session.metadata, "shipped")
    assert (contract.strides, contract.min_sizes, contract.variances) == (STRIDES, MIN_SIZES, VARIANCES)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 96), dtype=np.uint8)
    outputs = session.run({"images": images})
    assert outputs["scores"].shape == (3, len(anchors(64, 96)))
    ours = Probabilities(RetinaFace().eval())(torch.from_numpy(images))
    assert [tuple(part.shape) for part in ours] == [outputs[name].shape for name in DetectorContract.outputs]
    alone = session.run({"images": images[1:2]})
    np.testing.assert_allclose(alone["boxes"][0], outputs["boxes"][1], atol=EXPORT)


def picture(*rows: tuple[float, float, float], size: int = 320) -> data.Labelled:
    """A black picture with bare, square faces."""
    boxes, marks = (part.numpy() for part in faces(*rows))
    return data.Labelled("a", np.zeros((size, size, 3), np.uint8), boxes, marks, np.ones(len(rows), np.float32))


def test_a_mirrored_face_keeps_its_right_eye_on_the_pictures_left() -> None:
    mirrored = scenes._mirrored(picture((100, 80, 60), size=200))
    np.testing.assert_allclose(mirrored.boxes[0], [70, 50, 130, 110], atol=SUBPIXEL)
    assert mirrored.marks[0, 0, 0] < mirrored.marks[0, 1, 0]


def test_what_leaves_the_canvas_is_unknown_or_gone() -> None:
    over = picture((5, 160, 60), (160, 160, 60), (400, 100, 50))
    clipped = scenes._clipped(over.name, over.pixels, over.boxes, over.marks, over.target)
    assert np.isnan(clipped.target).tolist() == [True, False]


def test_a_face_below_another_picture_goes_or_is_unknown_where_it_still_shows() -> None:
    scene, over = picture((60, 60, 40), (160, 60, 40), (260, 260, 40)), picture((40, 40, 30), size=80)
    over.pixels[:] = 200
    shift = np.array([[1, 0, 22], [0, 1, 22]], np.float32)  # it covers 22 to 102: the first face wholly
    laid = scenes._laid(scene, over, shift, np.ones((80, 80), np.float32))
    assert laid.boxes[:, 0].tolist() == [140, 240, 47]
    shift[0, 2] = 80  # to 160: half of the second
    laid = scenes._laid(scene, over, shift, np.ones((80, 80), np.float32))
    assert np.isnan(laid.target).tolist() == [False, True, False, False]
    assert (laid.pixels[40, 100], laid.pixels[40, 170]) == (pytest.approx(200), pytest.approx(0))


def test_a_swapped_face_stands_where_the_other_stood() -> None:
    scene, face = picture((160, 150, 80)), picture((40, 40, 40), size=80)
    scene.target[:] = data.MASKED_TARGET
    face.pixels[:] = 200
    swapped = scenes._swapped(scene, face, np.random.default_rng(0))
    np.testing.assert_allclose(swapped.boxes, scene.boxes)
    np.testing.assert_allclose(swapped.marks, scene.marks, atol=HALF_PIXEL)
    assert swapped.target.tolist() == [1.0]
    assert swapped.pixels[150, 160, 0] == 200
    assert swapped.pixels[20, 20, 0] == 0


def test_a_head_is_cut_with_its_surroundings_and_its_neighbour_is_unknown() -> None:
    crowd = picture((100, 100, 40), (145, 100, 40), (300, 300, 30), (20, 200, 12))
    crowd.target[1] = data.MASKED_TARGET
    first, lone = scenes.heads([crowd])
    assert first.pixels.shape == (96, 96, 3), "28 pixels on every side; the small and the masked one are no heads"
    np.testing.assert_allclose(first.boxes, [[28, 28, 68, 68], [73, 28, 113, 68]])
    assert (first.target[0], np.isnan(first.target[1])) == (1.0, True)
    assert lone.pixels.shape == (56, 56, 3), "the picture's edge ends it"
    np.testing.assert_allclose(lone.marks[0], crowd.marks[2] - 264)


def test_a_turned_view_brings_the_point_to_its_place_at_its_scale() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = scenes._turned([30, 50], np.array([200, 100], np.float32), 2.0, rng)
        np.testing.assert_allclose(matrix @ [30, 50, 1], [200, 100], atol=SUBPIXEL)
        assert np.linalg.det(matrix[:, :2]) == pytest.approx(4.0, rel=1e-4)


def test_samples_depend_on_the_seed_and_their_number_and_stay_on_the_canvas() -> None:
    head = picture((60, 60, 40), size=120)
    head.pixels[:] = 200
    made = scenes.Scenes([picture((100, 100, 60), (250, 200, 40))], [head], [head], seed=0)
    late = scenes.Scenes([picture((100, 100, 60), (250, 200, 40))], [head], [head], seed=0, start=3)
    samples = [sample for sample, _ in zip(made, range(24), strict=False)]
    torch.testing.assert_close(samples[3], next(iter(late)), rtol=0, atol=0, equal_nan=True)
    boxes = torch.cat([boxes for _, boxes, _, _ in samples])
    assert boxes.min() >= 0
    assert boxes.max() <= scenes.CANVAS
    counts = [int((~target.isnan()).sum()) for *_, target in samples]
    assert max(counts) > 4, "some scene is a crowd"
    assert min(counts) < 3, "some is not"


def test_no_picture_is_on_both_sides() -> None:
    names = [f"picture_{number}.jpg" for number in range(3000)]
    sides = {name: data.split_of(name) for name in names}
    shares = [sum(side == wanted for side in sides.values()) / 3000 for wanted in ("test", "validation", "train")]
    assert shares == pytest.approx([1 / 3, 1 / 15, 0.6], abs=0.03)
    assert sides == {name: data.split_of(name) for name in reversed(names)}


@pytest.mark.shared
def test_the_photographs_of_a_split_are_its_own(shared: Path) -> None:
    names = {
        split: {item[0] for item in data.photographs(shared / "data" / "detection", split)} for split in ("validation",)
    }
    assert all(data.split_of(name) == "validation" for name in names["validation"])
    assert 20 < len(names["validation"]) < 80


def test_average_precision_of_known_cases() -> None:
    box = np.array([[10, 10, 60, 60]], np.float32)
    far, tiny = box + 100, np.array([[0, 0, 10, 10]], np.float32)
    picture = ("a", np.zeros((200, 200, 3), np.uint8), np.concatenate([box, far]), ["face", "face_masked"], None)

    def ap(*rows: tuple[np.ndarray, float], smallest: float = SMALLEST) -> tuple[float, float]:
        boxes, scores = np.concatenate([row[0] for row in rows]), np.array([row[1] for row in rows], np.float32)
        found = Faces(boxes, scores, np.zeros((len(rows), 5, 2), np.float32))
        return precision([picture], [found], {"face"}, 0.5, smallest)  # type: ignore[list-item]

    assert ap((box, 0.9)) == (1.0, 1.0)
    assert ap((box, 0.3)) == (1.0, 0.0)
    assert ap((far, 0.95), (box, 0.9), (tiny, 0.99)) == (1.0, 1.0), "masked and tiny ones neither count nor harm"
    assert ap((box, 0.9), (tiny, 0.99), smallest=8)[0] == pytest.approx(0.5), "what is small is the caller's choice"
    assert ap((box + 60, 0.95), (box, 0.9))[0] == pytest.approx(0.5)
    assert SMALLEST == 32
    assert encode(*faces((8, 8, 16)), torch.tensor([[8.0, 8.0, 16.0]]))[0].abs().max() == 0
