"""Training data in a few files that are small enough to send: what each of them holds, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from dfx.files import replacement


class Weighed(Protocol):
    """What is dealt to parts."""

    @property
    def weight(self) -> int:
        """Bytes in a part, at most."""


Item = TypeVar("Item", bound=Weighed)


def dealt(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in their order, in parts of at most `size` bytes each, or of one item that is larger."""
    part: list[Item] = []
    weight = 0
    for item in items:
        if part and weight + item.weight > size:
            yield part
            part, weight = [], 0
        part.append(item)
        weight += item.weight
    yield part


def write_arrays(path: Path, **arrays: Any) -> None:
    """Writes arrays by name as an uncompressed .npz, whole or not at all. Raises OutputError."""
    with replacement(path) as file:
        np.savez(file.buffer, **arrays)
