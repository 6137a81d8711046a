"""Each stage alone, on one core, on the windows of a 1080p clip that a prediction looks at.

Example:
    pytest benchmarks/bench_stages.py

Peers do the same work beside it: the same networks with the same (random) weights in torch eager, OpenCV's
suppression of overlapping boxes. Every result is checked after the timing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from dfx import ops
from dfx.aggregate import aggregate
from dfx.classify import Ensemble
from dfx.colour import as_sdr_of_bt601
from dfx.crop import crop_track
from dfx.decode.pyav import PyAVDecoder
from dfx.detect import Detector
from dfx.infer import Calibration, DetectorContract, OnnxSession
from dfx.info import VideoInfo
from dfx.journal import Journal, state_of
from dfx.pipeline import Pipeline
from dfx.plan import plan
from dfx.probe import probe
from dfx.torch.clipnet import LITE1, ClipNet
from dfx.torch.contract import export
from dfx.torch.export_detector import CONTRACT, Probabilities
from dfx.torch.mesonet import MesoNet
from dfx.torch.retinaface import MIN_SIZES, STRIDES, VARIANCES, RetinaFace, anchors
from dfx.torch.steady import SteadyNet
from dfx.track import follow
from dfx.upright import SIDE
from dfx.values import ClipScore, Faces, Frames, Pixels, Plan, Prediction, Reason, Track, Transfer

pytestmark = [
    pytest.mark.timeout(900),  # exporting a network takes minutes on a busy machine
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # of torch, about itself
]
HEIGHT, WIDTH = 384, 640
LOOKS = 3
"""Pictures of a window that the detector is shown."""

AGREEMENT = 2e-3
"""Of two libraries' networks, in logits and deltas."""

THRESHOLD, OVERLAP = 0.5, 0.4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a worker has it."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture(scope="session")
def frames(info: VideoInfo, chosen: Plan) -> Frames:
    """The first window."""
    return next(PyAVDecoder().read(info, chosen))


