"""The detector's training: its arithmetic is the shipped contract's, its splits never mix, its labels are honest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tolerances import EXPORT, HALF_PIXEL, SUBPIXEL

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from dfx import ops  # noqa: E402
from dfx.errors import ModelError  # noqa: E402
from dfx.infer import DetectorContract, OnnxSession  # noqa: E402
from dfx.settings import Settings  # noqa: E402
from dfx.torch import detector_data as data  # noqa: E402
from dfx.torch import detector_layers as layers  # noqa: E402
from dfx.torch import detector_scenes as scenes  # noqa: E402
from dfx.torch import detector_store as store  # noqa: E402
from dfx.torch.boxes import overlaps  # noqa: E402
from dfx.torch.detector_loss import step_loss, targets  # noqa: E402
from dfx.torch.detector_measures import SMALLEST, precision  # noqa: E402
from dfx.torch.detector_start import unfold  # noqa: E402
from dfx.torch.export_detector import Probabilities  # noqa: E402
from dfx.torch.labelled import MASKED_TARGET, Labelled, decoded, jpeg  # noqa: E402
from dfx.torch.pack_detector import QUALITY, crop, validation  # noqa: E402
from dfx.torch.retinaface import MIN_SIZES, STRIDES, VARIANCES, RetinaFace, anchors, encode, inside, match  # noqa: E402
from dfx.torch.train_detector import find, photograph  # noqa: E402
from dfx.torch.train_detector import main as train_detector  # noqa: E402
from dfx.values import Faces  # noqa: E402

SHIPPED = Settings().detector


def faces(*rows: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes and landmarks of square faces: centre x, centre y, side."""
    boxes = torch.tensor([[x - s / 2, y - s / 2, x + s / 2, y + s / 2] for x, y, s in rows]).reshape(-1, 4)
    marks = torch.tensor([[[x + dx * s, y + dy * s] for dx, dy in MARKS] for x, y, s in rows]).reshape(-1, 5, 2)
    return boxes, marks


MARKS = ((-0.2, -0.15), (0.2, -0.15), (0.0, 0.1), (-0.15, 0.3), (0.15, 0.3))


def test_what_training_encodes_prediction_decodes() -> None:
    priors = anchors(96, 160)
    boxes, marks = faces((40, 50, 30), (120, 40, 50))
    wanted, box_deltas, mark_deltas = targets(priors, boxes[None], marks[None], torch.ones(1, 2))
    scores = torch.where(wanted > 0, 0.9, 0.0)
    (found,) = ops.decode_faces(
        scores.numpy(), box_deltas.numpy(), mark_deltas.numpy(), 96, 160,
        strides=STRIDES, min_sizes=MIN_SIZES, variances=VARIANCES, threshold=0.5,
    )  # fmt: skip
    order = np.argsort(found.boxes[:, 0])
    np.testing.assert_allclose(found.boxes[order], boxes.numpy(), atol=SUBPIXEL)
    np.testing.assert_allclose(found.landmarks[order], marks.numpy(), atol=SUBPIXEL)


def test_every_face_has_an_anchor_and_the_unknown_have_no_loss() -> None:
    priors = anchors(96, 160)
    boxes, marks = (part[None] for part in faces((37, 51, 11), (120, 40, 50)))
    everyone, first, nobody = torch.tensor([[True, True], [True, False], [False, False]])[:, None]
    assert set(match(boxes, everyone, priors)[0].tolist()) >= {0, 1}
    assert set(match(boxes, first, priors)[0].tolist()) == {-1, 0}
    assert set(match(boxes, nobody, priors)[0].tolist()) == {-1}
    wanted, *_ = targets(priors, boxes, marks, torch.tensor([[0.6, torch.nan]]))
    assert wanted[wanted > 0].unique().tolist() == pytest.approx([0.6])
    assert wanted[inside(boxes, torch.tensor([[False, True]]), priors)].isnan().all()


