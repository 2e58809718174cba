"""Intervals and paired tests: what they must be by definition, and how often they are right on made data."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from routellm_batch.core.metrics import Ranking, interval, resamples, two_sided_p
from routellm_batch.evaluation import evaluate
from routellm_batch.evaluation.figures import Contender, Measured, compare, measure
from routellm_batch.evaluation.outcomes import Outcomes


def outcomes_of(gain: Any) -> Outcomes:
    """Return outcomes whose weak model is always at 0."""
    rows = len(gain)
    prompts = [f"p{n}" for n in range(rows)]
    strong = np.asarray(gain, dtype=np.float64)
    return Outcomes("made", prompts, prompts, strong, np.zeros(rows), np.arange(rows), rows)


def trial(random: np.random.Generator, noise: tuple[float, ...], rows: int = 300) -> list[Measured]:
    """Measure routers that see the gain through noise of these sizes, on one made set."""
    gain = (random.random(rows) < 0.3).astype(np.float64)
    contenders = [Contender(str(n), [gain + s * random.normal(size=rows)]) for n, s in enumerate(noise)]
    return measure(contenders, outcomes_of(gain), seed=int(random.integers(1 << 30)), replicates=200)


def test_resamples_have_as_many_rows() -> None:
    """Each resample draws as many rows as there are; there are as many resamples as asked for, the same for one seed."""
    found = np.concatenate(list(resamples(50_000, seed=1, replicates=25)))
    assert (25, 50_000) == found.shape
    assert {50_000.0} == set(found.sum(axis=1))
    assert (found == np.concatenate(list(resamples(50_000, seed=1, replicates=25)))).all()


def test_resampled_figures_are_those_of_the_repeated_rows() -> None:
    """A resample's CPT and PGR are those of a table in which its rows are written out."""
    random = np.random.default_rng(3)
    scores, gain = random.integers(0, 9, 40) / 8, random.integers(-1, 3, 40).astype(np.float64)
    counts = next(resamples(40, seed=0, replicates=20))
    curves = Ranking(scores).curves(gain, counts)
    for number, count in enumerate(counts.astype(int)):
        plain = Ranking(np.repeat(scores, count)).curves(np.repeat(gain, count), np.ones((1, 40)))
        for level in (0.2, 0.5, 0.8):
            assert plain.cpt(level)[0] == pytest.approx(curves.cpt(level)[number])
        shares = np.linspace(0, 1, 7)
        assert plain.pgr_at(shares)[0] == pytest.approx(curves.pgr_at(shares)[number])


def test_cpt_at_deciles_is_upstream() -> None:
    """CPT at the deciles is np.interp over RouteLLM's thresholds, in percent."""
    random = np.random.default_rng(5)
    scores, gain = random.random(200), random.integers(0, 2, 200).astype(np.float64)
    _, edges = pd.qcut(pd.Series(scores), 10, retbins=True, duplicates="drop")
    routed = [scores >= edge for edge in edges[:-1]] + [scores > edges[-1]]
    share, quality = (
        [values.mean() for values in parts][::-1] for parts in (routed, [r * gain for r in routed])
    )
    expected = [100 * np.interp(level * gain.mean(), quality, share) for level in (0.2, 0.5, 0.8)]
    curves = Ranking(scores).curves(gain, np.ones((1, 200)))
    assert expected == pytest.approx([curves.cpt_deciles(level)[0] for level in (0.2, 0.5, 0.8)])


def test_interval_leaves_out_what_has_no_gap() -> None:
    """Resamples without a gap are NaN, and an interval is of the others."""
    assert (1.0, 1.0) == interval(np.array([1.0, math.nan, 1.0]))


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([0.1] * 99, 0.02), ([-0.1] * 99, 0.02), ([0.0] * 99, 1.0), ([-1.0, 1.0] * 49 + [1.0], 1.0)],
)
def test_p_by_hand(differences: list[float], expected: float) -> None:
    """All on one side gives 2 / (R + 1), no difference or a balance gives 1."""
    assert expected == pytest.approx(two_sided_p(np.array(differences)))


