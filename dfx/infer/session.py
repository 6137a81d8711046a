"""Runs an ONNX file. The one place that knows ONNX Runtime; its errors are mapped here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dfx.errors import DependencyError, MissingInputError, ModelError

if TYPE_CHECKING:
    import onnxruntime

Array = NDArray[Any]
SUMS = "SHA256SUMS"


class Session(Protocol):
    """A network that runs: named arrays in, named arrays out."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once. Arrays have the shapes and dtypes of the model's contract."""


class OnnxSession:
    """An ONNX file on ONNX Runtime's CPU provider, on one thread: dfx runs one process a core.

    One thread also fixes the order of every sum, so that the same input gives the same output to the bit.

    Raises:
        MissingInputError: no such file. ModelError: not an ONNX model, or it lacks an input or an output that is named.
        DependencyError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, *, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        self.path = Path(path)
        self._session = _create(read_model(self.path), self.path)
        self._outputs = list(outputs)
        self._check_names("input", inputs, {node.name for node in self._session.get_inputs()}, exact=True)
        self._check_names("output", outputs, {node.name for node in self._session.get_outputs()}, exact=False)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's `metadata_props`."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once; raises ModelError where the file does not take what its contract says it takes."""
        try:
            values = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # ONNX Runtime's own exceptions share no public base
            shapes = {name: (array.dtype.name, array.shape) for name, array in inputs.items()}
            raise ModelError(f"{self.path.name}: ONNX Runtime could not run it on {shapes}: {error}") from error
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def _check_names(self, kind: str, wanted: tuple[str, ...], found: set[str], *, exact: bool) -> None:
        missing = set(wanted) - found
        if missing or (exact and found - set(wanted)):
            raise ModelError(f"{self.path}: its {kind}s are {sorted(found)}; dfx needs {sorted(wanted)}")


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


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, in hexadecimal."""
    return hashlib.sha256(read_model(path)).hexdigest()


def _create(content: bytes, path: Path) -> onnxruntime.InferenceSession:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; they come as exceptions too
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no public base
        raise ModelError(f"{path}: not an ONNX model that ONNX Runtime can load ({str(error)[:200]})") from error


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f'ONNX Runtime cannot be imported ({error}): run pip install "dfx[cpu]"') from error
    return onnxruntime
