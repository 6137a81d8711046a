"""Bundle: one folder of pinned wheels, licences and a notebook, for a machine without internet such as Kaggle's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from dfx.errors import DependencyError, DfxError, InputError, MissingInputError, OutputError
from dfx.files import sha256_of
from dfx.notebook import notebook
from dfx.table import Row, Tabular

LIMIT = 10**9  # bytes: what Kaggle lets the deepfake challenge's notebooks bring along
PLATFORMS = [*(f"manylinux_2_{minor}_x86_64" for minor in range(35, 16, -1)), "manylinux2014_x86_64", "linux_x86_64"]
"""Wheels that glibc 2.35 (Ubuntu 22.04, Kaggle's image) takes; pip adds the older names to manylinux2014."""
LICENCES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS")
MANIFEST = "bundle.json"
SECONDS = 60.0  # that the index may take to tell a size
PIP = 26  # its dry run fetches metadata only; 23.2 was seen to download every wheel
CHECK = "check the network, and the index that pip is configured for"


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: the extra of dfx that serves it, the device asked for there, and what it must bring by itself."""

    extra: str
    device: str
    brings: str


_CUDA = "CUDA 12 and cuDNN 9 are taken from the image's torch; that they serve a {} is inferred and was never run"
TARGETS = {
    "kaggle-cpu": Target("cpu", "cpu", "nothing but Python"),
    "kaggle-t4": Target("gpu-cu12", "auto", _CUDA.format("T4")),
    "kaggle-p100": Target("gpu-cu12", "auto", _CUDA.format("P100")),
}
"""Kaggle's image has the CUDA 12 libraries of torch cu128, so that both cards take the packages for CUDA 12."""


@dataclass(frozen=True, slots=True)
class Package:
    """One wheel as the index has it. size: bytes; licence: as its metadata states it."""

    name: str
    version: str
    url: str
    sha256: str
    size: int
    licence: str

    @property
    def filename(self) -> str:
        """The wheel's own name."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name


@dataclass(frozen=True, slots=True, repr=False)
class Bundle(Tabular):
    """What was put together: the folder, its packages, and the bytes of all its files."""

    folder: Path
    packages: tuple[Package, ...]
    size: int

    def columns(self) -> tuple[str, ...]:
        """What is shown of each package."""
        return ("package", "version", "MB", "licence")

    def rows(self) -> Iterator[Row]:
        """A row a package, the largest first."""
        for item in sorted(self.packages, key=lambda package: -package.size):
            yield item.name, item.version, round(item.size / 1e6, 2), item.licence


def bundle(
    target: str,
    out: str | Path,
    *,
    wheel: str | Path | None = None,
    engines: str | Path | None = None,
    python: str = "3.12",
    limit: int = LIMIT,
) -> Bundle:
    """Writes a folder that installs dfx without a network and scores videos by its notebook.

    Args:
        target: "kaggle-cpu", "kaggle-t4" or "kaggle-p100".
        out: the folder, which must be empty or new.
        wheel: dfx's own wheel; built from the checkout that dfx runs from, where none is given.
        engines: a folder of engines to carry along; they count towards the limit.
        python: the version on the machine without internet, as "3.12", for Linux on x86_64.
        limit: bytes of the whole folder; sizes are asked of the index, and nothing is downloaded where they are more.

    Where anything is raised, the folder is as it was before.

    Raises:
        InputError: an unknown target, a folder that is not empty, a version, a wheel or engines that are none, or more
        bytes than the limit.
        MissingInputError: no such wheel or folder. DependencyError: pip, nbformat, a Python or a package is missing.
        OutputError: the folder cannot be written.
    """
    kind, folder = _target(target), _empty(Path(out))
    _check_python(python)
    given = None if wheel is None else _own(Path(wheel), python)
    more = 0 if engines is None else _size(_apart(Path(engines), folder))
    ipynb = notebook(target, kind.extra, kind.device, kind.brings)
    with TemporaryDirectory() as work:
        own = given or build_wheel(python, Path(work))
        packages = resolve(own, kind.extra, python, Path(work))
        check_size(packages, more, limit)
        with _filled(folder):
            _download(own, packages, python, folder)
            _add(folder, ipynb, engines)
            return _manifest(folder, target, python, packages)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """A folder to write to, which is as it was before where anything is raised, an interruption too."""
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        _clear(folder, new)
        if isinstance(error, OSError) and not isinstance(error, DfxError):
            raise OutputError(f"{folder}: the bundle could not be written ({error}); choose another --out") from error
        raise


def _clear(folder: Path, new: bool) -> None:
    """Removes what is in a folder, and a new one itself; what cannot be removed stays."""
    with suppress(OSError):
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        if new:
            folder.rmdir()


def resolve(wheel: Path, extra: str, python: str, work: Path) -> tuple[Package, ...]:
    """The packages that the wheel's extra needs on the target, as pip resolves them from the wheels' metadata alone
    (read by ranges of bytes where the index does not keep it apart).

    Raises:
        DependencyError: pip is old or cannot resolve them, or an index does not tell a size.
    """
    _check_pip()
    report = work / "report.json"
    dry = ["--use-feature=fast-deps", "--dry-run", "--ignore-installed", "--target", str(work)]
    _pip("install", *dry, "--report", str(report), *_for(python), f"{wheel.resolve()}[{extra}]")
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    with ThreadPoolExecutor(8) as threads:
        return tuple(threads.map(_package, found))


def check_size(packages: Sequence[Package], more: int, limit: int) -> None:
    """Raises InputError, with the largest packages, where all of it is more than the limit."""
    total = sum(package.size for package in packages) + more
    if total > limit:
        largest = sorted(packages, key=lambda package: -package.size)[:3]
        said = ", ".join(f"{package.name} {package.version} ({package.size / 1e6:.0f} MB)" for package in largest)
        raise InputError(
            f"the bundle would have {total / 1e6:.0f} MB, of which {more / 1e6:.0f} MB are engines; "
            f"{limit / 1e6:.0f} MB are allowed, and nothing was downloaded. The largest packages: {said}"
        )


def build_wheel(python: str, work: Path) -> Path:
    """dfx's wheel for a version of Python, from the checkout that this code runs in; needs a C++ compiler.

    Raises:
        DependencyError: dfx does not run from a checkout, or there is no such Python, or the build fails.
    """
    checkout = Path(__file__).parents[1]
    give = f"give dfx's wheel for Python {python} with --wheel"
    if not (checkout / "cpp_ext").is_dir():
        raise DependencyError(f"dfx runs from {checkout}, which is no checkout to build from: {give}")
    interpreter = _interpreter(python)
    if interpreter is None:
        raise DependencyError(f"no Python {python} is here to build with: install python{python}, or {give}")
    _run([interpreter, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work), str(checkout)], give)
    return next(work.glob("dfx-*.whl"))


def _interpreter(python: str) -> str | None:
    """A Python of that version: this one, or the one on the path, if it starts (a shim may not)."""
    if sys.version_info[:2] == tuple(map(int, python.split(".")[:2])):
        return sys.executable
    found = shutil.which(f"python{python}")
    works = found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0
    return found if works else None


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise InputError(f"there is no target {name!r}; choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def _empty(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; name a folder that is empty or new")
    return folder


def _check_python(python: str) -> None:
    if not isinstance(python, str) or not re.fullmatch(r"3\.\d{1,2}(\.\d{1,2})?", python, re.ASCII):
        raise InputError(f"--python is {python!r}; a version such as 3.12 is needed")


def _own(path: Path, python: str) -> Path:
    """dfx's wheel; raises where it is another file, or is for another Python or another system."""
    name, tags = "", frozenset[Tag]()
    with suppress(InvalidWheelFilename):
        name, _, _, tags = parse_wheel_filename(_existing(path).name)
    if name != "dfx" or not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no wheel of dfx; name a file such as dfx-1.0-cp312-cp312-linux_x86_64.whl")
    if tags.isdisjoint(_tags(python)):
        made = ", ".join(sorted(map(str, tags)))
        raise InputError(f"{path} is for {made}; a wheel for Python {python} on Linux x86_64 (glibc) is needed")
    return path


def _tags(python: str) -> Iterator[Tag]:
    """What wheels may be made for, so that the machine without internet takes them (PEP 425)."""
    version = tuple(map(int, python.split(".")[:2]))
    name = "cp" + "".join(map(str, version))
    yield from cpython_tags(version, abis=[name], platforms=PLATFORMS)
    yield from compatible_tags(version, interpreter=name, platforms=PLATFORMS)


def _apart(engines: Path, folder: Path) -> Path:
    """The folder of engines; raises where it is none, or the bundle would lie in it."""
    if not _existing(engines).is_dir():
        raise InputError(f"--engines is {engines}, which is a file; a folder of engines is needed")
    if folder.resolve().is_relative_to(engines.resolve()):
        raise InputError(f"{folder} lies in {engines}, which it would hold; name a folder elsewhere")
    return engines


def _existing(path: Path) -> Path:
    if not path.exists():
        raise MissingInputError(f"no file or folder at {path}: name one that exists")
    return path


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _existing(folder).rglob("*") if path.is_file())


