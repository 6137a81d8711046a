"""Sessions on a pretended GPU: ONNX Runtime's CPU provider, bound to the same addresses, stands in for CUDA's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
from surfaces import on_host, pretended_kernels
from tolerances import HALF_PIXEL

from dfx.classify import Classifier
from dfx.detect import Detector
from dfx.errors import DeviceError, InputError
from dfx.infer import ClassifierContract, DetectorContract, OnnxSession, gpu, open_session
from dfx.infer.contract import PICTURES, contract_of
from dfx.infer.gpu import CudaSession, GraphSession, ShapedSession
from dfx.infer.session import CPU, CUDA, GRAPHS, TENSORRT, check_assignment
from dfx.ops import cuda
from dfx.ops.cuda import DeviceArray, Lane
from dfx.pipeline import Pipeline
from dfx.probe import probe
from dfx.settings import Settings
from dfx.values import Surface

NAMES = ClassifierContract.inputs, ClassifierContract.outputs
SHAPES = {"clips": (1, 16, 3, 32, 32)}


class HostSession(CudaSession):
    """The same code, with arrays in the memory of the host."""

    memory = "cpu"


@pytest.fixture
def lane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    kernels = pretended_kernels()
    monkeypatch.setattr(cuda, "kernels", lambda: kernels)
    with Lane(0) as lane:
        yield lane


def clips(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPES["clips"], np.uint8)


def logits(outputs: Any) -> np.ndarray:
    assert isinstance(outputs["logits"], DeviceArray)
    return outputs["logits"].numpy()


@pytest.fixture(params=["plain", "graph"])
def session(request: pytest.FixtureRequest, model: Path, lane: Lane) -> CudaSession | GraphSession:
    plain = HostSession(model, (CPU, {}), lane, NAMES)
    return plain if request.param == "plain" else GraphSession(plain, SHAPES)


@pytest.mark.parametrize("where", ["host", "device"])
def test_it_gives_what_the_cpu_gives_from_either_memory(
    session: CudaSession | GraphSession, model: Path, lane: Lane, where: str
) -> None:
    wanted = OnnxSession(model, inputs=NAMES[0], outputs=NAMES[1]).run({"clips": clips(1)})["logits"]
    given = clips(1) if where == "host" else cuda.upload(clips(1), lane)
    np.testing.assert_array_equal(logits(session.run({"clips": given})), wanted)


def test_a_later_run_overwrites_nothing(session: CudaSession | GraphSession, lane: Lane) -> None:
    outputs = [session.run({"clips": cuda.upload(clips(seed), lane)}) for seed in range(3)]
    values = [logits(output).item() for output in outputs]
    assert values == [pytest.approx(clips(seed).mean(), rel=1e-5) for seed in range(3)]


def test_a_run_is_waited_for(model: Path, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else ONNX Runtime keeps, for each run, pinned memory to the end of the session."""
    session, told = HostSession(model, (CPU, {}), lane, NAMES), []
    run = session._session.run_with_iobinding
    monkeypatch.setattr(
        session._session, "run_with_iobinding", lambda binding, options: (told.append(options), run(binding, options))
    )
    session.run({"clips": clips(0)})
    (options,) = told
    with pytest.raises(RuntimeError, match="does not have configuration"):
        options.get_run_config_entry("disable_synchronize_execution_providers")


