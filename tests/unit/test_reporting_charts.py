"""Inline SVG and its axes."""

from __future__ import annotations

import pytest

from routellm_batch.reporting import svg
from routellm_batch.reporting.charts import latency_chart, latency_span, score_chart
from routellm_batch.summary import latency_bin


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (0, [0.0]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (58, [0, 20, 40]),
        (636, [0, 200, 400, 600]),
        (5e6, [0, 1e6, 2e6, 3e6, 4e6, 5e6]),
    ],
)
def test_ticks(top: float, expected: list[float]) -> None:
    """Ticks are round, few and never above the top."""
    assert svg.ticks_to(top) == pytest.approx(expected)


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
    assert (
        "Rows by score, 2 equal steps from 0 to 1; the cut is at 0.5000; the fullest step has 3 rows."
        in chart
    )


@pytest.mark.parametrize("latencies", [(0.2,), (0.0005, 900.0), (0.9, 1.1), (1e-6,)])
def test_latency_axis_has_ticks(latencies: tuple[float, ...]) -> None:
    """However wide or narrow the latencies lie, their axis has one to eight labels."""
    bins = {latency_bin(value): 1 for value in latencies}
    chart = latency_chart(bins, latency_span([bins]), "strong", latencies[0], axis=True)
    assert 1 <= chart.count("<text") <= 8
