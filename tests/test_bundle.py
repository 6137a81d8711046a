"""The bundle for a machine without internet: from wheels that the tests make, and no index."""

from __future__ import annotations

import errno
import hashlib
import json
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

import dfx.bundle
from dfx.bundle import Package, _licences, bundle, check_size, resolve
from dfx.cli import main
from dfx.errors import DependencyError, InputError, MissingInputError, OutputError
from dfx.notebook import WHERE, notebook

nbformat = pytest.importorskip("nbformat")  # of the extra `test`; a machine that is there for its GPU may lack it


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of small wheels that stands for the index; pip is told to know no other."""
    if int(version("pip").split(".")[0]) < dfx.bundle.PIP:
        pytest.skip(f"pip {dfx.bundle.PIP} is needed (pip install -U pip)")
    folder = tmp_path / "index"
    folder.mkdir()
    _wheel(folder, "helper", "2.0", ())
    _wheel(folder, "onnxruntime", "1.0", ("helper>=1",), filling=3000)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A wheel that stands for dfx's own."""
    return _wheel(tmp_path, "dfx", "9.0", ('onnxruntime; extra == "cpu"',), extras=("cpu",))


def test_everything_is_in_the_folder_and_in_the_manifest(index: Path, own: Path, tmp_path: Path) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "a.engine").write_bytes(b"engine")
    out = tmp_path / "bundle"
    result = bundle("kaggle-cpu", out, wheel=own, engines=tmp_path / "engines")
    assert {path.name for path in (out / "wheels").iterdir()} == {own.name, *(path.name for path in index.iterdir())}
    assert (out / "engines" / "a.engine").read_bytes() == b"engine"
    assert (out / "licences" / "helper-2.0" / "LICENSE").read_text() == "do as you like"
    manifest = json.loads((out / "bundle.json").read_text())
    for name, about in manifest["files"].items():
        assert about["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
    everything = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert everything == {*manifest["files"], "bundle.json"}
    assert result.size == sum((out / name).stat().st_size for name in everything)
    assert {package["name"] for package in manifest["packages"]} == {"dfx", "onnxruntime", "helper"}


def test_sizes_are_the_wheels_own(index: Path, own: Path, tmp_path: Path) -> None:
    found = {package.name: package for package in resolve(own, "cpu", "3.12", tmp_path)}
    assert found["onnxruntime"].size == next(index.glob("onnxruntime*")).stat().st_size
    assert found["helper"].licence == "MIT"


@pytest.mark.usefixtures("index")
def test_too_much_is_refused_before_anything_is_written(own: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing was downloaded\. The largest packages: onnxruntime 1\.0"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=own, limit=2000)
    assert not (tmp_path / "bundle").exists()


def test_engines_count() -> None:
    packages = [Package("a", "1", "file:///a.whl", "", 600_000_000, "MIT")]
    check_size(packages, 400_000_000, 10**9)
    with pytest.raises(InputError, match="1001 MB, of which 401 MB are engines; 1000 MB are allowed"):
        check_size(packages, 401_000_000, 10**9)


@pytest.mark.usefixtures("index")
def test_what_cannot_be_resolved_is_said(tmp_path: Path) -> None:
    own = _wheel(tmp_path, "dfx", "9.0", ('nowhere>=4; extra == "cpu"',), extras=("cpu",))
    with pytest.raises(DependencyError, match="No matching distribution found for nowhere>=4"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=own)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'laptop'; choose one of kaggle-cpu, kaggle-t4, kaggle-p100"):
        bundle("laptop", tmp_path / "bundle")
    with pytest.raises(MissingInputError, match=r"no file or folder at .*nothing\.whl"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=tmp_path / "nothing.whl")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        bundle("kaggle-cpu", tmp_path)


@pytest.mark.parametrize("python", ["abc", "3", "2.7x", "", "3.12;"])
def test_a_version_that_is_none_is_named(python: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--python is '{python}'; a version such as 3.12 is needed"):
        bundle("kaggle-cpu", tmp_path / "bundle", python=python)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("foo.txt", "is no wheel of dfx; name a file such as dfx-"),
        ("numpy-2.0-py3-none-any.whl", "is no wheel of dfx"),
        ("dfx-9.0-py3-none-any.whl.txt", "is no wheel of dfx"),
        ("dfx-9.0-cp311-cp311-linux_x86_64.whl", "is for cp311-cp311-linux_x86_64; a wheel for Python 3.12 on Linux"),
        ("dfx-9.0-cp312-cp312-macosx_14_0_x86_64.whl", "a wheel for Python 3.12 on Linux x86_64"),
        ("dfx-9.0-cp312-abi3-manylinux_2_28_aarch64.whl", "a wheel for Python 3.12 on Linux x86_64"),
        ("dfx-9.0-cp312-abi3-musllinux_1_2_x86_64.whl", "a wheel for Python 3.12 on Linux x86_64"),
        ("dfx-9.0-cp313-abi3-manylinux_2_28_x86_64.whl", "a wheel for Python 3.12 on Linux x86_64"),
        ("dfx-9.0-cp312-abi3-manylinux_2_39_x86_64.whl", "a wheel for Python 3.12 on Linux x86_64"),
    ],
)
def test_a_wheel_of_something_else_is_named(
    name: str, words: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dfx.bundle, "resolve", lambda *_: pytest.fail("it asked the index"))
    file = own.rename(tmp_path / name)
    with pytest.raises(InputError, match=words):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=file)