def _for(python: str) -> list[str]:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    return ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms]


def _package(found: dict[str, Any]) -> Package:
    about, url = found["metadata"], found["download_info"]["url"]
    digest = found["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if digest is None:
        raise DependencyError(f"the index tells no SHA-256 of {url}, by which it is pinned: {CHECK}")
    licence = about.get("license_expression") or _classified(about) or about.get("license", "").strip().split("\n")[0]
    return Package(about["name"], about["version"], url, digest, _size_of(url), licence[:60])


def _classified(about: dict[str, Any]) -> str:
    """The licence by its trove classifier: older packages put a whole text into the field."""
    words = [text.rpartition(" :: ")[2] for text in about.get("classifier", []) if text.startswith("License :: ")]
    return ", ".join(words)


def _size_of(url: str) -> int:
    """Bytes, by a look at a local file or by the header that the index sends."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).stat().st_size
    try:
        with urlopen(Request(url, method="HEAD"), timeout=SECONDS) as answer:
            return int(answer.headers["Content-Length"])
    except (OSError, TypeError, ValueError) as error:
        raise DependencyError(f"the index does not tell the size of {url} ({error}): try again") from error


def _download(own: Path, packages: Sequence[Package], python: str, folder: Path) -> None:
    """Fetches the wheels, each of which must have the hash that was resolved, and takes the licences out of them."""
    wheels = folder / "wheels"
    wheels.mkdir()
    shutil.copy(own, wheels)
    others = [package for package in packages if package.filename != own.name]
    pins = folder / "requirements.txt"
    pins.write_text("".join(f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in others))
    _pip("download", "--no-deps", "--require-hashes", "--dest", str(wheels), *_for(python), "-r", str(pins))
    for wheel in sorted(wheels.glob("*.whl")):
        _licences(wheel, folder / "licences" / "-".join(wheel.name.split("-")[:2]))


def _licences(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            about = path.parts[0].endswith(".dist-info") and (
                "licenses" in path.parts or path.name.startswith(LICENCES)
            )
            if about and not name.endswith("/"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "_".join(path.parts[1:])).write_bytes(archive.read(name))


def _add(folder: Path, ipynb: str, engines: str | Path | None) -> None:
    (folder / "notebook.ipynb").write_text(ipynb, encoding="utf-8")
    if engines is not None:
        shutil.copytree(engines, folder / "engines")


def _manifest(folder: Path, target: str, python: str, packages: tuple[Package, ...]) -> Bundle:
    """Writes the sizes and hashes of all files, and what was left to the machine."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    about = {"target": target, "python": python, "the_machine_brings": TARGETS[target].brings}
    plain = {**about, "packages": [asdict(package) for package in packages], "files": files}
    (folder / MANIFEST).write_text(json.dumps(plain, indent=1), encoding="utf-8")
    return Bundle(folder, packages, _size(folder))


def _check_pip() -> None:
    try:
        found = version("pip")
    except PackageNotFoundError:
        found = "none"
    if found == "none" or int(found.split(".")[0]) < PIP:
        raise DependencyError(f"pip is {found}; {PIP} or later is needed: python -m ensurepip, then pip install -U pip")


def _pip(*words: str) -> None:
    """Runs this Python's pip, with the index and the cache that it is configured for."""
    _run([sys.executable, "-m", "pip", words[0], "--quiet", "--disable-pip-version-check", *words[1:]], CHECK)


def _run(command: list[str], mend: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise DependencyError(f"{' '.join(command[1:4])} failed: {' '.join(lines[-4:]) or done.returncode}; {mend}")