def test_a_picture_is_matched_alike_alone_and_beside_fuller_ones() -> None:
    priors = anchors(96, 160)
    boxes, marks = (part[None] for part in faces((37, 51, 11), (120, 40, 50), (118, 44, 40)))
    alone = targets(priors, boxes[:, :2], marks[:, :2], torch.tensor([[0.6, 1.0]]))
    target = torch.tensor([[0.6, 1.0, scenes.ABSENT], [0.6, 1.0, 1.0]])
    both = targets(priors, boxes.expand(2, -1, -1), marks.expand(2, -1, -1, -1), target)
    face = alone[0][0] > 0
    torch.testing.assert_close(both[0][0], alone[0][0], equal_nan=True)
    for together, single in zip(both[1:], alone[1:], strict=True):
        torch.testing.assert_close(together[0, face], single[0, face])
    assert not torch.equal(both[1][1], both[1][0]), "the third face has anchors of its own"


def test_a_network_learns_one_scene() -> None:
    torch.manual_seed(0)
    net = RetinaFace()
    pixels = torch.full((2, 96, 160, 3), 90, dtype=torch.uint8)
    pixels[:, 35:65, 25:55] = 220
    boxes, marks = (torch.stack([part, part]) for part in faces((40, 50, 30)))
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        loss = step_loss(net.train(), (pixels, boxes, marks, torch.ones(2, 1))).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_shipped_file_is_this_network() -> None:
    session = OnnxSession(SHIPPED, inputs=DetectorContract.inputs, outputs=DetectorContract.outputs)
    contract = DetectorContract.read(session.metadata, "shipped")
    assert (contract.strides, contract.min_sizes, contract.variances) == (STRIDES, MIN_SIZES, VARIANCES)
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 96), dtype=np.uint8)
    outputs = session.run({"images": images})
    assert outputs["scores"].shape == (3, len(anchors(64, 96)))
    ours = Probabilities(RetinaFace().eval())(torch.from_numpy(images))
    assert [tuple(part.shape) for part in ours] == [outputs[name].shape for name in DetectorContract.outputs]
    alone = session.run({"images": images[1:2]})
    np.testing.assert_allclose(alone["boxes"][0], outputs["boxes"][1], atol=EXPORT)


def picture(*rows: tuple[float, float, float], size: int = 320) -> Labelled:
    """A black picture with bare, square faces."""
    boxes, marks = (part.numpy() for part in faces(*rows))
    return Labelled("a", np.zeros((size, size, 3), np.uint8), boxes, marks, np.ones(len(rows), np.float32))


def test_a_mirrored_face_keeps_its_right_eye_on_the_pictures_left() -> None:
    mirrored = layers.mirrored(picture((100, 80, 60), size=200))
    np.testing.assert_allclose(mirrored.boxes[0], [70, 50, 130, 110], atol=SUBPIXEL)
    assert mirrored.marks[0, 0, 0] < mirrored.marks[0, 1, 0]


def test_what_leaves_the_canvas_is_unknown_or_gone() -> None:
    over = picture((5, 160, 60), (160, 160, 60), (400, 100, 50))
    clipped = layers.clipped(over.name, over.pixels, over.boxes, over.marks, over.target)
    assert np.isnan(clipped.target).tolist() == [True, False]


def test_a_face_below_another_picture_goes_or_is_unknown_where_it_still_shows() -> None:
    scene, over = picture((60, 60, 40), (160, 60, 40), (260, 260, 40)), picture((40, 40, 30), size=80)
    over.pixels[:] = 200
    shift = np.array([[1, 0, 22], [0, 1, 22]], np.float32)  # it covers 22 to 102: the first face wholly
    laid = layers.laid(scene, over, shift, np.ones((80, 80), np.float32))
    assert laid.boxes[:, 0].tolist() == [140, 240, 47]
    shift[0, 2] = 88  # to 168: seven tenths of the second
    laid = layers.laid(scene, over, shift, np.ones((80, 80), np.float32))
    assert np.isnan(laid.target).tolist() == [False, True, False, False]
    shift[0, 2] = 74  # to 154: a third of it, which is a face still
    laid = layers.laid(scene, over, shift, np.ones((80, 80), np.float32))
    assert not np.isnan(laid.target).any()
    assert (laid.pixels[40, 100], laid.pixels[40, 170]) == (pytest.approx(200), pytest.approx(0))


