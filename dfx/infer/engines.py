"""TensorRT engines on disk: each an ONNX file with the engine inside, and beside it a manifest of what it is for.

An engine serves the very GPU, driver and libraries that it was built with, and the very model. What a manifest says
otherwise of is never loaded.
"""

from __future__ import annotations

import ctypes
import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from dfx.errors import DeviceError
from dfx.files import replace_file, sha256_of
from dfx.infer import nvinfer
from dfx.infer.contract import Shapes
from dfx.infer.options import profile_of
from dfx.infer.session import fingerprint, import_runtime
from dfx.ops import cuda

BUILD = "python export/build_engines.py"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an engine depends on. gpu: its name; source: SHA-256 of the ONNX file that it was built from."""

    gpu: str
    compute_capability: str
    driver: str
    tensorrt: str
    onnxruntime: str
    source: str

    @classmethod
    def here(cls, model: Path, gpu: int) -> Self:
        """Of a model on the ordinal of a GPU of this machine.

        Raises:
            DeviceError: no such GPU, or no TensorRT. DependencyError: no ONNX Runtime.
            MissingInputError: no such model.
        """
        return cls(
            gpu=cuda.device_name(gpu),
            compute_capability=".".join(map(str, cuda.compute_capability(gpu))),
            driver=driver_version(),
            tensorrt=nvinfer.release(),
            onnxruntime=import_runtime().__version__,
            source=fingerprint(model),
        )

    def misfit(self, here: Fingerprint) -> str | None:
        """Where an engine with this fingerprint does not fit `here`, in words; None where it does."""
        pairs = ((each.name, getattr(self, each.name), getattr(here, each.name)) for each in fields(self))
        apart = [f"{_words(name)} {ours[:20]}, here {theirs[:20]}" for name, ours, theirs in pairs if ours != theirs]
        return "; ".join(apart) or None


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine file and what its manifest says. sha256: of the file; profile: the shapes that it takes."""

    path: Path
    fingerprint: Fingerprint
    profile: str
    sha256: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The engine at `path`; raises DeviceError where it, or its manifest, is absent or odd."""
        manifest = manifest_of(path)
        try:
            plain = json.loads(manifest.read_text(encoding="utf-8"))
            return cls(path, Fingerprint(**plain["fingerprint"]), plain["profile"], plain["sha256"])
        except FileNotFoundError:
            raise DeviceError(f"there is no {manifest.name}: run {BUILD}") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DeviceError(f"{manifest} is no manifest of an engine ({error}): run {BUILD} again") from error

    def write_manifest(self) -> None:
        """Writes the manifest beside the file, whole or not at all."""
        plain = {name: value for name, value in asdict(self).items() if name != "path"}
        replace_file(manifest_of(self.path), json.dumps(plain, indent=1).encode())

    def check(self, here: Fingerprint) -> None:
        """Raises DeviceError where the engine is not one for `here`, or its file is not the one that was built."""
        if misfit := self.fingerprint.misfit(here):
            raise DeviceError(f"{self.path.name} was built for {misfit}: run {BUILD} again")
        if not self.path.is_file() or sha256_of(self.path) != self.sha256:
            raise DeviceError(f"{self.path.name} is absent, or not the file that was built: run {BUILD} again")

    def check_shapes(self, shapes: Shapes) -> None:
        """Raises DeviceError where it was built for other shapes than those that it would be fed."""
        if self.profile != profile_of(shapes):
            raise DeviceError(
                f"{self.path.name} takes {self.profile}, and dfx feeds {profile_of(shapes)}: run {BUILD} again"
            )


def engine_of(model: Path, folder: Path, gpu: int) -> Engine:
    """The engine of a model in a folder, for the ordinal of a GPU.

    Raises:
        DeviceError: there is none that fits; the message says why. MissingInputError: no such model.
    """
    here = Fingerprint.here(model, gpu)
    engine = Engine.read(place(model, folder, here))
    engine.check(here)
    return engine


def manifest_of(engine: Path) -> Path:
    """Where the manifest of an engine file stands: beside it."""
    return engine.with_name(engine.name + ".json")


def place(model: Path, folder: Path, here: Fingerprint) -> Path:
    """Where the engine of a model stands: one file a model (several may be called model.onnx) and kind of GPU."""
    gpu = re.sub("[^a-z0-9]+", "-", here.gpu.lower()).strip("-")
    return folder / f"{model.stem}-{here.source[:8]}.{gpu}.onnx"


def driver_version() -> str:
    """The driver's version, as `nvidia-smi` shows it; raises DeviceError where its library does not tell it."""
    try:
        nvml: Any = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise DeviceError(
            f"the driver's version is not known ({error}): start the container with NVIDIA_DRIVER_CAPABILITIES="
            "compute,utility,video"
        ) from error
    text = ctypes.create_string_buffer(96)  # NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE is 80
    status = nvml.nvmlInit_v2() or nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
    nvml.nvmlShutdown()
    if status:
        raise DeviceError(f"the driver's version is not known (NVML error {status}): see `nvidia-smi`")
    return text.value.decode()


def _words(name: str) -> str:
    return {"gpu": "GPU", "source": "a model with SHA-256"}.get(name, name.replace("_", " "))
