"""Interlaced pictures: two fields, taken one after the other, whose lines are woven into one picture.

Where something moves, woven lines stand out like the teeth of a comb, which a classifier takes for a manipulation
(`benchmarks/interlaced.py` measures it). FFmpeg's own filter for single pictures, estdif, is no help: what it draws
between the lines moved scores as much as the combs did.
"""

from __future__ import annotations

import numpy as np

from dfx.values import Samples

# Many a file says that it is interlaced and is not: of 75 videos encoded so, 4 % of the pictures have as many teeth as
# this, and 54 % of those that were woven. Scores are as near to those of one moment as where all are taken apart.
COMBED = 0.01  # share of the samples
LEAST = 4  # levels of 8 bits by which a tooth stands out


def is_combed(luma: Samples, depth: int) -> bool:
    """Whether a picture [rows, columns] shows two moments: lines of one field stand out from both of the other's
    beside them, by more than those differ from each other."""
    pairs = (luma.shape[0] - 1) // 2
    above, line, below = (luma[first : first + 2 * pairs : 2].astype(np.int16) for first in (0, 1, 2))
    low, high = np.minimum(above, below), np.maximum(above, below)
    teeth = np.maximum(line - high, low - line) > high - low + (LEAST << (depth - 8))
    return bool(teeth.size) and float(teeth.mean()) > COMBED


def one_field(plane: Samples) -> Samples:
    """The plane [rows, columns], of 12 bits at most: the upper field, with means of its lines in the lower's place."""
    made, between = plane.copy(), len(plane[2::2])
    sums = plane[: 2 * between : 2].astype(np.uint16) + plane[2::2] + 1
    made[1 : 2 * between : 2] = sums >> 1
    if len(plane) % 2 == 0:
        made[-1] = plane[-2]
    return made