def test_cloth_hides_a_part_of_one_face_and_shows_none() -> None:
    scene, rng = picture((160, 160, 80), size=320), np.random.default_rng(0)
    crowd = picture(*((x, y, 40) for x in range(20, 320, 60) for y in range(20, 320, 60)), size=320)
    crowd.pixels[:] = 90
    for x, y in ((x, y) for x in range(20, 320, 60) for y in range(20, 320, 60)):
        crowd.pixels[y - 20 : y + 20, x - 20 : x + 20] = 255
    shares = []
    for _ in range(50):
        cloth = layers.cloth(crowd, rng)
        assert len(cloth) == 2 or cloth.max() == 90, "a part without a face, or one colour"
        screened = layers.screened(scene, np.full((9, 9, 3), 200, np.uint8), rng)
        assert len(screened.boxes) == 1
        shares.append((screened.pixels[120:200, 120:200] > 100).mean())
        assert np.isnan(screened.target[0]) == (shares[-1] > layers.HIDDEN) or abs(shares[-1] - layers.HIDDEN) < 0.05
        beyond = np.concatenate([screened.pixels[:70].ravel(), screened.pixels[250:].ravel()])
        assert not beyond.any(), "it is twice the face's size, no more"
    assert 0.05 < min(shares) < 0.2
    assert max(shares) > 0.4


def test_neighbours_in_a_crowd_stand_close() -> None:
    rng, box = np.random.default_rng(0), np.array([100, 100, 140, 150], np.float32)
    found = [layers._beside(box, rng) for _ in range(200)]
    away = np.array([np.linalg.norm(place - [120, 125]) for place, _ in found])
    assert away.min() >= 25
    assert away.max() <= 55
    assert 40 < np.median([size for _, size in found]) < 60


def test_a_swapped_face_stands_where_the_other_stood() -> None:
    scene, face = picture((160, 150, 80)), picture((40, 40, 40), size=80)
    scene.target[:] = MASKED_TARGET
    face.pixels[:] = 200
    swapped = layers.swapped(scene, face, np.random.default_rng(0))
    np.testing.assert_allclose(swapped.boxes, scene.boxes)
    np.testing.assert_allclose(swapped.marks, scene.marks, atol=HALF_PIXEL)
    assert swapped.target.tolist() == [1.0]
    assert swapped.pixels[150, 160, 0] == 200
    assert swapped.pixels[20, 20, 0] == 0


def test_a_head_is_cut_with_its_surroundings_and_its_neighbour_is_unknown() -> None:
    crowd = picture((100, 100, 40), (145, 100, 40), (300, 300, 30), (20, 200, 12))
    crowd.target[1] = MASKED_TARGET
    first, lone = scenes.heads([crowd])
    assert first.pixels.shape == (96, 96, 3), "28 pixels on every side; the small and the masked one are no heads"
    np.testing.assert_allclose(first.boxes, [[28, 28, 68, 68], [73, 28, 113, 68]])
    assert (first.target[0], np.isnan(first.target[1])) == (1.0, True)
    assert lone.pixels.shape == (56, 56, 3), "the picture's edge ends it"
    np.testing.assert_allclose(lone.marks[0], crowd.marks[2] - 264)


def test_a_turned_view_brings_the_point_to_its_place_at_its_scale() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = layers._bringing([30, 50], np.array([200, 100], np.float32), layers._turn(2.0, rng))
        np.testing.assert_allclose(matrix @ [30, 50, 1], [200, 100], atol=SUBPIXEL)
        assert np.linalg.det(matrix[:, :2]) == pytest.approx(4.0, rel=1e-4)