def test_a_wheel_that_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "dfx-9.0-py3-none-any.whl").write_text("garbage")
    with pytest.raises(InputError, match="is no wheel of dfx"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=tmp_path / "dfx-9.0-py3-none-any.whl")


@pytest.mark.parametrize(
    "name",
    [
        "dfx-9.0-py3-none-any.whl",
        "dfx-9.0-cp311-abi3-linux_x86_64.whl",
        "dfx-9.0-cp312-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    ],
)
def test_a_wheel_of_dfx_for_that_python_is_taken(name: str, own: Path, tmp_path: Path) -> None:
    assert dfx.bundle._own(own.rename(tmp_path / name), "3.12.4") == tmp_path / name


def test_engines_are_looked_at_before_any_work(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dfx.bundle, "resolve", lambda *_: pytest.fail("it asked the index"))
    with pytest.raises(InputError, match="which is a file; a folder of engines is needed"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=own, engines=own)
    with pytest.raises(MissingInputError, match="no file or folder at"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=own, engines=tmp_path / "none")
    with pytest.raises(InputError, match="name a folder elsewhere"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=own, engines=tmp_path)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    ("what", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (DependencyError("x"), DependencyError)]
)
def test_what_was_broken_off_is_made_by_the_same_command(
    new: bool, what: BaseException, raised: type[BaseException], own: Path, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise what

    out = tmp_path / "bundle"
    if not new:
        out.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dfx.bundle, "_add", broken)
        with pytest.raises(raised):
            bundle("kaggle-cpu", out, wheel=own)
    assert out.exists() is not new
    assert new or not any(out.iterdir())
    assert bundle("kaggle-cpu", out, wheel=own).size > 0


@pytest.mark.usefixtures("index")
def test_a_full_disk_is_said(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dfx.bundle, "_add", full)
    with pytest.raises(OutputError, match=r"could not be written .*No space left.*choose another --out"):
        bundle("kaggle-cpu", tmp_path / "bundle", wheel=own)
    assert not (tmp_path / "bundle").exists()


def test_an_old_pip_is_named(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dfx.bundle, "version", lambda _: "23.2.1")
    with pytest.raises(DependencyError, match=r"pip is 23\.2\.1; 26 or later"):
        resolve(own, "cpu", "3.12", tmp_path)


@pytest.mark.parametrize("info", [{"archive_info": {"hashes": {"md5": "x"}}}, {"archive_info": {}}, {"vcs_info": {}}])
def test_a_package_without_a_hash_is_named(info: dict[str, object]) -> None:
    found = {"metadata": {"name": "a", "version": "1"}, "download_info": {"url": "https://index/a-1.whl", **info}}
    with pytest.raises(DependencyError, match=r"the index tells no SHA-256 of https://index/a-1\.whl"):
        dfx.bundle._package(found)


def test_a_python_that_is_not_here_is_named(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"give dfx's wheel .* with --wheel"):
        bundle("kaggle-cpu", tmp_path / "bundle", python="3.99")


@pytest.mark.parametrize(
    ("target", "extra"), [("kaggle-cpu", "cpu"), ("kaggle-t4", "gpu-cu12"), ("kaggle-p100", "gpu-cu12")]
)
def test_the_notebook_installs_without_an_index_and_scores(target: str, extra: str) -> None:
    kind = dfx.bundle.TARGETS[target]
    made = nbformat.reads(notebook(target, kind.extra, kind.device, kind.brings), 4)
    nbformat.validate(made)
    about, where, install, score = (cell.source for cell in made.cells)
    assert target in about
    for cell in (where, install, score):
        compile(cell, target, "exec")
    assert "--no-index" in install
    assert f"dfx[{extra}]" in install
    assert 'out="submission.csv"' in score


def test_the_notebook_finds_its_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "datasets" / "me").mkdir(parents=True)
    (tmp_path / "datasets" / "me" / "bundle.json").touch()
    monkeypatch.setenv("DFX_BUNDLE", str(tmp_path))
    names: dict[str, object] = {}
    exec(WHERE, names)
    assert names["BUNDLE"] == tmp_path / "datasets" / "me"


def test_a_notebook_without_its_bundle_says_what_to_attach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFX_BUNDLE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"no bundle\.json below .*: attach the bundle as a data set"):
        exec(WHERE, {})


def test_a_licence_is_found_wherever_a_wheel_keeps_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name in ("a-1.dist-info/licenses/sub/MIT.txt", "a-1.dist-info/COPYING", "a/LICENSE", "a-1.dist-info/WHEEL"):
            archive.writestr(name, "text")
    _licences(tmp_path / "a.whl", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"licenses_sub_MIT.txt", "COPYING"}


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["bundle", "--for", "laptop", "--out", str(tmp_path / "x")])
    assert result.exit_code == 2
    assert "choose one of kaggle-cpu" in result.output


def _wheel(
    folder: Path, name: str, number: str, needs: tuple[str, ...], *, extras: tuple[str, ...] = (), filling: int = 0
) -> Path:
    path, about = folder / f"{name}-{number}-py3-none-any.whl", f"{name}-{number}.dist-info"
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {number}", "License-Expression: MIT"]
    lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {need}" for need in needs]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "#" * filling)
        archive.writestr(f"{about}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/LICENSE", "do as you like")
        archive.writestr(f"{about}/RECORD", "")
    return path
