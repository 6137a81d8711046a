"""What this machine can do: each part that a run needs, what stands in its way and the mend, and a test of itself."""

from __future__ import annotations

from collections.abc import Iterator
from csv import DictReader
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dfx import ops
from dfx.decode import dali
from dfx.demo import SAMPLES
from dfx.errors import DfxError
from dfx.infer import nvinfer
from dfx.infer.gpu import cuda_missing
from dfx.ops import cuda
from dfx.origin import install
from dfx.predict import predict_dir
from dfx.table import Row, Tabular

RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
GOLDEN = SAMPLES / "golden.csv"
TOLERANCE = 0.02  # in probability: between processors and between backends
NO_GPU = "cpu"


@dataclass(frozen=True, slots=True)
class Finding:
    """One part: whether it is as it should be, what was found, and how to mend it in one line."""

    part: str
    sound: bool
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Health(Tabular):
    """All findings. serves: the devices whose scores of the samples are right."""

    findings: tuple[Finding, ...]
    serves: tuple[str, ...]

    def columns(self) -> tuple[str, ...]:
        """What is shown of each part."""
        return ("part", "state", "found", "mend")

    def rows(self) -> Iterator[Row]:
        """A row a part."""
        for finding in self.findings:
            yield finding.part, "ok" if finding.sound else "--", finding.found, finding.mend

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"serves": list(self.serves), "findings": [asdict(finding) for finding in self.findings]}


def examine() -> Health:
    """Looks at every part, then scores the samples on each device that can serve."""
    found = [extension(), runtime(), gpu(), provider(), decoder(), tensorrt()]
    served = cuda.device_count() if all(finding.sound for finding in found[:5]) else 0
    devices = [NO_GPU, *(f"cuda:{index}" for index in range(served))]
    tests = [self_test(device) for device in devices]
    serves = tuple(device for device, test in zip(devices, tests, strict=True) if test.sound)
    return Health((*found, *tests), serves)


def extension() -> Finding:
    """The compiled kernels, and the instruction set that they use here."""
    try:
        ops.require()
        return Finding("extension", True, f"dfx._kernels, {ops.level()}")
    except DfxError as error:
        return Finding("extension", False, str(error), "pip install . in the checkout")


def runtime() -> Finding:
    """ONNX Runtime: exactly one of its two packages must be there, since they install into the same module."""
    there = {name: found for name in RUNTIMES if (found := _version(name))}
    shown = ", ".join(f"{name} {number}" for name, number in there.items()) or "none"
    if len(there) == 1:
        return Finding("ONNX Runtime", True, shown)
    if there:
        mend = f"pip uninstall -y {' '.join(RUNTIMES)}, then {install('cpu')}, gpu-cu12 or gpu-cu13"
        return Finding("ONNX Runtime", False, f"{shown}: the two overwrite each other", mend)
    return Finding("ONNX Runtime", False, shown, f"{install('cpu')}, or gpu-cu12, gpu-cu13 for a GPU")


def gpu() -> Finding:
    """The driver, the cards, and what compiles the kernels for them."""
    lacking = cuda.missing()
    if lacking:
        return Finding("GPU", False, *_split(lacking))
    names = (f"{cuda.device_name(i)} (sm_{''.join(map(str, cuda.compute_capability(i)))})" for i in _cards())
    return Finding("GPU", True, ", ".join(names))


def provider() -> Finding:
    """ONNX Runtime's provider for CUDA, and the libraries of NVIDIA's that it links."""
    lacking = cuda_missing()
    return Finding("CUDA provider", False, *_split(lacking)) if lacking else Finding("CUDA provider", True, "complete")


def decoder() -> Finding:
    """DALI, and the driver's library for its decoding engines."""
    lacking = dali.missing()
    return Finding("DALI", False, *_split(lacking)) if lacking else Finding("DALI", True, "with libnvcuvid")


def tensorrt() -> Finding:
    """TensorRT as ONNX Runtime's provider links it; without it the CUDA provider serves.

    That an engine builds and runs is not tried: building takes minutes.
    """
    old = cuda.missing() is None and next(filter(None, map(_too_old, _cards())), None)
    if lacking := nvinfer.missing() or old:
        found, mend = _split(lacking)
        return Finding("TensorRT", False, found, f"{mend}; not needed: the CUDA provider serves without it")
    return Finding("TensorRT", True, f"{nvinfer.release()}, and a provider for it")


def self_test(device: str) -> Finding:
    """Scores the samples on a device and compares them with the scores that ship."""
    with GOLDEN.open(newline="") as lines:
        wanted = {row["filename"]: float(row["label"]) for row in DictReader(lines)}
    try:
        rows = predict_dir(SAMPLES, device=device, progress=False)
    except DfxError as error:
        return Finding(f"self-test on {device}", False, *_split(str(error)))
    apart = max(abs(row.probability - wanted[row.filename]) for row in rows)
    said = f"{len(rows)} samples, at most {apart:.4f} from the scores that ship"
    return Finding(f"self-test on {device}", apart <= TOLERANCE, said, "" if apart <= TOLERANCE else "report it")


def _cards() -> range:
    return range(cuda.device_count())


def _too_old(card: int) -> str | None:
    return nvinfer.refuses(cuda.device_name(card), cuda.compute_capability(card))


def _split(message: str) -> tuple[str, str]:
    """What is missing, and the mend: dfx's messages have the one before the first colon and the other behind it."""
    found, _, mend = message.partition(": ")
    return found, mend


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