def test_faces_follow_their_pictures_into_a_view() -> None:
    """The square that is a face shows where its box says, whatever part of its picture is seen at whatever scale."""
    bright = picture((150, 150, 100), (40, 250, 30))
    for x1, y1, x2, y2 in bright.boxes.astype(int):
        bright.pixels[y1:y2, x1:x2] = 255
    rng = np.random.default_rng(0)
    for turn in range(20):
        seen = layers.covered(layers.mirrored(bright), rng)
        if turn % 2:
            dark = layers.covered(picture(), rng)
            seen = layers.viewed(dark, bright, rng, plain=True)
        lit = seen.pixels[..., 0] > 127
        shown = np.zeros_like(lit)
        for x1, y1, x2, y2 in seen.boxes.round().astype(int):
            shown[y1:y2, x1:x2] = True
        assert (lit != shown).sum() <= 4 * 320 * len(seen.boxes) / 10, "the edges are soft"


def made_scenes() -> scenes.Scenes:
    head = picture((60, 60, 40), size=120)
    head.pixels[:] = 200
    return scenes.Scenes([picture((100, 100, 60), (250, 200, 40))], [head], [head], seed=0)


def test_scenes_stay_on_the_canvas_and_some_are_crowds() -> None:
    made = made_scenes()
    samples = [made[number] for number in range(24)]
    boxes = np.concatenate([boxes for _, boxes, _, _ in samples])
    assert boxes.min() >= 0
    assert boxes.max() <= layers.CANVAS
    counts = [int((~np.isnan(target)).sum()) for *_, target in samples]
    assert max(counts) > 4, "some scene is a crowd"
    assert min(counts) < 3, "some is not"


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12 warns of a loader's fork
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # where one core is usable
def test_any_number_of_workers_gives_the_same_batches_from_any_scene_on(
    room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenes, "_shares", lambda _: room)
    first = scenes.batches(made_scenes(), 3, 0, workers=0)
    whole = [batch for batch, _ in zip(first, range(4), strict=False)]
    shared = scenes.batches(made_scenes(), 3, 6, workers=2)
    for ours, theirs in zip(whole[2:], shared, strict=False):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    pixels, boxes, _, target = whole[0]
    assert pixels.shape == (3, 320, 320, 3)
    assert boxes.shape[:2] == target.shape
    shared.close()


def items() -> list[store.Item]:
    """Two pictures to train on, one of them twice, a portrait, a crop, and one to be measured on."""
    smooth = np.ascontiguousarray(np.mgrid[0:200, 0:320].transpose(1, 2, 0)[..., [0, 1, 1]] // 2).astype(np.uint8)
    boxes, marks = (part.numpy() for part in faces((60, 60, 40), (150, 90, 30)))
    target = np.array([1.0, MASKED_TARGET], np.float32)
    seen = Labelled("photo é.jpg", smooth, boxes, marks, target)
    head = Labelled("head", smooth[:184, :184], boxes[:1], marks[:1], target[:1])
    half = jpeg(smooth[::2, ::2], QUALITY)
    kinds = [store.Item("picture", seen, jpeg(smooth, QUALITY), 2), store.Item("picture", seen, half)]
    portrait = store.Item("portrait", head, jpeg(head.pixels, QUALITY))
    return [*kinds, portrait, crop(head), store.Item("validation", seen, half)]


def test_what_is_packed_is_read_in_however_many_parts(tmp_path: Path) -> None:
    paths = store.write(tmp_path, items(), 12_000)
    assert len(paths) > 1
    assert all(path.stat().st_size <= 12_000 for path in paths)
    packed = store.Packed.read(tmp_path)
    assert [len(part) for part in (packed.pictures, packed.portraits, packed.crops, packed.validation)] == [3, 1, 1, 1]
    wanted, read = items()[0].labelled, packed.pictures[2]
    assert read.name == wanted.name
    assert read.pixels.shape == wanted.pixels.shape, "a file that is smaller is stretched"
    assert np.abs(read.pixels.astype(int) - wanted.pixels).max() < 8
    for name in ("boxes", "marks", "target"):
        np.testing.assert_array_equal(getattr(read, name), getattr(wanted, name))
    small = packed.crops[0]
    assert small.pixels.shape == (128, 128, 3)
    np.testing.assert_allclose(small.boxes[0], wanted.boxes[0] * 128 / 184, atol=SUBPIXEL)
    assert np.abs(decoded(items()[3].file).astype(int) - small.pixels).max() == 0
    paths[0].unlink()
    with pytest.raises(ValueError, match="pack_detector"):
        store.Packed.read(tmp_path)


def test_training_by_the_clock_writes_what_it_reports_and_goes_on(tmp_path: Path) -> None:
    store.write(tmp_path / "packed", items(), 1_000_000)
    common = ["--packed", str(tmp_path / "packed"), "--out", str(tmp_path / "run"), "--batch", "2", "--workers", "0"]
    first = CliRunner().invoke(train_detector, [*common, "--minutes", "0.03"], catch_exceptions=False)
    last = first.output.splitlines()[-1]
    steps = int(last.split()[1])
    assert steps > 0
    assert "AP (recall) from 16 px: bare" in last
    weights = torch.load(tmp_path / "run" / f"detector_{steps}.pt", weights_only=True)
    torch.testing.assert_close(torch.load(tmp_path / "run" / "detector.pt", weights_only=True), weights)
    again = CliRunner().invoke(train_detector, [*common, "--minutes", "0"], catch_exceptions=False)
    assert again.output.startswith(f"step {steps} ")


def test_training_finds_faces_as_the_shipped_detector_does() -> None:
    from dfx.torch.eval_detector import Ours

    torch.manual_seed(0)
    net = RetinaFace().eval()
    for head in net.heads:
        torch.nn.init.normal_(head.weight, std=0.2)
        torch.nn.init.zeros_(head.bias)
    ours = Ours(SHIPPED)
    ours._session = Alone(net)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 150, 3), dtype=np.uint8)
    found, wanted = find(net, pixels, 0.5), ours.find(pixels, 0.5)
    assert len(found) == len(wanted) > 3
    assert overlaps(found.boxes, wanted.boxes).max(axis=1).min() > 0.99


