"""Sessions on a GPU: ONNX Runtime's providers for CUDA and TensorRT, on a lane's stream; arrays stay there."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dfx.errors import DependencyError, DeviceError
from dfx.infer import engines as store
from dfx.infer import libraries, nvinfer
from dfx.infer.contract import Contract, Shapes
from dfx.infer.options import cuda_options, tensorrt_options
from dfx.infer.session import (
    CUDA,
    TENSORRT,
    Array,
    OnnxSession,
    Provider,
    Session,
    as_graphs,
    import_runtime,
    read_model,
)
from dfx.ops import cuda
from dfx.ops.cuda import DeviceArray, Lane
from dfx.origin import install

WARM_UPS = 3  # runs until a graph is surely captured: ONNX Runtime's first runs allocate memory and capture nothing
SHAPES = 8  # of the detector: turned faces, and videos of seven forms; its activations take up to 57 MB a shape
NO_GRAPH = "-1"  # as the run option `gpu_graph_id`: neither capture nor replay; TensorRT's provider counts it as a run
GPU_MEND = (
    f"pip uninstall -y onnxruntime onnxruntime-gpu, then {install('gpu-cu13', 'cuda13')} "
    "(gpu-cu12,cuda12 with a driver before 580, or a card before Turing)"
)


def on_gpu(path: str | Path, contract: type[Contract], lane: Lane, engines: Path | None) -> Session:
    """A session of a model with that contract on the GPU and the stream of a lane; see `open_session`."""
    names = contract.inputs, contract.outputs
    graphs = as_graphs()
    if engines is None:
        content = read_model(Path(path))  # once: a session that is opened later has the same model
        opened = partial(CudaSession, path, (CUDA, cuda_options(lane, graphs=graphs)), lane, names, content)
        if not graphs:
            return ShapedSession(opened)
        session = opened()
    else:
        nvinfer.load()
        engine = store.engine_of(Path(path), engines, lane.device)
        session = CudaSession(engine.path, (TENSORRT, tensorrt_options(lane, graphs=graphs)), lane, names)
        engine.check_shapes(contract.read(session.metadata, str(path)).shapes)
    if not graphs:
        return session
    return GraphSession(session, contract.read(session.metadata, str(path)).shapes)


class CudaSession(OnnxSession):
    """An ONNX file on a provider for NVIDIA's GPUs, on the lane's stream; no node of it runs on the CPU.

    Outputs stay on the GPU as `DeviceArray`, in memory of ONNX Runtime's.

    Raises, besides what `OnnxSession` raises:
        DeviceError: this ONNX Runtime has no such provider, or it cannot serve; the message has its reason.
    """

    memory = "cuda"  # where its arrays are, as ONNX Runtime calls it

    def __init__(
        self,
        path: str | Path,
        provider: Provider,
        lane: Lane,
        names: tuple[tuple[str, ...], tuple[str, ...]],
        content: bytes | None = None,
    ) -> None:
        self.provider, self.lane = provider, lane
        libraries.load("cuda")
        super().__init__(path, inputs=names[0], outputs=names[1], content=content)
        _keep(self._session)

    def bind(self, inputs: Mapping[str, Any], outputs: Mapping[str, DeviceArray] | None = None) -> Any:
        """Ties the session's inputs to arrays of the GPU or the host, and its outputs to arrays of the GPU.

        outputs: where they are to be written; ONNX Runtime allocates them where none are given.
        """
        binding, device = self._session.io_binding(), self.lane.device
        for name, array in inputs.items():
            if isinstance(array, DeviceArray):
                binding.bind_input(name, self.memory, device, array.dtype, array.shape, array.pointer)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in self._outputs:
            if outputs is None:
                binding.bind_output(name, self.memory, device)
            else:
                array = outputs[name]
                binding.bind_output(name, self.memory, device, array.dtype, array.shape, array.pointer)
        return binding

    def run_bound(self, binding: Any, **words: str) -> None:
        """Runs what is bound, and waits for it. words: entries of ONNX Runtime's run options.

        The wait is ONNX Runtime's default. Without it (`disable_synchronize_execution_providers`) it keeps the pinned
        memory from which nodes copied tables, for Concat an int64 an anchor: 242 kB a run of the detector on 1080p, for
        as long as the session is there (`CleanUp` in device_stream_collection.cc).
        """
        options = import_runtime().RunOptions()
        for key, word in words.items():
            options.add_run_config_entry(key, word)
        self._session.run_with_iobinding(binding, options)

    def _values(self, inputs: Mapping[str, Any], **words: str) -> list[DeviceArray]:
        binding = self.bind(inputs)
        self.run_bound(binding, **words)
        return [self._on_device(value) for value in binding.get_outputs()]

    def _on_device(self, value: Any) -> DeviceArray:
        return DeviceArray.over(value.data_ptr(), tuple(value.shape()), np.float32, self.lane, value)


def _keep(session: Any) -> None:
    """Has ONNX Runtime's session outlive Python's last reference to it, to the end of the process.

    The pinned memory that its runs copied tables from goes in a callback of the CUDA stream, and with the session so
    does the allocator, which CUDA forbids there: ONNX Runtime 1.27 ends the process for that ("CUDA failure 800 ...
    cudaFreeHost"). A run that is waited for is no help: it queues that callback when the wait is over.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


class ShapedSession:
    """A session for each of the shapes that come, up to SHAPES of them, or as many as the card has memory for; then the
    one that was used the longest ago is given another shape.

    ONNX Runtime's CUDA provider has cuDNN plan every convolution for one shape, the last (`Conv::UpdateState` in its
    conv.cc), which takes the detector a good part of a second. A session that is fed two in turn plans at every turn:
    an H100 had nothing to do nine seconds of ten that way.

    opened: gives a new session.
    """

    def __init__(self, opened: Callable[[], CudaSession]) -> None:
        self._opened, self._fresh = opened, [opened()]
        self._of: dict[tuple[tuple[int, ...], ...], CudaSession] = {}  # in the order in which they were used
        self.metadata: Mapping[str, str] = self._fresh[0].metadata

    def run(self, inputs: Mapping[str, Array | DeviceArray]) -> Mapping[str, Array | DeviceArray]:
        """Runs once, by the session of the inputs' shapes."""
        shapes = tuple(array.shape for array in inputs.values())
        session = self._of.pop(shapes, None) or self._another()
        self._of[shapes] = session
        return session.run(inputs)

    def _another(self) -> CudaSession:
        if self._fresh:
            return self._fresh.pop()
        if len(self._of) < SHAPES:
            with suppress(DeviceError):
                return self._opened()
        return self._of.pop(next(iter(self._of)))


class GraphSession:
    """A session that replays one CUDA graph, which reads and writes at fixed addresses.

    Inputs are copied to them on the GPU (5 MB at most) and outputs from them, on the lane's stream, so that what it
    gives is not overwritten by the next run. The graph is captured here, while nothing else works on the GPU: ONNX
    Runtime captures in the mode that forbids every other thread to allocate.

    shapes: of the inputs, uint8; every run must have them.
    """

    def __init__(self, session: CudaSession, shapes: Shapes) -> None:
        self._session, lane = session, session.lane
        self._inputs = {name: cuda.empty(shape, np.uint8, lane) for name, shape in shapes.items()}
        with session.mapped(self._inputs):
            found = session._values(self._inputs, gpu_graph_id=NO_GRAPH)
        self._outputs = {
            name: cuda.empty(array.shape, array.dtype, lane)
            for name, array in zip(session._outputs, found, strict=True)
        }
        self._binding = session.bind(self._inputs, self._outputs)
        with session.mapped(self._inputs):
            for _ in range(WARM_UPS):
                session.run_bound(self._binding)
        lane.synchronize()

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's `metadata_props`."""
        return self._session.metadata

    def run(self, inputs: Mapping[str, Array | DeviceArray]) -> Mapping[str, Array | DeviceArray]:
        """Replays the graph once; raises InputError where an input has another shape than the graph's."""
        for name, place in self._inputs.items():
            place.fill(inputs[name])
        with self._session.mapped(inputs):
            self._session.run_bound(self._binding)
        return {name: array.copy() for name, array in self._outputs.items()}


def cuda_missing() -> str | None:
    """Why ONNX Runtime cannot serve a GPU here, with the mend; None where its provider and all it links is there."""
    try:
        runtime = import_runtime()
        if CUDA not in runtime.get_available_providers():
            return f"ONNX Runtime {runtime.__version__} is the CPU's build: {GPU_MEND}"
        libraries.load("cuda")
    except DependencyError as error:
        return f"{str(error).partition(':')[0]}: {GPU_MEND}"
    except DeviceError as error:
        return str(error)
    return None
