"""PGR, APGR and CPT against hand-made cases, upstream's own arithmetic, and the published ground truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import Ranking, apgr_interval, pgr


def upstream(scores: Floats, strong: Floats, weak: Floats) -> float:
    """APGR by the steps of RouteLLM's evaluate.py (with numpy's newer name of trapz)."""
    series = pd.Series(scores)
    _, edges = pd.qcut(series, 10, retbins=True, duplicates="drop")
    share, accuracy = [], []
    for number, edge in enumerate(edges):
        routed = series >= edge if number != len(edges) - 1 else series > edge
        share.append(routed.mean())
        accuracy.append(np.where(routed, strong, weak).mean())
    area = np.trapezoid(accuracy[::-1], share[::-1])
    return float((area - weak.mean()) / (strong.mean() - weak.mean()))


def test_pgr_of_a_quality() -> None:
    """PGR is 0 at weak, 1 at strong, linear between, and NaN without a gap."""
    assert [pgr(q, strong=0.8, weak=0.6) for q in (0.6, 0.7, 0.8)] == pytest.approx([0, 0.5, 1])
    assert math.isnan(pgr(0.7, strong=0.6, weak=0.6))


def test_curve_by_hand() -> None:
    """Rows go strong by falling score; rows of one score go together."""
    rows, gained = Ranking(np.array([0.1, 0.9, 0.5, 0.5])).curve(np.array([0.0, 1.0, -1.0, 1.0]))
    assert (rows.tolist(), gained.tolist()) == ([0, 1, 3, 4], [0, 1, 1, 1])


def test_full_apgr_by_hand() -> None:
    """One gain among four rows, found first, second, … gives 7/8, 5/8, 3/8, 1/8."""
    gain = np.array([1.0, 0, 0, 0])
    found = [Ranking(np.roll([4.0, 3, 2, 1], -shift)).apgr_full(gain) for shift in range(4)]
    assert found == pytest.approx([7 / 8, 5 / 8, 3 / 8, 1 / 8])


def test_equal_scores_are_worth_one_half() -> None:
    """A router that gives every prompt one score has an APGR of .5, by either definition."""
    gain = np.array([1.0, 0, -1, 1, 1])
    ranking = Ranking(np.full(5, 0.3))
    assert [ranking.apgr_full(gain), ranking.apgr_deciles(gain)] == [0.5, 0.5]


def test_cpt_by_hand() -> None:
    """CPT is the least share of whole rows that recovers the level."""
    gain = np.array([1.0, 1, 0, 1, 1, 0, 0, 1, 0, 0])
    ranking = Ranking(-np.arange(10.0))
    assert [ranking.cpt(gain, level) for level in (0.2, 0.5, 0.8, 1.0)] == [10, 40, 50, 80]


def test_cpt_within_equal_scores() -> None:
    """Within rows of one score the expected gain counts: half of it needs half the rows."""
    assert Ranking(np.zeros(10)).cpt(np.ones(10), 0.5) == 50
    assert Ranking(np.zeros(10)).cpt(np.ones(10), 0.45) == 50


def test_cpt_of_a_decimal_level_is_not_off_by_a_row() -> None:
    """Rounding in the sums does not cost one row more: 80 % of ten equal gains are eight rows."""
    assert Ranking(-np.arange(10.0)).cpt(np.full(10, 0.1), 0.8) == 80


@pytest.mark.parametrize("gain", [[0.0, 0.0], [1.0, -1.0], [-1.0, -1.0]])
def test_no_gap_is_nan(gain: list[float]) -> None:
    """Where strong is not better than weak there is nothing to recover."""
    ranking = Ranking(np.array([0.2, 0.1]))
    gains = np.array(gain)
    found = [ranking.apgr_full(gains), ranking.apgr_deciles(gains), ranking.cpt(gains, 0.5)]
    assert all(math.isnan(value) for value in found)


def test_interval_without_a_gap_is_nan() -> None:
    """An interval of nothing is NaN at both ends."""
    found = apgr_interval([Ranking(np.array([0.2, 0.1]))], np.zeros(2), seed=0, replicates=20)
    assert all(math.isnan(end) for end in found)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.125, 0.3, 0.31, 0.5, 0.75, 1.0]), st.booleans(), st.booleans()),
        min_size=12,
        max_size=60,
    )
)
@example(
    [(0.0, False, False)] * 9 + [(0.3, False, False)] + [(0.31, False, False)] * 5 + [(0.31, True, False)]
)
def test_deciles_equal_upstream(rows: list[tuple[float, bool, bool]]) -> None:
    """With any ties, APGR at the deciles is upstream's to rounding."""
    scores, strong, weak = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if strong.mean() <= weak.mean() or len(np.unique(np.quantile(scores, np.linspace(0, 1, 11)))) < 2:
        return
    found = Ranking(scores).apgr_deciles(strong - weak)
    assert found == pytest.approx(upstream(scores, strong, weak), abs=1e-9)


