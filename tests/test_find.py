"""Which files become rows, under which names, in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dfx.errors import InputError, MissingInputError
from dfx.find import find


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "videos"
    (home / "part").mkdir(parents=True)
    for name in ("b.mp4", "a.MOV", "part/c.mkv", "notes.txt", "with space, 'quotes' \"too\".mp4", "größe.webm"):
        (home / name).touch()
    return home


def test_a_folder_is_searched_to_the_bottom_and_sorted(folder: Path) -> None:
    names = [item.filename for item in find(folder)]
    assert names == ["a.MOV", "b.mp4", "größe.webm", "part/c.mkv", "with space, 'quotes' \"too\".mp4"]
    assert all(item.path == folder / item.filename for item in find(folder))


def test_files_globs_and_lists(folder: Path) -> None:
    assert [item.filename for item in find(folder / "notes.txt")] == ["notes.txt"]
    assert [item.filename for item in find(str(folder / "*.mp4"))] == ["b.mp4", "with space, 'quotes' \"too\".mp4"]
    assert [item.filename for item in find([folder / "part", folder / "b.mp4"])] == ["b.mp4", "c.mkv"]


def test_anything_that_names_paths_will_do(folder: Path) -> None:
    class Place:
        def __fspath__(self) -> str:
            return str(folder)

    assert find(Place()) == find(folder)  # type: ignore[arg-type]
    assert find(path for path in [folder / "b.mp4"]) == find(folder / "b.mp4")  # type: ignore[arg-type]
    with pytest.raises(MissingInputError, match="no video in an empty list"):
        find([])


def test_names_that_are_no_text_survive(folder: Path) -> None:
    raw = os.fsdecode(b"bad-\xff.mp4")
    (folder / raw).touch()
    assert raw in [item.filename for item in find(folder)]


def test_links_out_of_the_folder_are_left_alone_unless_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.mp4").touch()
    (folder / "out.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "in.mp4").symlink_to(folder / "b.mp4")
    names = {item.filename for item in find(folder)}
    assert "in.mp4" in names
    assert "out.mp4" not in names
    assert f"1 link leads out of {folder}, and what is there is left out" in capsys.readouterr().err
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.mp4").touch()
    (folder / "part" / "linked").symlink_to(tmp_path / "elsewhere")
    find(folder)
    assert f"2 links lead out of {folder}" in capsys.readouterr().err
    assert {"out.mp4", "part/linked/more.mp4"} <= {item.filename for item in find(folder, follow_symlinks=True)}
    assert capsys.readouterr().err == ""


def test_a_sample_submission_fixes_rows_and_order(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = tmp_path / "sample.csv"
    sample.write_text("filename,label\nb.mp4,0.5\ngone.mp4,0.5\na.MOV,0.5\n")
    found = find(folder, sample_submission=sample)
    assert [(item.filename, item.path is None) for item in found] == [
        ("b.mp4", False),
        ("gone.mp4", True),
        ("a.MOV", False),
    ]
    rows, videos = capsys.readouterr().err.splitlines()
    assert rows == f"1 of the 3 videos of {sample} are not in the other, 'gone.mp4' for one"
    assert videos.startswith("3 of the 5 videos of the source are not in the other, '")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("name,label\na,1\n", InputError),
        ("filename,label\nb.mp4,1\nb.mp4,1\n", InputError),
        ("filename,label\n,1\n", InputError),
        ("filename,label\n", InputError),
        ("label,filename\n1,b.mp4\n1\n", InputError),
        (None, MissingInputError),
    ],
)
def test_an_odd_sample_submission_is_refused(folder: Path, tmp_path: Path, content: str | None, error: type) -> None:
    sample = tmp_path / "sample.csv"
    if content:
        sample.write_text(content)
    with pytest.raises(error, match=r"sample\.csv"):
        find(folder, sample_submission=sample)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        find(tmp_path / "nowhere")
    with pytest.raises(MissingInputError, match=r"no video in .*\.mp4"):
        find(tmp_path)


def test_two_videos_of_one_name_are_refused(folder: Path) -> None:
    (folder / "part" / "b.mp4").touch()
    with pytest.raises(InputError, match=r"'b\.mp4'"):
        find([folder / "b.mp4", folder / "part" / "b.mp4"])


def test_nor_does_one_of_them_win_where_a_sample_submission_names_it(folder: Path, tmp_path: Path) -> None:
    (folder / "part" / "b.mp4").touch()
    sample = tmp_path / "sample.csv"
    sample.write_text("filename\nb.mp4\n")
    with pytest.raises(InputError, match=r"'b\.mp4' for one; score the folders apart"):
        find([folder / "b.mp4", folder / "part" / "b.mp4"], sample_submission=sample)
    sample.write_text("filename\na.MOV\n")
    both = [folder / "b.mp4", folder / "part" / "b.mp4", folder / "a.MOV"]
    assert [item.path for item in find(both, sample_submission=sample)] == [folder / "a.MOV"]


def test_links_that_lead_round_are_not_followed(folder: Path) -> None:
    """Others are, two to one folder as well: a sample submission may name either."""
    (folder / "part" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "part" / "here").symlink_to(folder / "part", target_is_directory=True)
    for name in ("monday", "tuesday"):
        (folder / name).symlink_to(folder / "part", target_is_directory=True)
    names = [item.filename for item in find(folder, follow_symlinks=True)]
    assert [name for name in names if name.endswith("c.mkv")] == ["monday/c.mkv", "part/c.mkv", "tuesday/c.mkv"]
    assert len(names) == 4 + 3


@pytest.mark.parametrize("named", ["b.mp4", "gone.mp4", "[bg]*.mp4"])
def test_a_link_that_leads_nowhere_is_a_row(folder: Path, named: str) -> None:
    (folder / "gone.mp4").symlink_to(folder / "nowhere.mp4")
    names = ["b.mp4", "gone.mp4"] if "*" in named else [named]
    assert [(item.filename, item.path) for item in find(folder / named)] == [(name, folder / name) for name in names]