class Alone:
    """A network in place of a session."""

    def __init__(self, net: RetinaFace) -> None:
        self._net = Probabilities(net)

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            parts = self._net(torch.from_numpy(feed["images"]))
        return {name: part.numpy() for name, part in zip(DetectorContract.outputs, parts, strict=True)}


def test_the_shipped_detector_can_be_trained_further() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 160), dtype=np.uint8)
    images, net = torch.from_numpy(pixels), RetinaFace()
    unfold(net, SHIPPED, images)
    shipped = OnnxSession(SHIPPED, inputs=DetectorContract.inputs, outputs=DetectorContract.outputs)
    wanted = shipped.run({"images": pixels})
    for mode in (net.eval(), net.train()):  # on the pictures of the statistics both are the same
        with torch.no_grad():
            parts = Probabilities(mode)(images)
        for name, part in zip(DetectorContract.outputs, parts, strict=True):
            np.testing.assert_allclose(part.numpy(), wanted[name], atol=EXPORT)


def test_another_network_is_no_start() -> None:
    with pytest.raises(ModelError, match=r"classifier.onnx.*export_detector"):
        unfold(RetinaFace(), SHIPPED.with_name("classifier.onnx"), torch.zeros((1, 3, 32, 32)))


def test_no_picture_is_on_both_sides() -> None:
    names = [f"picture_{number}.jpg" for number in range(3000)]
    sides = {name: data.split_of(name) for name in names}
    shares = [sum(side == wanted for side in sides.values()) / 3000 for wanted in ("test", "validation", "train")]
    assert shares == pytest.approx([1 / 3, 1 / 15, 0.6], abs=0.03)
    assert sides == {name: data.split_of(name) for name in reversed(names)}


@pytest.mark.shared
def test_the_validation_photographs_are_packed_pixel_for_pixel(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "detection"
    store.write(tmp_path, list(validation(folder)), 58 * 2**20)
    wanted = list(data.photographs(folder, "validation"))
    for read, original in zip(store.Packed.read(tmp_path).validation, wanted, strict=True):
        name, pixels, boxes, classes, _ = photograph(read)
        assert name == original[0]
        np.testing.assert_array_equal(pixels, original[1])
        np.testing.assert_array_equal(boxes, original[2])
        assert [kind == "face" for kind in classes] == [kind == "face" for kind in original[3]]


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
