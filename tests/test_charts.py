"""Charts: the numbers behind the drawings, and what is drawn of them."""

from __future__ import annotations

import numpy as np
import pytest

from dfx.charts import LONGEST_NAME, bars_chart, histogram, reliability, roc, spread_chart
from dfx.draw import charts_html
from dfx.score import auc


def test_the_roc_curve_has_the_area_of_the_auc() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 200).astype(float), rng.integers(0, 20, 200) / 20
    x, height = np.array(roc(y, p)).T
    assert (np.diff(x) * (height[1:] + height[:-1]) / 2).sum() == pytest.approx(auc(y, p))
    assert roc(np.ones(3), np.ones(3)) == []


def test_charts_count_every_video() -> None:
    p = np.linspace(0, 1, 33)
    assert sum(bar.count for bar in histogram(p.tolist())) == 33
    assert sum(level.count for level in reliability((p > 0.5).astype(float), p)) == 33
    assert [bar.count for bar in histogram([])] == [0] * 20


def test_bars_are_few_short_and_escaped() -> None:
    drawn = bars_chart("Names", [("<b>&\u202e</b>", 1), ("a" * 40, 0.5), *((str(n), 0) for n in range(10))])
    assert (drawn.title, len(drawn.items)) == ("Names (10 of 12)", 10)
    assert [item.share for item in drawn.items[:3]] == [1, 0.5, 0]
    assert len(drawn.items[1].name) == LONGEST_NAME
    html = charts_html([drawn, spread_chart("Durations", "seconds", [2.0]), bars_chart("Nothing", [])])
    assert "<b>" not in html
    assert "\u202e" not in html
    assert "&lt;b&gt;&amp;" in html
