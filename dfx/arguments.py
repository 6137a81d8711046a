"""Arguments: what a caller gave, as plain numbers, or one line on which argument is wrong and what is allowed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from numbers import Real
from types import UnionType
from typing import Any

from dfx.errors import InputError


def whole(name: str, value: Any, least: int, most: int | None = None, note: str = "") -> int:
    """A whole number in a range, as an int; NumPy's will do, and 2e9. note: on the range, for the error."""
    with suppress(TypeError):
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
        if least <= number and (most is None or number <= most):
            return number
    allowed = f"of at least {least}" if most is None else f"from {least} to {most}{note}"
    raise InputError(f"{name} is {value!r}; a whole number (int) {allowed} is needed")


def finite(name: str, value: Any, needed: str, allowed: Callable[[float], bool], shown: Any = None) -> float:
    """A finite number that is allowed, as a float; NumPy's will do.

    needed: in words, what is allowed; shown: what the caller gave, where `value` was made of it.
    """
    with suppress(OverflowError):  # an int beyond every float
        if isinstance(value, Real) and isfinite(value) and allowed(float(value)):
            return float(value)
    raise InputError(f"{name} is {value if shown is None else shown!r}; {needed} is needed")


def check_kind(name: str, value: Any, kind: type | UnionType, needed: str) -> None:
    """Refuses what is of another kind. needed: in words, what is allowed."""
    if not isinstance(value, kind):
        raise InputError(f"{name} is {value!r}; {needed} is needed")
