"""Runs an ONNX file. The one place that knows ONNX Runtime; its errors are mapped here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dfx.errors import DependencyError, DeviceError, MissingInputError, ModelError
from dfx.ops.cuda import DeviceArray, Lane

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[Any]
SUMS = "SHA256SUMS"
CUDA = "CUDAExecutionProvider"
GPU_MEND = (
    'pip uninstall -y onnxruntime onnxruntime-gpu, then pip install "dfx[gpu-cu13]" '
    '("dfx[gpu-cu12]" with a driver before 580, or a card before Turing)'
)


class Session(Protocol):
    """A network that runs: named arrays in, named arrays out. On a GPU arrays of the host may go in; none comes out."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's contract, as text."""

    def run(self, inputs: Mapping[str, Array | DeviceArray]) -> Mapping[str, Array | DeviceArray]:
        """Runs once. Arrays have the shapes and dtypes of the model's contract."""


def open_session(
    path: str | Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...], lane: Lane | None = None
) -> Session:
    """A session on the GPU and the stream of a lane; on the CPU without one."""
    if lane is None:
        return OnnxSession(path, inputs=inputs, outputs=outputs)
    return CudaSession(path, lane, inputs=inputs, outputs=outputs)


class OnnxSession:
    """An ONNX file on ONNX Runtime's CPU provider, on one thread: dfx runs one process a core.

    One thread also fixes the order of every sum, so that the same input gives the same output to the bit.

    Raises:
        MissingInputError: no such file. ModelError: not an ONNX model, or it lacks an input or an output that is named.
        DependencyError: ONNX Runtime is not installed.
    """

    provider: str | tuple[str, dict[str, str]] = "CPUExecutionProvider"

    def __init__(self, path: str | Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.path = Path(path)
        self._session = _create(read_model(self.path), self.path, self.provider)
        self._outputs = list(outputs)
        self._check_names("input", inputs, {node.name for node in self._session.get_inputs()}, exact=True)
        self._check_names("output", outputs, {node.name for node in self._session.get_outputs()}, exact=False)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's `metadata_props`."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def shapes(self) -> Mapping[str, Sequence[int | str]]:
        """The inputs' shapes; an axis that the file leaves open is a name."""
        return {node.name: node.shape for node in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs once; raises ModelError where the file does not take what its contract says it takes."""
        try:
            return dict(zip(self._outputs, self._values(inputs), strict=True))
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            broken = DeviceError if self.provider != "CPUExecutionProvider" else ModelError
            shapes = {name: (np.dtype(array.dtype).name, array.shape) for name, array in inputs.items()}
            raise broken(f"{self.path.name}: ONNX Runtime could not run it on {shapes}: {error}") from error

    def _values(self, inputs: Mapping[str, Any]) -> list[Any]:
        return [np.asarray(value) for value in self._session.run(self._outputs, dict(inputs))]

    def _check_names(self, kind: str, wanted: tuple[str, ...], found: set[str], *, exact: bool) -> None:
        missing = set(wanted) - found
        if missing or (exact and found - set(wanted)):
            raise ModelError(f"{self.path}: its {kind}s are {sorted(found)}; dfx needs {sorted(wanted)}")


class CudaSession(OnnxSession):
    """An ONNX file on ONNX Runtime's CUDA provider, queued on the lane's stream; no node of it runs on the CPU.

    Outputs stay on the GPU as `DeviceArray`, and hold good once the stream has come to them. TF32 is off: scores
    must be the CPU's within the tolerance.

    Raises, besides what `OnnxSession` raises:
        DeviceError: this ONNX Runtime has no CUDA provider, or the provider cannot serve; the message has its reason.
    """

    def __init__(self, path: str | Path, lane: Lane, *, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.provider = (CUDA, cuda_options(lane))
        super().__init__(path, inputs=inputs, outputs=outputs)
        self._lane = lane  # last, so that the stream outlives what works on it
        self._options = _runtime().RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def _values(self, inputs: Mapping[str, Any]) -> list[Any]:
        binding, device = self._session.io_binding(), self._lane.device
        for name, array in inputs.items():
            if isinstance(array, DeviceArray):
                binding.bind_input(name, "cuda", device, array.dtype, array.shape, array.pointer)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in self._outputs:
            binding.bind_output(name, "cuda", device)
        self._session.run_with_iobinding(binding, self._options)
        alive = (binding, inputs)  # what the stream still reads
        return [self._on_device(value, alive) for value in binding.get_outputs()]

    def _on_device(self, value: Any, alive: object) -> DeviceArray:
        return DeviceArray.over(value.data_ptr(), tuple(value.shape()), np.float32, self._lane, (value, alive))


def cuda_options(lane: Lane) -> dict[str, str]:
    """Options of the CUDA provider, by the names of ONNX Runtime 1.23 to 1.31.

    Heuristic choice of cuDNN's algorithms, so that a new size of picture costs no search; an arena that takes what it
    needs and no powers of two, since many lanes share a card.
    """
    return {
        "device_id": str(lane.device),
        "user_compute_stream": str(lane.stream),
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": "0",
    }


def cuda_missing() -> str | None:
    """Why ONNX Runtime cannot serve a GPU here, with the mend; None where its CUDA provider is there."""
    try:
        runtime = _runtime()
    except DependencyError as error:
        return f"{str(error).partition(':')[0]}: {GPU_MEND}"
    if CUDA in runtime.get_available_providers():
        return None
    return f"ONNX Runtime {runtime.__version__} is the CPU's build: {GPU_MEND}"


def read_model(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        MissingInputError: no such file. ModelError: it cannot be read, or SHA256SUMS beside it lists another hash.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MissingInputError(f"no model at {path}: name an ONNX file that exists") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read as a model ({error.strerror})") from error
    wanted = _listed_hash(path)
    if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
        raise ModelError(f"{path}: it is damaged, or not the file that {SUMS} beside it lists; install dfx anew")
    return content


def _listed_hash(path: Path) -> str | None:
    """The hash that a list beside the file, as `sha256sum` writes it, holds for it."""
    sums = path.with_name(SUMS)
    if not sums.is_file():
        return None
    listed = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines())
    return next((words[0] for words in listed if len(words) == 2 and words[1].lstrip("*") == path.name), None)


def list_hash(path: Path) -> None:
    """Notes the file's hash in the list that its folder may keep; `read_model` refuses a file that differs from it."""
    sums = path.with_name(SUMS)
    if sums.is_file():
        lines = {line.rsplit(maxsplit=1)[-1]: line for line in sums.read_text(encoding="utf-8").splitlines()}
        lines[path.name] = f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}"
        sums.write_text("".join(f"{lines[name]}\n" for name in sorted(lines)), encoding="utf-8")


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, in hexadecimal."""
    return hashlib.sha256(read_model(path)).hexdigest()


def _create(content: bytes, path: Path, provider: str | tuple[str, dict[str, str]]) -> onnxruntime.InferenceSession:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they come as exceptions too
    name = provider if isinstance(provider, str) else provider[0]
    if name == CUDA:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        runtime.preload_dlls(directory="")  # those of the nvidia-* packages, where the system has none
    try:
        session = runtime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        if name == CUDA:
            raise DeviceError(f"{path.name}: ONNX Runtime's CUDA provider cannot serve: {error}") from error
        raise ModelError(f"{path}: not an ONNX model that ONNX Runtime can load ({str(error)[:200]})") from error
    if name not in session.get_providers():
        raise DeviceError(
            f"ONNX Runtime fell back to {session.get_providers()}: its CUDA provider could not be loaded; "
            "see what it printed above, and check that CUDA and cuDNN of its major version are installed"
        )
    return session


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f'ONNX Runtime cannot be imported ({error}): run pip install "dfx[cpu]"') from error
    return onnxruntime
