"""Whether NVDEC gave a picture for every packet of a file that `dfx.decode.cut` sealed.

DALI gives NVDEC's pictures the times of the packets, in turn, whichever they came from. Where it waits in vain for the
last one, it says nothing and leaves what was in the memory: a picture of another video, perhaps.
"""

from __future__ import annotations

import numpy as np

from dfx.ops.cuda import DeviceArray

SHARES = 4  # of a picture's height, between which lines are compared


def holds(rgb: DeviceArray, first: int, last: int) -> bool:
    """Whether two pictures of uint8 [N, H, W, 3] that should be one and the same are.

    The lines of the last one are spoilt, so that what is left in the memory passes for no other video's.
    """
    ours, theirs = ([line.numpy() for line in _lines(rgb, place)] for place in (first, last))
    for line, seen in zip(_lines(rgb, last), theirs, strict=True):
        line.fill(~seen)
    return np.array_equal(ours, theirs)


def _lines(rgb: DeviceArray, place: int) -> list[DeviceArray]:
    _, height, width, _ = rgb.shape
    picture = rgb.row(place).reshape((height, 3 * width))
    return [picture.row(height * share // SHARES) for share in range(1, SHARES)]