def test_a_graph_reads_and_writes_at_fixed_addresses(model: Path, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, bound = HostSession(model, (CPU, {}), lane, NAMES), []
    run = plain.run_bound
    monkeypatch.setattr(plain, "run_bound", lambda binding, **words: (bound.append((binding, words)), run(binding)))
    graph = GraphSession(plain, SHAPES)
    for seed in range(3):
        graph.run({"clips": cuda.upload(clips(seed), lane)})
    (_, first), *rest = bound
    assert first == {"gpu_graph_id": "-1"}
    assert len(rest) == gpu.WARM_UPS + 3
    assert {id(binding) for binding, _ in rest} == {id(rest[0][0])}
    assert all(not words for _, words in rest)


def test_a_graph_takes_no_other_shape(model: Path, lane: Lane) -> None:
    graph = GraphSession(HostSession(model, (CPU, {}), lane, NAMES), SHAPES)
    with pytest.raises(InputError, match=r"cannot be filled from .*the same shape and numbers are needed"):
        graph.run({"clips": cuda.upload(clips(0)[:, :8], lane)})
    with pytest.raises(InputError, match="the same shape and numbers"):
        graph.run({"clips": clips(0).astype(np.float32)})


def test_a_run_that_fails_is_the_devices_error(model: Path, lane: Lane) -> None:
    session = HostSession(model, (CPU, {}), lane, NAMES)
    session.provider = (CUDA, {})
    with pytest.raises(DeviceError, match=r"mine\.onnx: ONNX Runtime could not run it on"):
        session.run({"clips": clips(0).astype(np.float32)})


@pytest.mark.parametrize("graphs", ["0", "1"])
def test_graphs_are_replayed_where_the_environment_says_so(
    model: Path, lane: Lane, monkeypatch: pytest.MonkeyPatch, graphs: str
) -> None:
    asked = []
    monkeypatch.setenv("DFX_CUDA_GRAPHS", graphs)
    monkeypatch.setattr(
        gpu, "CudaSession", lambda path, provider, *rest: asked.append(provider) or HostSession(path, (CPU, {}), *rest)
    )
    session = open_session(model, ClassifierContract, lane=lane)
    assert isinstance(session, GraphSession) == (graphs == "1")
    assert ("enable_cuda_graph" in asked[0][1]) == (graphs == "1")


class Planning:
    """A session that plans anew for every shape but the last, as ONNX Runtime's convolutions do."""

    opened: ClassVar[list[Planning]] = []

    def __init__(self) -> None:
        self.metadata = {"opened": str(len(self.opened))}
        self.planned: list[Any] = []
        self.opened.append(self)

    def run(self, inputs: Any) -> Any:
        (shape,) = {array.shape for array in inputs.values()}
        if self.planned[-1:] != [shape]:
            self.planned.append(shape)
        return {"shape": shape}


@pytest.fixture
def planning(monkeypatch: pytest.MonkeyPatch) -> type[Planning]:
    monkeypatch.setattr(Planning, "opened", [])
    return Planning


def _asked(session: ShapedSession, *heights: int) -> None:
    for height in heights:
        assert session.run({"images": np.zeros((4, 3, height, 640), np.uint8)}) == {"shape": (4, 3, height, 640)}


def test_shapes_in_turn_are_planned_once(planning: type[Planning]) -> None:
    session = ShapedSession(planning)
    assert len(planning.opened) == 1
    _asked(session, *[384, 96, 640, 384, 96] * 3)
    assert [len(each.planned) for each in planning.opened] == [1, 1, 1]
    assert session.metadata == {"opened": "0"}


def test_the_shape_that_was_used_the_longest_ago_gives_way(
    planning: type[Planning], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "SHAPES", 4)
    session = ShapedSession(planning)
    _asked(session, 32, 64, 96, 128, 32, 160, 32, 96, 128)
    assert len(planning.opened) == 4, "sessions are never given back, so no more are opened"
    assert [[shape[2] for shape in each.planned] for each in planning.opened] == [[32], [64, 160], [96], [128]]


def test_a_card_without_memory_for_another_session_goes_on(planning: type[Planning]) -> None:
    def opened() -> Any:
        if len(planning.opened) == 2:
            raise DeviceError("out of memory")
        return planning()

    session = ShapedSession(opened)
    _asked(session, 32, 64, 96, 32)
    assert [[shape[2] for shape in each.planned] for each in planning.opened] == [[32, 96], [64, 32]]


def test_sessions_that_are_opened_later_have_the_same_model(
    model: Path, lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "CudaSession", lambda path, _, *rest: HostSession(path, (CPU, {}), *rest))
    session = open_session(model, ClassifierContract, lane=lane)
    model.write_bytes(b"another one")
    for side in (32, 48, 64):
        pixels = np.random.default_rng(0).integers(0, 256, (1, 16, 3, side, side), np.uint8)
        assert logits(session.run({"clips": pixels})) == pytest.approx(pixels.mean(), rel=1e-5)


def test_a_video_gives_no_session_two_shapes(lane: Lane, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its windows bring whole pictures, and faces in four turns, one after the other."""
    shapes: dict[int, set[tuple[int, ...]]] = {}

    class Recording(HostSession):
        def __init__(self, path: Any, provider: Any, *rest: Any) -> None:
            super().__init__(path, (CPU, {}), *rest)

        def run(self, inputs: Any) -> Any:
            shapes.setdefault(id(self), set()).update(array.shape for array in inputs.values())
            return super().run(inputs)

    monkeypatch.setattr(gpu, "CudaSession", Recording)
    monkeypatch.setattr(Pipeline, "_dali", lambda *_: None)
    assert Pipeline(device=0).predict(samples / "real.mp4").clips
    assert [len(found) for found in shapes.values()] == [1, 1, 1]


def test_without_a_lane_the_cpu_serves(model: Path) -> None:
    assert type(open_session(model, ClassifierContract)) is OnnxSession


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, tuple[int, ...]]]:
    """The shapes that sessions on the pretended GPU are fed."""
    seen: list[dict[str, tuple[int, ...]]] = []

    class Recording(HostSession):
        def __init__(self, path: Any, provider: Any, *rest: Any) -> None:
            super().__init__(path, (CPU, {}), *rest)

        def run(self, inputs: Any) -> Any:
            seen.append({name: array.shape for name, array in inputs.items()})
            return super().run(inputs)

    monkeypatch.setattr(gpu, "CudaSession", Recording)
    return seen


def test_the_detector_is_fed_so_many_pictures_of_whole_cells(lane: Lane, fed: list[Any]) -> None:
    detector = Detector(Settings().detector, lane)
    for count, (height, width) in ((1, (90, 160)), (5, (160, 90)), (2, (200, 300))):
        surfaces = [_on_device(np.full((height, width, 3), 10 * n, np.uint8), lane) for n in range(count)]
        assert len(detector.detect(surfaces)) == count
    assert detector.detect([]) == []
    wide, upright = (PICTURES, 3, 192, 320), (PICTURES, 3, 320, 192)  # 180x320 pixels, twice as large as they are
    assert [shapes["images"] for shapes in fed] == [wide, upright, upright, (PICTURES, 3, 416, 608)]


def test_an_engine_or_a_graph_is_fed_one_shape_whatever_the_pictures(
    lane: Lane, fed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GRAPHS, "1")
    monkeypatch.setattr(gpu, "GraphSession", lambda session, shapes: session)
    detector = Detector(Settings().detector, lane)
    for height, width in ((90, 160), (160, 90)):
        detector.detect([_on_device(np.zeros((height, width, 3), np.uint8), lane)])
    assert fed == [dict(detector.contract.shapes)] * 2


def test_pictures_of_the_cpus_decoder_are_fed_so_too(lane: Lane, fed: list[Any], samples: Path) -> None:
    detector, pipeline = Detector(Settings().detector, lane), Pipeline()
    info = probe(samples / "real.mp4")
    pictures = next(pipeline.decoder.read(info, pipeline.plan(info))).pictures[:3]
    found, wanted = detector.watch(pictures), pipeline.detector.detect(pictures)
    assert [shapes["images"][0] for shapes in fed] == [PICTURES]
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.boxes[ours.scores > detector.sure], theirs.boxes, atol=HALF_PIXEL)


def test_the_classifier_is_fed_one_clip_a_run(model: Path, lane: Lane, fed: list[Any]) -> None:
    classifier = Classifier(model, lane)
    found = classifier.score([cuda.upload(clips(seed)[0], lane) for seed in range(3)])
    assert found == pytest.approx([clips(seed).mean() for seed in range(3)], rel=1e-5)
    assert fed == [dict(classifier.contract.shapes)] * 3 == [SHAPES] * 3


def _on_device(pixels: np.ndarray, lane: Lane) -> Surface:
    surface = on_host(pixels)
    array = cuda.upload(pixels, lane)
    return Surface(array.pointer, surface.width, surface.height, 0, lane.device, array)


def test_a_contract_is_told_by_its_task() -> None:
    for path, kind in ((Settings().detector, DetectorContract), (Settings().models[0], ClassifierContract)):
        metadata = OnnxSession(path, inputs=kind.inputs, outputs=kind.outputs).metadata
        assert type(contract_of(metadata, "m")) is kind


# -- falling back is an error ------------------------------------------------------------------------------------------


@pytest.fixture
def assigned(model: Path) -> onnxruntime.InferenceSession:
    """A real session that knows which provider has which node: the CPU's, all of them."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return onnxruntime.InferenceSession(str(model), options, providers=[CPU])


@pytest.mark.parametrize(("name", "word"), [(CUDA, "CUDA"), (TENSORRT, "TensorRT")])
def test_a_session_that_fell_back_as_a_whole_is_refused(assigned: Any, name: str, word: str) -> None:
    with pytest.raises(DeviceError, match=rf"fell back to \['{CPU}'\]: its {word} provider could not"):
        check_assignment(assigned, Path("m.onnx"), name)


def test_a_node_on_the_cpu_is_refused_and_named(assigned: Any) -> None:
    mixed = SimpleNamespace(
        get_providers=lambda: [CUDA, CPU],
        get_provider_graph_assignment_info=assigned.get_provider_graph_assignment_info,
    )
    with pytest.raises(DeviceError, match=rf"\d of its nodes are not run by ONNX Runtime's CUDA provider .*on {CPU}"):
        check_assignment(mixed, Path("m.onnx"), CUDA)


def test_nodes_where_they_belong_are_fine(assigned: Any) -> None:
    check_assignment(assigned, Path("m.onnx"), CPU)


@pytest.mark.parametrize("engines", [None, Path("engines")])
def test_the_cpus_build_serves_no_gpu(model: Path, lane: Lane, engines: Path | None) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this is the GPU's build")
    gpu.nvinfer.load.cache_clear()
    with pytest.raises(DeviceError, match="CUDA provider cannot serve" if engines is None else "no provider for Tens"):
        open_session(model, ClassifierContract, lane=lane, engines=engines)
