"""Predicted quality and the share that holds a target: against plain loops, and on labels without a gap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.labelled import calibration, labels
from scipy.stats import beta, binom

from routellm_batch.budget.quality import prediction
from routellm_batch.budget.quality.calibration import Calibration, fit_calibration
from routellm_batch.budget.quality.prediction import (
    STEPS,
    clopper_pearson,
    predict,
    predict_random,
    recover_share,
)


def quality_at(made: Calibration, share: float, counts: np.ndarray | None = None) -> tuple[float, float]:
    """Return mean grade and PGR with the best rows strong, row by row; the last one in part."""
    counts = np.ones(len(made)) if counts is None else counts
    mass = counts * np.array(made.weight)
    left, total, gained = share * mass.sum(), 0.0, 0.0
    for row in np.argsort(-np.array(made.scores), kind="stable"):
        taken = min(mass[row], left)
        left -= taken
        gained += taken * (made.strong[row] - made.weak[row])
        total += mass[row] * (made.strong[row] - made.weak[row])
    weak = float(mass @ np.array(made.weak))
    return (weak + gained) / mass.sum(), gained / total


@pytest.mark.parametrize("weighted", [False, True])
def test_points_agree_with_a_loop(*, weighted: bool) -> None:
    """Mean grade and PGR are those of the pilot's own best rows, by weight."""
    scores, strong, weak = labels(80)
    weight = np.linspace(1, 3, 80) if weighted else None
    made = fit_calibration(scores, strong, weak, weight, seed=0)
    shares = [0.0, 0.123, 0.5, 1.0]
    expected = [quality_at(made, share) for share in shares]
    assert expected == [pytest.approx((q.mean, q.pgr)) for q in predict(made, shares)]


