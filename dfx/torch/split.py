"""Splits labelled videos so that no person, original or file is on both sides, and says so where one is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from dfx.errors import InputError

HELD_OUT = 5  # one part in so many is held out
TRAIN, HELD = "train", "validation"
HELD_WORDS = frozenset({"validation", "val", "valid", "test", "holdout"})  # of the column `split`


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled video, and whatever it may share with another one.

    keys: names of its people, its original and itself, and its hash; split: the side that its labels ask for, or "".
    """

    filename: str
    fake: bool
    keys: frozenset[str]
    split: str = ""


def components(cases: Sequence[Case]) -> NDArray[np.int64]:
    """The number of each video's component: those that share a key, also through others: int [N]."""
    keys = {key: number for number, key in enumerate(sorted({key for case in cases for key in case.keys}))}
    edges = [(row, len(cases) + keys[key]) for row, case in enumerate(cases) for key in case.keys]
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    size = len(cases) + len(keys)
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(cases)], np.int64)


def split(cases: Sequence[Case], seed: int) -> NDArray[np.bool_]:
    """Whether each video is held out, whole components at a time: bool [N].

    The labels' own split is kept where it has both sides; else a fifth is held out, both classes in like shares.

    Raises:
        InputError: the labels' own split has a leak, or there are too few people for both classes on both sides.
    """
    asked = np.array([case.split.lower() in HELD_WORDS for case in cases])
    held = asked if asked.any() and not asked.all() else _dealt(cases, seed)
    check(cases, held)
    return held


def _dealt(cases: Sequence[Case], seed: int) -> NDArray[np.bool_]:
    fake, groups = np.array([case.fake for case in cases], np.bool_), components(cases)
    real, made = (len(set(groups[fake == side].tolist())) for side in (False, True))
    if min(real, made) < 2:
        raise InputError(
            f"of {len(cases)} videos, {int((~fake).sum())} are REAL, of {real} unconnected groups of people, and "
            f"{int(fake.sum())} are FAKE, of {made}; at least 2 groups of each are needed, so that some can be held "
            "out: label more videos, or see to the columns group and original"
        )
    most = min(HELD_OUT, int(fake.sum()), int((~fake).sum()), len(np.unique(groups)))
    for parts in range(most, 1, -1):  # with a few large groups, a fifth may come out without one of the classes
        dealer = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        folds = [np.isin(np.arange(len(cases)), rows) for _, rows in dealer.split(fake, fake, groups)]
        good = [held for held in folds if all(0 < fake[side].sum() < side.sum() for side in (held, ~held))]
        if good:
            return min(good, key=lambda held: abs(held[fake].mean() - 1 / parts) + abs(held[~fake].mean() - 1 / parts))
    raise InputError(f"no split of {len(cases)} videos by people has REAL and FAKE on both sides: more are needed")


def check(cases: Sequence[Case], held: NDArray[np.bool_]) -> None:
    """Raises InputError where a person, an original or a file is on both sides, or a side lacks a class."""
    side = {case.filename: HELD if out else TRAIN for case, out in zip(cases, held.tolist(), strict=True)}
    leaked = leaks({case.filename: case.keys for case in cases}, side)
    if leaked:
        raise InputError(
            f"{len(leaked)} people, originals or files are on both sides of the split, {leaked[0]!r} for one: put all "
            "that share it on one side in the labels' column split, or leave the column out and name another --out"
        )
    fake = np.array([case.fake for case in cases])
    sides = {"held out": fake[held], "to train on": fake[~held]}
    if lacking := [f"no {word} one {name}" for name, own in sides.items() for word in _lacking(own)]:
        raise InputError(
            f"REAL and FAKE videos are needed on both sides of the split, and there is {' and '.join(lacking)}: label "
            "more videos, or see to the labels' column split"
        )


def _lacking(fake: NDArray[np.bool_]) -> list[str]:
    return [word for word, there in (("REAL", not fake.all()), ("FAKE", fake.any())) if not there]


def leaks(keys: Mapping[str, Iterable[str]], side: Mapping[str, str]) -> list[str]:
    """The keys that stand on more than one side. keys: of each video; side: the fold or side of each video."""
    seen: dict[str, set[str]] = {}
    for name, own in keys.items():
        for key in own:
            seen.setdefault(key, set()).add(side[name])
    return sorted(key for key, sides in seen.items() if len(sides) > 1)