def test_a_router_does_not_differ_from_itself() -> None:
    """Same scores on the same resamples: difference 0, interval [0, 0], p 1."""
    (one,) = trial(np.random.default_rng(0), (1.0,))
    assert {"difference": 0, "ci": [0, 0], "p": 1} == {
        name: value for name, value in compare([one], [one]).items() if "_full" not in name
    }


def test_comparison_is_antisymmetric() -> None:
    """Turning the two around turns the signs, and keeps p."""
    a, b = trial(np.random.default_rng(1), (0.5, 2.0))
    there, back = compare([a], [b]), compare([b], [a])
    assert there["difference"] == -back["difference"] > 0
    assert there["ci"] == pytest.approx([-end for end in reversed(back["ci"])])
    assert there["p"] == back["p"] < 0.05


def test_pairing_is_narrower_than_two_intervals() -> None:
    """Two routers that see nearly the same differ by less than their own intervals suggest."""
    random = np.random.default_rng(2)
    gain = (random.random(400) < 0.3).astype(np.float64)
    scores = gain + random.normal(size=400)
    twins = [Contender(name, [scores + s * random.normal(size=400)]) for name, s in (("a", 0.0), ("b", 0.05))]
    a, b = measure(twins, outcomes_of(gain), seed=0, replicates=200)
    low, high = compare([a], [b])["ci_full"]
    own_low, own_high = a.figures["apgr_full_ci"]
    assert (high - low) < (own_high - own_low) / 3


def test_no_difference_is_rarely_called_one() -> None:
    """Of 200 pairs of equally good routers about 5 % have p < .05; of pairs that differ much, nearly all."""
    random = np.random.default_rng(4)
    same = [compare([a], [b])["p_full"] for a, b in (trial(random, (1.0, 1.0)) for _ in range(200))]
    apart = [compare([a], [b])["p_full"] for a, b in (trial(random, (0.5, 3.0)) for _ in range(20))]
    assert np.mean(np.array(same) < 0.05) <= 0.10
    assert np.mean(np.array(apart) < 0.05) >= 0.95


def test_intervals_hold_the_truth() -> None:
    """Of 200 made sets about 95 % have an interval of APGR around that of a million rows."""
    random = np.random.default_rng(6)
    gain = (random.random(1_000_000) < 0.3).astype(np.float64)
    truth = Ranking(gain + random.normal(size=len(gain))).apgr_full(gain)
    ends = [trial(random, (1.0,))[0].figures["apgr_full_ci"] for _ in range(200)]
    assert 0.90 <= np.mean([low <= truth <= high for low, high in ends]) <= 0.99


@pytest.mark.shared
def test_evaluation_gives_the_published_ground_truth(shared: Callable[[str], Path]) -> None:
    """One command gives RouteLLM's pair values, and the figures of length and an oracle on them."""
    names = ("mtbench", "mmlu", "gsm8k")
    files = [str(shared(f"data/outcomes_{name}_gpt4-1106_vs_mixtral.parquet")) for name in names]
    mtbench, mmlu, gsm8k = evaluate(files, ["length"], replicates=2)["results"]
    pairs = [(one["n"], round(one["weak"], 5), round(one["strong"], 5)) for one in (mtbench, mmlu, gsm8k)]
    assert [(72, 8.28125, 9.21181), (14_037, 0.68091, 0.80587), (1_307, 0.63734, 0.85769)] == pairs
    assert [0.556, 0.584, 0.599] == [round(one["apgr"], 3) for one in (mtbench, mmlu, gsm8k)]
    best = [one["baselines"]["oracle"] for one in (mtbench, mmlu, gsm8k)]
    assert [(8.3, 18.1), (6.2, 10.0), (11.0, 17.7)] == [
        (round(one["cpt50"], 1), round(one["cpt80"], 1)) for one in best
    ]