@given(st.integers(0, 10_000))
def test_counts_equal_repeats(seed: int) -> None:
    """A row that counts three times is the same as that row three times."""
    random = np.random.default_rng(seed)
    scores, gain = random.integers(0, 8, 30) / 8, random.integers(-1, 2, 30).astype(np.float64)
    count = random.integers(0, 4, 30).astype(np.float64)
    times = count.astype(int)
    repeated, gains = np.repeat(scores, times), np.repeat(gain, times)
    if not gains.sum() > 0:
        return
    weighted, plain = Ranking(scores), Ranking(repeated)
    assert weighted.apgr_full(gain, count) == pytest.approx(plain.apgr_full(gains))
    assert weighted.apgr_deciles(gain, count) == pytest.approx(plain.apgr_deciles(gains))


def test_interval_holds_the_figure_and_is_seeded() -> None:
    """A 95 % interval is around the figure, the same for one seed, and narrower with more rows."""
    random = np.random.default_rng(0)
    gain = random.integers(-1, 3, 4_000).clip(0, 1).astype(np.float64)
    scores = gain + random.normal(size=4_000)

    def interval(rows: int, seed: int) -> tuple[float, float]:
        return apgr_interval([Ranking(scores[:rows])], gain[:rows], seed=seed, replicates=200)

    few, many = interval(200, 0), interval(4_000, 0)
    assert few == interval(200, 0)
    assert few != interval(200, 1)
    assert few[0] < Ranking(scores[:200]).apgr_deciles(gain[:200]) < few[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 3


GROUND_TRUTH = [
    ("mmlu_gpt4-1106_vs_mixtral", 14_037, 0.680914725368668, 0.805870200185224, 0.584, (6.2, 10.0)),
    ("gsm8k_gpt4-1106_vs_mixtral", 1_307, 0.637337413925019, 0.857689364957918, 0.599, (11.0, 17.7)),
    ("mtbench_gpt4-1106_vs_mixtral", 72, 8.28125, 9.211805555555555, 0.556, (8.3, 18.1)),
]
"""File, rows, weak and strong means, APGR of prompt length by RouteLLM's own code, oracle CPT50 and CPT80."""


@pytest.mark.shared
@pytest.mark.parametrize(("name", "n", "weak", "strong", "length", "oracle"), GROUND_TRUTH)
def test_ground_truth(
    shared: Callable[[str], Path],
    name: str,
    n: int,
    weak: float,
    strong: float,
    length: float,
    oracle: tuple[float, float],
) -> None:
    """RouteLLM's evaluation sets give RouteLLM's numbers."""
    data = pd.read_parquet(shared(f"data/outcomes_{name}.parquet"))
    data = data[~data["contaminated"]]
    s, w = data["strong_score"].to_numpy(np.float64), data["weak_score"].to_numpy(np.float64)
    chars = data["prompt"].str.len().to_numpy(np.float64)
    assert (len(data), round(w.mean(), 12), round(s.mean(), 12)) == (n, round(weak, 12), round(strong, 12))
    found = Ranking(chars).apgr_deciles(s - w)
    assert round(found, 3) == length
    assert found == pytest.approx(upstream(chars, s, w), abs=1e-12)
    best = Ranking(s - w)
    assert (round(best.cpt(s - w, 0.5), 1), round(best.cpt(s - w, 0.8), 1)) == oracle


@pytest.mark.shared
def test_oracle_on_mt_bench(shared: Callable[[str], Path]) -> None:
    """An oracle has a full-curve APGR of .964 on MT-Bench, as published for this data."""
    data = pd.read_parquet(shared("data/outcomes_mtbench_gpt4-1106_vs_mixtral.parquet"))
    data = data[~data["contaminated"]]
    gain = (data["strong_score"] - data["weak_score"]).to_numpy(np.float64)
    assert round(Ranking(gain).apgr_full(gain), 3) == 0.964
