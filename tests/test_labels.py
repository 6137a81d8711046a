"""Labels: which rows the original that a label names may be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dfx.errors import InputError
from dfx.labels import Entry, missing_originals, originals_of, read_entries


def entries(reals: str, fakes: Mapping[str, str]) -> dict[str, Entry]:
    """reals: names of REAL videos; fakes: what each FAKE one says that its original is."""
    rows = {name: Entry("FAKE", original=original) for name, original in fakes.items()}
    return rows | {name: Entry("REAL") for name in reals.split()}


@pytest.mark.parametrize(
    ("reals", "fake", "original", "rows"),
    [
        ("real/0.mp4 real/1.mp4", "fake/0_swap.mp4", "real/0.mp4", {"real/0.mp4"}),
        ("real/0.mp4 real/1.mp4", "fake/0_swap.mp4", "../real/0.mp4", {"real/0.mp4"}),
        ("real/0.mp4 real/1.mp4", "fake/0_swap.mp4", "./real/0.mp4", {"real/0.mp4"}),
        ("real/0.mp4 real/1.mp4", "fake/0_swap.mp4", "0.mp4", {"real/0.mp4"}),
        ("part_0/real/0.mp4 part_1/real/0.mp4", "part_0/fake/0_swap.mp4", "real/0.mp4", {"part_0/real/0.mp4"}),
        ("part_0/a.mp4 part_1/b.mp4", "part_0/c.mp4", "a.mp4", {"part_0/a.mp4"}),
        ("ann/real.mp4 bob/real.mp4", "ann/fake.mp4", "real.mp4", {"ann/real.mp4"}),
        ("real/0.mp4 fake/real/0.mp4", "fake/0_swap.mp4", "real/0.mp4", {"real/0.mp4", "fake/real/0.mp4"}),
        ("ann/real.mp4 bob/real.mp4", "fakes/1.mp4", "real.mp4", {"ann/real.mp4", "bob/real.mp4"}),
    ],
)
def test_an_original_is_found_where_people_mean_it(reals: str, fake: str, original: str, rows: set[str]) -> None:
    named = entries(reals, {fake: original})
    assert set(originals_of(named)[fake]) == rows
    assert not missing_originals(named)


def test_a_fake_beside_is_not_taken_for_the_original_of_that_name() -> None:
    named = entries("real/0.mp4 real/1.mp4", {"fake/0.mp4": "0.mp4", "fake/1.mp4": "0.mp4"})
    assert all("real/0.mp4" in rows for rows in originals_of(named).values())


def test_an_original_that_is_no_row_is_counted_and_still_shared() -> None:
    named = entries("real/1.mp4", {"a/x.mp4": "real/0.mp4", "b/y.mp4": "real/0.mp4", "0.mp4": "0.mp4"})
    assert missing_originals(named) == {"real/0.mp4": 2, "0.mp4": 1}
    assert set(originals_of(named)["a/x.mp4"]) & set(originals_of(named)["b/y.mp4"])
    assert originals_of(named)["a/x.mp4"][0] == "a/real/0.mp4", "the nearest place comes first"


def test_a_real_video_that_names_itself_is_joined_to_nobody() -> None:
    named = {name: Entry("REAL", original="real.mp4") for name in ("ann/real.mp4", "bob/real.mp4")}
    assert originals_of(named) == {name: (name,) for name in named}
    assert not missing_originals(named)


@pytest.mark.parametrize(
    "text", ["FILENAME,LABEL\na.mp4,REAL\n", "filename;label\na.mp4;REAL\n", "", "filename\na.mp4\n"]
)
def test_a_header_that_lacks_a_column_is_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=r"labels\.csv: its header is .*; columns 'filename' and 'label' are needed"):
        read_entries(tmp_path / "labels.csv")


def test_what_is_no_label_may_differ(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("filename,label,face\na.mp4,FAKE,1\na.mp4,FAKE,2\n")
    assert read_entries(tmp_path / "labels.csv") == {"a.mp4": Entry("FAKE")}


def test_a_video_is_one_thing(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,REAL\nb.mp4,FAKE\na.mp4,REAL\n")
    assert read_entries(tmp_path / "labels.csv") == {"a.mp4": Entry("REAL"), "b.mp4": Entry("FAKE")}
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,REAL\nb.mp4,FAKE\na.mp4,FAKE\n")
    with pytest.raises(InputError, match=r"'a\.mp4' stands there twice, in other words: remove one"):
        read_entries(tmp_path / "labels.csv")


def test_a_label_that_is_none_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,REAL\nb.mp4,MAYBE\n")
    with pytest.raises(InputError, match=r"labels\.csv: the label of 'b\.mp4' is 'MAYBE'; REAL or FAKE, or 0 or 1"):
        read_entries(tmp_path / "labels.csv")


def test_a_video_without_a_label_is_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text('{"a.mp4": {"label": "REAL"}, "b.mp4": {"split": "train"}}')
    with pytest.raises(InputError, match=r"'b\.mp4' has no label; REAL or FAKE is needed"):
        read_entries(tmp_path / "metadata.json")


@pytest.mark.parametrize("text", ["[" * 100_000, "[1, 2]", '{"a.mp4": 1}', "nonsense"])
def test_what_is_no_metadata_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(InputError, match=r"neither the challenge's metadata\.json"):
        read_entries(tmp_path / "metadata.json")


def test_a_row_that_is_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("label,filename\nFAKE,a.mp4\nREAL\n")
    with pytest.raises(InputError, match=r"the row \['REAL', None\] is cut short; it needs a 'filename'"):
        read_entries(tmp_path / "l.csv")