@pytest.fixture(scope="session")
def looked(pipeline: Pipeline, frames: Frames) -> dict[int, Faces]:
    """The faces of three of its pictures."""
    places = [0, len(frames) // 2, len(frames) - 1]
    return dict(zip(places, pipeline.detector.watch([frames.pictures[i] for i in places]), strict=True))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def track(pipeline: Pipeline, frames: Frames, looked: dict[int, Faces]) -> Track:
    """The portrait's face."""
    return follow(frames, looked, pipeline.detector.sure)[0]


@pytest.fixture(scope="session")
def crop(pipeline: Pipeline, frames: Frames, track: Track) -> Pixels:
    """Its clip."""
    return np.asarray(crop_track(frames, track, pipeline.classifier.contract))


@pytest.fixture(scope="session")
def canvases() -> Pixels:
    """What the detector is shown of a window: uint8 [3, 3, 384, 640]."""
    return np.random.default_rng(0).integers(0, 256, (LOOKS, 3, HEIGHT, WIDTH), np.uint8)


@pytest.fixture(scope="session")
def detector_net() -> torch.nn.Module:
    """The detector's network, its weights random, scores as probabilities."""
    torch.manual_seed(0)
    return Probabilities(RetinaFace().eval()).eval()


@pytest.fixture(scope="session")
def detector_session(detector_net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> OnnxSession:
    """The same network with the same weights, as dfx exports and runs it."""
    path = tmp_path_factory.mktemp("model") / "detector.onnx"
    examples = [torch.randint(0, 256, shape, dtype=torch.uint8) for shape in ((2, 3, 96, 160), (1, 3, 64, 64))]
    contract = CONTRACT | {"version": "1", "score_threshold": THRESHOLD}
    export(detector_net, path, examples, [0, 2, 3], contract)
    return OnnxSession(path, inputs=DetectorContract.inputs, outputs=DetectorContract.outputs)


def _time(benchmark: Any, work: Callable[[], Any], rounds: int = 15) -> Any:
    """The last result; the median is what to read. benchmark: the fixture, whose methods have no types."""
    return benchmark.pedantic(work, rounds=rounds, warmup_rounds=2)


def test_probe(benchmark: BenchmarkFixture, clip: Path) -> None:
    """Headers and packets."""
    info = _time(benchmark, lambda: probe(clip))
    assert (info.frames, info.keyframes) == (300, (0, 250))


def test_plan(benchmark: BenchmarkFixture, info: VideoInfo) -> None:
    """The windows of the default plan."""
    chosen = _time(benchmark, lambda: plan(info, windows=2, count=4, stride=4))
    assert [window.start for window in chosen.windows] == [0, 250]


def test_decode(benchmark: BenchmarkFixture, info: VideoInfo, chosen: Plan) -> None:
    """All windows of the plan, opening the file included."""
    windows = _time(benchmark, lambda: [len(frames) for frames in PyAVDecoder().read(info, chosen)])
    assert windows == [window.count for window in chosen.windows]


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
def test_hdr_of_a_window(benchmark: BenchmarkFixture, canvases: Pixels, transfer: Transfer) -> None:
    """What the detector is shown of it, in the tones of ordinary video; nothing of this for ordinary video itself."""
    seen = _time(benchmark, lambda: [as_sdr_of_bt601(canvas, transfer, "bt2020") for canvas in canvases])
    assert not np.array_equal(np.stack(seen), canvases)


def test_detect_a_window(benchmark: BenchmarkFixture, pipeline: Pipeline, frames: Frames) -> None:
    """Letterbox, network and decoding of boxes: three pictures of 1080p, two of them near the face only."""
    pictures = [frames.pictures[i] for i in (0, len(frames) // 2, len(frames) - 1)]
    found = _time(benchmark, lambda: pipeline.detector.watch(pictures))  # type: ignore[arg-type]
    assert [(faces.scores > pipeline.detector.sure).sum() for faces in found] == [1] * LOOKS


def test_detector_network(benchmark: BenchmarkFixture, detector_session: OnnxSession, canvases: Pixels) -> None:
    """The network alone by ONNX Runtime."""
    outputs = _time(benchmark, lambda: detector_session.run({"images": canvases}))
    assert outputs["scores"].shape[0] == LOOKS


def test_detector_network_in_torch(
    benchmark: BenchmarkFixture, detector_net: torch.nn.Module, detector_session: OnnxSession, canvases: Pixels
) -> None:
    """The same weights in torch eager."""
    images = torch.from_numpy(canvases)
    with torch.no_grad():
        theirs = _time(benchmark, lambda: detector_net(images))
    ours = detector_session.run({"images": canvases})
    for name, value in zip(DetectorContract.outputs, theirs, strict=True):
        np.testing.assert_allclose(ours[name], value.numpy(), atol=AGREEMENT)


def _crowd() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A detector's output with some 300 anchors above the threshold: scores [1, A], boxes [1, A, 4], landmarks."""
    rng = np.random.default_rng(0)
    count = sum((HEIGHT // stride) * (WIDTH // stride) * 2 for stride in STRIDES)
    scores = rng.uniform(0, THRESHOLD * 1.0276, (1, count)).astype(np.float32)
    return scores, rng.normal(0, 1, (1, count, 4)).astype(np.float32), np.zeros((1, count, 10), np.float32)


def _by_dfx(scores: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray) -> Faces:
    anchored = partial(ops.decode_faces, strides=STRIDES, min_sizes=MIN_SIZES, variances=VARIANCES)
    return anchored(scores, boxes, landmarks, HEIGHT, WIDTH, threshold=THRESHOLD, iou=OVERLAP, limit=1000)[0]


def _by_opencv(priors: np.ndarray, scores: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Decodes every box with NumPy, as RetinaFace's public code does, and lets OpenCV suppress: scores [K]."""
    centres = priors[:, :2] + deltas[0, :, :2] * VARIANCES[0] * priors[:, 2:]
    sizes = priors[:, 2:] * np.exp(deltas[0, :, 2:] * VARIANCES[1])
    boxes = np.concatenate([centres - sizes / 2, sizes], axis=1).astype(np.float64)
    kept: Any = cv2.dnn.NMSBoxes(boxes, scores[0], THRESHOLD, OVERLAP)  # type: ignore[arg-type]  # it takes arrays
    return np.asarray(scores[0][kept])


def test_decode_faces(benchmark: BenchmarkFixture) -> None:
    """Boxes and their suppression, 300 candidates of 10,080 anchors."""
    crowd = _crowd()
    faces = _time(benchmark, lambda: _by_dfx(*crowd), rounds=100)
    assert len(faces) > 50


def test_decode_faces_by_opencv(benchmark: BenchmarkFixture) -> None:
    """The same by NumPy and `cv2.dnn.NMSBoxes`."""
    crowd, priors = _crowd(), anchors(HEIGHT, WIDTH).numpy()
    kept = _time(benchmark, lambda: _by_opencv(priors, crowd[0], crowd[1]), rounds=100)
    np.testing.assert_allclose(np.sort(kept), np.sort(_by_dfx(*crowd).scores))


def test_track(benchmark: BenchmarkFixture, pipeline: Pipeline, frames: Frames, looked: dict[int, Faces]) -> None:
    """Linking, smoothing and interpolating one face through a window."""
    (track,) = _time(benchmark, lambda: follow(frames, looked, pipeline.detector.sure), rounds=100)
    assert len(track) == len(frames)


def test_crop(benchmark: BenchmarkFixture, pipeline: Pipeline, frames: Frames, track: Track) -> None:
    """A clip of aligned faces from planes of 1080p."""
    clip = _time(benchmark, lambda: crop_track(frames, track, pipeline.classifier.contract), rounds=50)
    contract = pipeline.classifier.contract
    assert clip.shape == (contract.clip_length, 3, contract.crop_size, contract.crop_size)
    assert clip.std() > 10


def test_classify(benchmark: BenchmarkFixture, pipeline: Pipeline, crop: Pixels) -> None:
    """The shipped classifier on one clip."""
    logits = _time(benchmark, lambda: pipeline.classifier.score([[crop]]))
    assert logits.shape == (1, 1)
    assert np.isfinite(logits).all()


def test_classify_in_torch(benchmark: BenchmarkFixture, crop: Pixels) -> None:
    """The same network in torch eager, its weights random."""
    net, clips = SteadyNet(ClipNet(LITE1), MesoNet()).eval(), torch.from_numpy(crop)[None]
    with torch.no_grad():
        logits = _time(benchmark, lambda: net(clips))
    assert logits.shape == (1,)


def test_which_way_up(benchmark: BenchmarkFixture, pipeline: Pipeline) -> None:
    """Once a video: a small picture of a face, turned four ways."""
    face = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8)
    scores = _time(benchmark, lambda: pipeline.detector.by_turn(face))
    assert len(scores) == 4


def test_aggregate(benchmark: BenchmarkFixture) -> None:
    """Two people, two clips each."""
    rows = [(0, 2.0), (0, 1.0), (1, -3.0), (1, -2.0)]
    clips = [ClipScore(person, 0.0, 0.5, (0, 0, 9, 9), 0.9, logit) for person, logit in rows]
    probability = _time(benchmark, lambda: aggregate(clips, Calibration(), (0.01, 0.99)), rounds=200)
    assert 0.5 < probability < 0.99


def test_journal(benchmark: BenchmarkFixture, clip: Path, tmp_path: Path) -> None:
    """One finished video, on the disk when it returns."""
    row = Prediction("clip.mp4", 0.7, Reason.OK, clips=(ClipScore(0, 0.0, 0.5, (0, 0, 9, 9), 0.9, 1.0),) * 2)
    with Journal.open(tmp_path / "journal", {}) as journal:
        journal.begin({"clip.mp4": state_of(clip)})
        _time(benchmark, lambda: journal.add(state_of(clip), row, 2), rounds=50)
        assert journal.done({"clip.mp4": clip}) == {"clip.mp4": (row, 2)}


def test_the_pipelines_networks_are_the_timed_ones(pipeline: Pipeline) -> None:
    """No timing: the shapes above are those of the shipped models."""
    assert isinstance(pipeline.detector, Detector)
    assert isinstance(pipeline.classifier, Ensemble)
    assert pipeline.detector.contract.long_side == WIDTH
    assert (pipeline.classifier.contract.clip_length, pipeline.classifier.contract.clip_stride) == (4, 4)
