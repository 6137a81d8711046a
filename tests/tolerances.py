"""Every tolerance that a test allows, with its reason. No other file of the tests holds one."""

from __future__ import annotations

SINGLE_PRECISION = 1e-5
"""Relative: sums of a few thousand float32 values, taken in another order."""

GREY_LEVEL = 1
"""Levels: fixed point against double precision; a value near a half may be rounded either way."""

OPENCV_MEAN = 0.25
"""Levels, mean: OpenCV repeats chroma samples where dfx interpolates, and rounds positions to 1/32 pixel."""

ANTIALIASED = 16
"""Levels of 255: what a box filter that need not span whole periods may leave of a checkerboard of single pixels."""

SUBPIXEL = 0.02
"""Pixels (or levels on a gentle slope): positions are kept in float32 and in steps of 1/1024 pixel."""
