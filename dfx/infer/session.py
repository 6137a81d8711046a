"""Runs an ONNX file on the CPU, and what all sessions share. ONNX Runtime's errors are mapped here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dfx.errors import DependencyError, DeviceError, MissingInputError, ModelError
from dfx.files import replace_file
from dfx.origin import install

if TYPE_CHECKING:
    import onnxruntime

    from dfx.infer.contract import Contract
    from dfx.ops.cuda import DeviceArray, Lane

Array = NDArray[Any]
Provider = tuple[str, dict[str, str]]
SUMS = "SHA256SUMS"
NO_MEMORY = ("Failed to allocate memory", "bad_alloc")  # as ONNX Runtime words it
FLOAT = "tensor(float)"
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

GRAPHS = "DFX_CUDA_GRAPHS"
"""Set to 1 to replay the networks as CUDA graphs. Not the default: nobody has measured that it is quicker."""


class Session(Protocol):
    """A network that runs: named arrays in, named arrays out. On a GPU arrays of the host may go in; none comes out."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's contract, as text."""

    def run(self, inputs: Mapping[str, Array | DeviceArray]) -> Mapping[str, Array | DeviceArray]:
        """Runs once. Arrays have the shapes and dtypes of the model's contract."""


class OnnxSession:
    """An ONNX file on ONNX Runtime's CPU provider, on one thread: dfx runs one process a core.

    One thread also fixes the order of every sum, so that the same input gives the same output to the bit.
    content: of the file, where it has been read already.

    Raises:
        MissingInputError: no such file. ModelError: not an ONNX model, or it lacks an input or an output that is named,
            or an output is not float32.
        DependencyError: ONNX Runtime is not installed.
    """

    provider: Provider = (CPU, {})

    def __init__(
        self, path: str | Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...], content: bytes | None = None
    ) -> None:
        self.path = Path(path)
        self._session = create(content or read_model(self.path), self.path, self.provider)
        self._outputs = list(outputs)
        self._check_names("input", inputs, {node.name for node in self._session.get_inputs()}, exact=True)
        found = {node.name: node.type for node in self._session.get_outputs()}
        self._check_names("output", outputs, set(found), exact=False)
        self._check_floats({name: found[name] for name in outputs})

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's `metadata_props`."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def shapes(self) -> Mapping[str, Sequence[int | str]]:
        """The inputs' shapes; an axis that the file leaves open is a name."""
        return {node.name: node.shape for node in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs once; raises ModelError where the file does not take what its contract says it takes, and MemoryError
        where there is too little memory for it on the CPU."""
        with self.mapped(inputs):
            return dict(zip(self._outputs, self._values(inputs), strict=True))

    @contextmanager
    def mapped(self, inputs: Mapping[str, Any]) -> Iterator[None]:
        """Turns ONNX Runtime's errors in a run into dfx's own."""
        try:
            yield
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            if self.provider[0] == CPU and _lacks_memory(error):
                raise MemoryError(f"{self.path.name} needs more memory than the limit allows") from error
            broken = ModelError if self.provider[0] == CPU else DeviceError
            shapes = {name: (np.dtype(array.dtype).name, array.shape) for name, array in inputs.items()}
            raise broken(f"{self.path.name}: ONNX Runtime could not run it on {shapes}: {error}") from error

    def _values(self, inputs: Mapping[str, Any]) -> list[Any]:
        return [np.asarray(value) for value in self._session.run(self._outputs, dict(inputs))]

    def _check_names(self, kind: str, wanted: tuple[str, ...], found: set[str], *, exact: bool) -> None:
        missing = set(wanted) - found
        if missing or (exact and found - set(wanted)):
            raise ModelError(f"{self.path}: its {kind}s are {sorted(found)}; dfx needs {sorted(wanted)}")

    def _check_floats(self, outputs: Mapping[str, str]) -> None:
        wrong = {name: kind for name, kind in outputs.items() if kind != FLOAT}
        if wrong:
            raise ModelError(
                f"{self.path}: its outputs must be {FLOAT}; got {wrong}: add a Cast to float32 to its graph"
            )


def open_session(
    path: str | Path, contract: type[Contract], *, lane: Lane | None = None, engines: Path | None = None
) -> Session:
    """A session of a model with that contract: on the CPU, or on the GPU and the stream of a lane.

    engines: a folder that holds a TensorRT engine of this model for this GPU; without one the CUDA provider serves.

    Raises, besides what the sessions raise:
        DeviceError: the engine in the folder is not one of this very model, GPU, driver and libraries.
    """
    if lane is None:
        return OnnxSession(path, inputs=contract.inputs, outputs=contract.outputs)
    from dfx.infer.gpu import on_gpu  # loaded for a GPU only

    return on_gpu(path, contract, lane, engines)


def has_fixed_shapes(engines: Path | None) -> bool:
    """Whether the sessions that `open_session` gives on a GPU take the contract's shapes alone."""
    return engines is not None or as_graphs()


def as_graphs() -> bool:
    """Whether the networks are to be replayed as CUDA graphs."""
    return os.environ.get(GRAPHS) == "1"


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
    wanted = _listed(path.with_name(SUMS)).get(path.name)
    if wanted is not None and hashlib.sha256(content).hexdigest() != wanted:
        raise ModelError(f"{path}: it is damaged, or not the file that {SUMS} beside it lists; install dfx anew")
    return content


def list_hash(path: Path) -> None:
    """Notes the file's hash in the list that its folder may keep; `read_model` refuses a file that differs from it."""
    sums = path.with_name(SUMS)
    if sums.is_file():
        hashes = _listed(sums) | {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
        lines = (f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
        replace_file(sums, "".join(lines).encode("utf-8", "surrogateescape"))


def _listed(sums: Path) -> dict[str, str]:
    """The hashes by file name of a list as `sha256sum` writes it, "*" before a name that it read as binary."""
    if not sums.is_file():
        return {}
    lines = sums.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines]
    return {words[1].removeprefix("*"): words[0] for words in pairs if len(words) == 2}


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, in hexadecimal."""
    return hashlib.sha256(read_model(path)).hexdigest()


def fingerprints(paths: Iterable[Path]) -> dict[str, str]:
    """Each model file's `fingerprint`, by its path; what `check_unchanged` takes."""
    return {str(path): fingerprint(path) for path in paths}


def check_unchanged(fingerprints: Mapping[str, str]) -> None:
    """Raises ModelError where a model is not the one that the run began with: scores of two are never mixed."""
    for path, wanted in fingerprints.items():
        if fingerprint(Path(path)) != wanted:
            raise ModelError(f"{path} was changed while the run went on: put it back, or start over with --fresh")


def create(content: bytes, path: Path, provider: Provider) -> onnxruntime.InferenceSession:
    """ONNX Runtime's session of a model on one provider and no other.

    Raises:
        ModelError: no ONNX model. DeviceError: a GPU's provider cannot serve, or a part of the model would run on the
            CPU; `path` stands in the message.
    """
    runtime, (name, _) = import_runtime(), provider
    try:
        session = runtime.InferenceSession(content, _options(runtime, name), providers=[provider], enable_fallback=0)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        if name == CPU and _lacks_memory(error):
            raise ModelError(f"{path}: there is too little memory to load it: allow more (--memory)") from error
        if name == CPU:
            raise ModelError(f"{path}: not an ONNX model that ONNX Runtime can load ({str(error)[:200]})") from error
        raise DeviceError(f"{path.name}: ONNX Runtime's {_short(name)} provider cannot serve: {error}") from error
    if name != CPU:
        check_assignment(session, path, name)
    return session


def check_assignment(session: onnxruntime.InferenceSession, path: Path, name: str) -> None:
    """Raises DeviceError where ONNX Runtime fell back by itself, as a whole or by a node.

    Nodes are told since ONNX Runtime 1.26 alone; `session.disable_cpu_ep_fallback` stands guard in older ones.
    """
    if name not in session.get_providers():
        raise DeviceError(
            f"{path.name}: ONNX Runtime fell back to {session.get_providers()}: its {_short(name)} provider could not "
            "be loaded; see what it printed above, and `dfx doctor`"
        )
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return
    parts = session.get_provider_graph_assignment_info()
    others = [(part.ep_name, node) for part in parts if part.ep_name != name for node in part.get_nodes()]
    if others:
        strays = [f"{node.name or node.op_type} on {provider}" for provider, node in others]
        raise DeviceError(
            f"{path.name}: {len(strays)} of its nodes are not run by ONNX Runtime's {_short(name)} provider "
            f"({', '.join(strays[:3])}); the whole graph must be: write it in other operators, or choose another device"
        )


def import_runtime() -> Any:
    """The module onnxruntime; raises DependencyError where it cannot be imported."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f"ONNX Runtime cannot be imported ({error}): run {install('cpu')}") from error
    return onnxruntime


def _options(runtime: Any, name: str) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they come as exceptions too
    if name != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _lacks_memory(error: Exception) -> bool:
    return any(words in str(error) for words in NO_MEMORY)


def _short(name: str) -> str:
    return name.removesuffix("ExecutionProvider").replace("Tensorrt", "TensorRT")
