"""Every tolerance that a test allows, with its reason. No other file of the tests holds one."""

from __future__ import annotations

SINGLE_PRECISION = 1e-5
"""Relative: sums of a few thousand float32 values, taken in another order."""