def test_intervals_are_those_of_the_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are quantiles over resampled rows, ranked anew, strong and weak alike; a tenth wider, and one row more."""
    monkeypatch.setattr(prediction, "REPLICATES", 40)
    made = calibration(120)
    random = np.random.default_rng(made.seed)
    drawn = [np.bincount(random.integers(0, 120, 120), minlength=120) for _ in range(40)]
    found = np.sort([quality_at(made, 0.3, count) for count in drawn], axis=0)
    row, own = np.array([1, 1 / made.gap]) / 120, np.array(quality_at(made, 0.3))
    lo = own + 1.1 * (found[int(np.floor(0.05 * 39))] - own) - row
    hi = own + 1.1 * (found[int(np.ceil(0.95 * 39))] - own) + row
    (q,) = predict(made, [0.3])
    assert [*lo, *hi] == pytest.approx([q.lo, q.pgr_lo, q.hi, q.pgr_hi])


def test_few_rows_to_come_widen_the_interval() -> None:
    """As many rows to come as were labelled add as much noise again: √2 times the width."""
    made = calibration(200)
    (endless,), (few,) = predict(made, [0.3]), predict(made, [0.3], rest=200)
    widths = [one.hi - one.lo - 2 / 200 for one in (endless, few)]  # Without the one row more.
    assert widths[1] == pytest.approx(np.sqrt(2) * widths[0])


def test_random_recovers_its_share() -> None:
    """Rows drawn at random recover their share of the gap, for certain; a router on rising gains does better."""
    made = calibration(300)
    chance, routed = predict_random(made, [0.25, 0.5]), predict(made, [0.25, 0.5])
    assert [0.25, 0.5] == pytest.approx([q.pgr for q in chance])
    assert all(r.mean > c.mean for r, c in zip(routed, chance, strict=True))


def test_constant_scores_are_random() -> None:
    """Scores that are all equal predict what chance does."""
    scores, strong, weak = labels(100)
    made = fit_calibration(np.zeros_like(scores), strong, weak, seed=0)
    assert predict(made, [0.4]) == predict_random(made, [0.4])


def test_without_a_gap_there_is_no_pgr() -> None:
    """Where the strong model is not better, quality is predicted and PGR is not."""
    scores, strong, weak = labels(100)
    worse = fit_calibration(scores, weak, strong, seed=0)
    (q,) = predict(worse, [0.5])
    assert (None, None, True) == (q.pgr, q.pgr_lo, q.lo <= q.mean <= q.hi)


def test_an_uncertain_gap_has_no_lower_bound() -> None:
    """With a gap within its noise PGR may be anything."""
    scores = np.linspace(0, 1, 40)
    strong, weak = np.zeros(40), np.zeros(40)
    strong[:2], weak[20] = 1, 1
    (q,) = predict(fit_calibration(scores, strong, weak, seed=0), [0.5])
    assert (None, None, False) == (q.pgr_lo, q.pgr_hi, q.pgr is None)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_shares_lie_between_none_and_all(share: float) -> None:
    """Other shares are refused."""
    with pytest.raises(ValueError, match="a share lies in"):
        predict(calibration(20), [share])


@pytest.mark.parametrize("target", [0.3, 0.8, 0.95, 1.0])
def test_recover_agrees_with_brute_force(target: float) -> None:
    """The share is the last of those tried from all strong downwards whose bound holds, found by a loop."""
    made = calibration(300)
    expected = None
    shares = [step / STEPS for step in range(STEPS, -1, -1)]
    every = predict(made, shares, confidence=0.8)  # Two-sided 80 % ends where one-sided 90 % does.
    for share, q in zip(shares, every, strict=True):
        bound = -1.0 if q.pgr_lo is None else q.pgr_lo
        if bound < target - 1e-9:
            break
        expected = share
    found = recover_share(made, target, 0.9)
    assert expected == pytest.approx(found.share)
    assert found.bound is not None
    assert found.bound >= target - 1e-9


def test_a_bound_that_holds_again_further_down_is_not_taken() -> None:
    """Trying stops at the first share that fails, so a lucky one below does not count."""
    scores = np.linspace(0, 1, 400)
    strong, weak = np.ones(400), np.zeros(400)
    strong[40:200], weak[40:200] = 0, 1  # Strong loses here: with these rows weak PGR is above one.
    made = fit_calibration(scores, strong, weak, seed=0)
    (above,) = predict(made, [0.5])
    found = recover_share(made, 1.0, 0.9)
    assert (True, 1.0) == ((above.pgr_lo or 0) > 1.0, found.share)


def test_more_certainty_costs_more() -> None:
    """A higher target or confidence never asks for less."""
    made = calibration(400)
    shares = [
        recover_share(made, *ask).share or 0 for ask in ((0.7, 0.8), (0.7, 0.95), (0.9, 0.95), (0.95, 0.99))
    ]
    assert sorted(shares) == shares


def test_what_no_cut_can_hold_says_the_best() -> None:
    """Where the gap is uncertain no share is chosen, and the best that can be held is nothing."""
    scores, strong, weak = labels(100)
    worse, unsure = (
        fit_calibration(scores, weak, strong, seed=0),
        fit_calibration(scores, strong, strong, seed=0),
    )
    found = [recover_share(made, 0.5, 0.9) for made in (worse, unsure)]
    assert [(None, 0.0), (None, 0.0)] == [(one.share, one.best) for one in found]
    assert found[0].gap_lo < 0


def test_lost_rows_are_bounded_for_grades_of_0_and_1() -> None:
    """Rows sent weak that only strong got right are counted and bounded; judge's grades have no such rate."""
    made = calibration(300)
    found = recover_share(made, 0.9, 0.9)
    assert found.share is not None
    cut = np.sort(made.scores)[::-1][int(found.share * 300) - 1]
    lost = [s > w for x, s, w in zip(made.scores, made.strong, made.weak, strict=True) if x < cut]
    assert sum(lost) / 300 == pytest.approx(found.lost, abs=1 / 300)
    assert found.lost_hi == pytest.approx(clopper_pearson(round(300 * (found.lost or 0)), 300, 0.9))
    graded = replace(made, strong=tuple(8 * grade + 1 for grade in made.strong))
    assert recover_share(graded, 0.5, 0.9).lost is None


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (1, 300), (37, 500), (9, 10)])
def test_clopper_pearson_is_exact(hits: int, rows: int) -> None:
    """The bound is the beta quantile, at which so few hits have a probability of one in ten."""
    found = clopper_pearson(hits, rows, 0.9)
    assert (pytest.approx(beta.ppf(0.9, hits + 1, rows - hits)), pytest.approx(0.1)) == (
        found,
        binom.cdf(hits, rows, found),
    )


def test_all_lost_is_bounded_by_one() -> None:
    """Where every row was lost the rate may be one."""
    assert clopper_pearson(5, 5, 0.9) == 1.0
