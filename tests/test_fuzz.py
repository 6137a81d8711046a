"""Damaged files: none may cost more than its own score. `tests/fuzz.py` is the same by the thousand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzz import Report, make_cases, make_seeds, score_folder
from mutate import mutate, mutate_named, mutations_for, walk

import dfx
from dfx.values import Prediction, Reason

REGRESSIONS = sorted((Path(__file__).parent / "regressions").iterdir())
SAID = {Reason.OK, Reason.NO_FACE, Reason.CORRUPT, Reason.UNSUPPORTED, Reason.TOO_LARGE}


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_seeds(tmp_path_factory.mktemp("seeds"))


@pytest.mark.timeout(400)  # a dozen of the cases may take the whole limit on a busy machine
def test_damaged_files_get_their_rows(seeds: list[Path], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_cases(seeds, tmp_path / "in", range(120), seed=0)
    report = Report()
    rows = score_folder(tmp_path / "in", tmp_path / "out.csv", report)
    assert not report.failures
    assert not report.exceptions
    assert {row.reason for row in rows} <= SAID | {Reason.TIMEOUT}
    assert len(set(report.reasons)) >= 4, "the damage is all of a kind"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prediction]:
    """The rows of the files that once went wrong, all from one run."""
    return {row.filename: row for row in dfx.predict_dir(REGRESSIONS, limits=dfx.Limits(seconds=60), progress=False)}


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_a_file_that_once_went_wrong_gets_a_reason(path: Path, kept: dict[str, Prediction]) -> None:
    assert path.stat().st_size < 50_000
    assert kept[path.name].reason in SAID, kept[path.name].detail


def test_sound_seeds_are_sound(seeds: list[Path]) -> None:
    rows = dfx.predict_dir(seeds, progress=False)
    assert {row.reason for row in rows} <= {Reason.OK, Reason.NO_FACE}
    assert rows.reasons["ok"] >= 3


def test_a_seed_of_chance_damages_in_one_way(seeds: list[Path]) -> None:
    other = seeds[0].read_bytes()
    for path in seeds:
        data = path.read_bytes()
        for number in range(20):
            made = mutate(data, np.random.default_rng([1, number]), other)
            assert made == mutate(data, np.random.default_rng([1, number]), other) != data


def test_every_kind_of_damage_is_done(seeds: list[Path]) -> None:
    data, names = seeds[0].read_bytes(), set()
    wanted = {mutation.__name__ for mutation in mutations_for(data, data)}
    for number in range(300):
        names |= set(mutate_named(data, np.random.default_rng(number), data)[0].split("+"))
    assert names >= wanted


@pytest.mark.parametrize("data", [b"", b"\0", b"RIFF", b"\x1a\x45\xdf\xa3", b"\0\0\0\x08moov"])
def test_what_is_hardly_a_file_is_damaged_too(data: bytes) -> None:
    for number in range(50):
        assert mutate(data, np.random.default_rng(number)) != data


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("face.mp4", {b"moov", b"stsz", b"avc1", b"avcC"}),
        ("face.mkv", {b"\x1a\x45\xdf\xa3", b"\xe0", b"\xb0", b"\xa3"}),
        ("face.avi", {b"RIFF", b"LIST", b"strf", b"idx1"}),
    ],
)
def test_structure_is_found(seeds: list[Path], name: str, kinds: set[bytes]) -> None:
    path = next(path for path in seeds if path.name == name)
    spans = walk(path.read_bytes())
    assert {span.kind for span in spans} >= kinds
    assert all(span.start < span.body <= span.end for span in spans)
