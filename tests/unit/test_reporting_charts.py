"""Inline SVG and its axes."""

from __future__ import annotations

import pytest

from routellm_batch.budget.spend.summary import latency_bin
from routellm_batch.reporting.charts import svg
from routellm_batch.reporting.charts.run import _score_bars, latency_chart, latency_span, score_chart


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, [0.0]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 58, [0, 20, 40]),
        (0, 5e6, [0, 1e6, 2e6, 3e6, 4e6, 5e6]),
        (0.533, 0.7, [0.55, 0.6, 0.65, 0.7]),
    ],
)
def test_axis_steps(low: float, high: float, expected: list[float]) -> None:
    """The marks of an axis are round, few and within it."""
    assert svg.round_steps(low, high) == pytest.approx(expected)


def test_text_and_attributes_are_escaped() -> None:
    """Nothing that is put into an element can become markup."""
    made = svg.tag("text", "<b>&", class_='"x"', stroke_width=1.5)
    assert made == '<text class="&#34;x&#34;" stroke-width="1.5">&lt;b&gt;&amp;</text>'


def test_elements_nest_unescaped() -> None:
    """An element inside another one stays an element."""
    assert svg.tag("g", svg.tag("text", "a")) == "<g><text>a</text></g>"


def test_charts_are_described() -> None:
    """A chart says in words what it shows."""
    chart = score_chart([1, 3], 0.5)
    assert 'role="img"' in chart
    assert "Rows by score, from 0 to 1; the cut is at 0.5000; the highest bar is 3 rows." in chart


def test_scores_fill_the_chart() -> None:
    """Scores that lie close together are drawn over their own range, in at most 60 bars that lose no row."""
    histogram = [0] * 500 + [7] * 200 + [0] * 300
    bars = _score_bars(histogram)
    assert (bars[0][0], len(bars) <= 60, sum(height for _, _, height in bars)) == (0.499, True, 1400)
    assert bars[-1][1] < 0.71


@pytest.mark.parametrize(("histogram", "threshold"), [([0, 0], None), ([5], 0.0), ([0, 0, 9], 0.0)])
def test_odd_score_charts(histogram: list[int], threshold: float | None) -> None:
    """No rows, one step, and a cut below every score are drawn without a line outside the plot."""
    assert "inf" not in score_chart(histogram, threshold)


@pytest.mark.parametrize("latencies", [(0.2,), (0.0005, 900.0), (0.9, 1.1), (1e-6,)])
def test_latency_axis_has_ticks(latencies: tuple[float, ...]) -> None:
    """However wide or narrow the latencies lie, their axis has one to eight labels."""
    bins = {latency_bin(value): 1 for value in latencies}
    chart = latency_chart(bins, latency_span([bins]), "strong", latencies[0], axis=True)
    assert 1 <= chart.count("<text") <= 8
