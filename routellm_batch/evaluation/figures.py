"""The figures of rankings on one set of outcomes, with the bootstrap behind their intervals and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.core.arrays import Floats
from routellm_batch.core.metrics import REPLICATES, Curves, Ranking, interval, resamples, two_sided_p
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.dollars import Costs, Spending
from routellm_batch.evaluation.outcomes import Outcomes
from routellm_batch.routers import make_router

RANDOM_DRAWS = 10
"""Draws of the random router; RouteLLM averages over as many."""
LEVELS = (20, 50, 80)
"""The CPTs, each by its percentage of the gap."""
SHARES = np.arange(10, 100, 10)
"""Percentages of strong calls at which PGR is reported."""
RESAMPLED: Mapping[str, Callable[[Curves], Floats]] = {
    "apgr": Curves.apgr_deciles,
    "apgr_full": Curves.apgr_full,
    **{f"cpt{level}": partial(Curves.cpt, level=level / 100) for level in LEVELS},
}
"""Figures with an interval → how to compute them from curves."""
COMPARED = {"apgr": "", "apgr_full": "_full"}
"""Figures by which routers are compared → ending of the keys of the comparison."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """A router, or a baseline."""

    name: str
    """Its name in the table."""
    scores: Sequence[NDArray[np.floating]]
    """[N] scores, once for a router; of a random one several draws, over which figures are averaged."""
    spending: Spending | None = None
    """What its rows cost; None where that is unknown."""


def routed(name: str, scores: Sequence[NDArray[np.floating]], outcomes: Outcomes) -> Contender:
    """Return a contender that looks at prompts alone: a router or a baseline."""
    spending = None if outcomes.costs is None else Spending.routed(outcomes.costs)
    return Contender(name, scores, spending)


@dataclass(frozen=True, slots=True, eq=False)
class CurvePoints:
    """What a ranking reaches at each of K strong shares."""

    share: Floats
    """[K], strong share from 0 to 1."""
    quality: Floats
    """[K], mean quality in the unit of the grades."""
    pgr: Floats
    """[K], part of the gap that is recovered."""
    pgr_lo: Floats
    """[K], lower end of its 95 % interval."""
    pgr_hi: Floats
    """[K], upper end of it."""
    nano: NDArray[np.int64] | None
    """[K], nano-dollars for all rows; None where costs are unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One contender's figures."""

    figures: dict[str, Any]
    """Plain data, with the keys of docs/evaluate.md."""
    resampled: Mapping[str, Floats]
    """Figure → [R], its value in each resample."""
    curve: CurvePoints | None
    """The curve, where it was asked for."""
    constant: bool
    """Whether all prompts have the same score."""


def measure(
    contenders: Sequence[Contender],
    outcomes: Outcomes,
    *,
    seed: int,
    replicates: int = REPLICATES,
    shares: Floats | None = None,
) -> list[Measured]:
    """Return the figures of every contender, on the same rows and the same resamples of them.

    Args:
        contenders: the routers and baselines.
        outcomes: N prompts.
        seed: seed of the bootstrap.
        replicates: number of resamples.
        shares: [K], strong shares of the curves; None for no curves.

    """
    ranked = [[Ranking(scores) for scores in contender.scores] for contender in contenders]
    samples: list[dict[str, list[Floats]]] = [{name: [] for name in (*RESAMPLED, "pgr")} for _ in contenders]
    for counts in resamples(outcomes.of, seed=seed, replicates=replicates):
        mine = counts[:, outcomes.rows]
        for draws, parts in zip(ranked, samples, strict=True):
            curves = [ranking.curves(outcomes.gain, mine) for ranking in draws]
            for name, figure in RESAMPLED.items():
                parts[name].append(np.mean([figure(c) for c in curves], axis=0))
            if shares is not None:
                parts["pgr"].append(np.mean([c.pgr_at(shares) for c in curves], axis=0))
    measured: list[Measured] = []
    for contender, draws, parts in zip(contenders, ranked, samples, strict=True):
        resampled = {name: np.concatenate(parts[name]) for name in RESAMPLED}
        curve = (
            None
            if shares is None
            else _curve(contender, draws, outcomes, shares, np.concatenate(parts["pgr"]))
        )
        figures = _figures(contender, draws, outcomes, resampled)
        constant_scores = all(np.ptp(scores) == 0 for scores in contender.scores)
        measured.append(Measured(figures, resampled, curve, constant_scores))
    return measured


def random_scores(outcomes: Outcomes, seed: int) -> list[NDArray[np.floating]]:
    """Return the scores of several random routers, [N] each."""
    draws = [make_router("random", seed=seed + draw) for draw in range(RANDOM_DRAWS)]
    return [router.score(outcomes.batch) for router in draws]


def _points(draws: Sequence[Ranking], gain: Floats) -> list[Curves]:
    return [ranking.curves(gain, np.ones((1, len(gain)))) for ranking in draws]


def _figures(
    contender: Contender, draws: Sequence[Ranking], outcomes: Outcomes, resampled: Mapping[str, Floats]
) -> dict[str, Any]:
    curves = _points(draws, outcomes.gain)

    def mean(figure: Callable[[Curves], Floats]) -> Floats:
        average: Floats = np.mean([figure(one)[0] for one in curves], axis=0)
        return average

    point = {figure: float(mean(compute)) for figure, compute in RESAMPLED.items()}
    ends = {f"{figure}_ci": list(interval(resampled[figure])) for figure in RESAMPLED}
    figures = {
        "router": contender.name,
        "n": len(outcomes),
        WEAK: float(outcomes.weak.mean()),
        STRONG: float(outcomes.strong.mean()),
        "apgr": point["apgr"],
        "apgr_full": point["apgr_full"],
        "apgr_ci": ends["apgr_ci"],
        "cpt50": point["cpt50"],
        "cpt80": point["cpt80"],
        "cpt20": point["cpt20"],
        **{name: pair for name, pair in ends.items() if name != "apgr_ci"},
        "cpt_deciles": {
            f"cpt{level}": float(mean(partial(Curves.cpt_deciles, level=level / 100))) for level in LEVELS
        },
        "pgr_at": dict(
            zip(map(str, SHARES), mean(partial(Curves.pgr_at, shares=SHARES / 100)).tolist(), strict=True)
        ),
        "quality_at": dict(
            zip(
                map(str, SHARES),
                (outcomes.weak.mean() + mean(partial(Curves.mean_at, shares=SHARES / 100))).tolist(),
                strict=True,
            )
        ),
    }
    if outcomes.costs is not None and contender.spending is not None:
        figures["dollars"] = _dollars(draws, curves, outcomes.costs, contender.spending, point)
    return figures


def _dollars(
    draws: Sequence[Ranking],
    curves: Sequence[Curves],
    costs: Costs,
    spending: Spending,
    point: Mapping[str, float],
) -> dict[str, Any]:
    """Return what all rows cost at each CPT, and the mean PGR over the dollars between all weak and all strong."""
    weak, strong = int(costs.weak.sum()), int(costs.strong.sum())
    added = [curve.gained[0] for curve in _points(draws, spending.added.astype(np.float64))]  # [U + 1] each
    pairs = list(zip(curves, added, strict=True))
    areas = [pgr_by_dollar(curve.gained[0], spending.start + dear, (weak, strong)) for curve, dear in pairs]

    def at(percent: float) -> Decimal | None:
        if not np.isfinite(percent):
            return None
        spent = [np.interp(percent / 100 * curve.rows[0, -1], curve.rows[0], dear) for curve, dear in pairs]
        return nano_to_usd(spending.start + round(float(np.mean(spent))))

    return {
        "all_weak": nano_to_usd(weak),
        "all_strong": nano_to_usd(strong),
        **{f"at_cpt{level}": at(point[f"cpt{level}"]) for level in LEVELS},
        "apgr_usd": float(np.mean(areas)),
        "estimated": costs.estimated,
    }


def pgr_by_dollar(gained: Floats, spent: Floats, ends: tuple[int, int]) -> float:
    """Return the mean PGR over the dollars between two sums; NaN where there is nothing between them, or no gap.

    Args:
        gained: [U + 1], gain recovered at each point of a curve.
        spent: [U + 1], nano-dollars spent there, ascending. Below the first of them nothing is recovered, and the curve is
            cut at the upper end.
        ends: nano-dollars of all weak and of all strong.

    """
    low, high = ends
    if high <= low or gained[-1] <= 0:
        return float("nan")
    inside = np.clip(spent, low, high)
    # Where the curve is cut, it ends at what it has recovered at that sum.
    recovered = np.where(spent > high, np.interp(high, spent, gained), gained)
    area = np.trapezoid(recovered, inside) + (high - inside[-1]) * recovered[-1]
    return float(area / ((high - low) * gained[-1]))


def _curve(
    contender: Contender, draws: Sequence[Ranking], outcomes: Outcomes, shares: Floats, resampled: Floats
) -> CurvePoints:
    curves = _points(draws, outcomes.gain)
    ends = [interval(column) for column in resampled.T]
    spending, nano = contender.spending, None
    if spending is not None:
        added = _points(draws, spending.added.astype(np.float64))
        mean = np.mean([one.mean_at(shares)[0] for one in added], axis=0)
        nano = spending.start + np.rint(mean * len(outcomes)).astype(np.int64)
    return CurvePoints(
        share=shares,
        quality=outcomes.weak.mean() + np.mean([c.mean_at(shares)[0] for c in curves], axis=0),
        pgr=np.mean([c.pgr_at(shares)[0] for c in curves], axis=0),
        pgr_lo=np.array([lo for lo, _ in ends]),
        pgr_hi=np.array([hi for _, hi in ends]),
        nano=nano,
    )


def constant(name: str, outcomes: Outcomes, share: int) -> dict[str, Any]:
    """Return the figures of always the same model; that is a point, not a curve, so figures that need a curve are NaN.

    Args:
        name: its name in the table.
        outcomes: N prompts.
        share: 0 for always weak, 1 for always strong.

    """
    weak, strong = float(outcomes.weak.mean()), float(outcomes.strong.mean())
    nothing = [np.nan, np.nan]
    figures: dict[str, Any] = {"router": name, "n": len(outcomes), WEAK: weak, STRONG: strong}
    figures |= dict.fromkeys(("apgr", "apgr_full"), np.nan) | {"apgr_ci": nothing}
    figures |= dict.fromkeys(("cpt50", "cpt80", "cpt20"), np.nan)
    figures |= {f"{figure}_ci": nothing for figure in RESAMPLED}
    grades = outcomes.strong if share else outcomes.weak
    figures |= {"share": float(share), "quality": float(grades.mean())}
    figures["pgr"] = float(share) if strong > weak else np.nan
    if outcomes.costs is not None:
        costs = outcomes.costs.strong if share else outcomes.costs.weak
        figures["usd"] = nano_to_usd(int(costs.sum()))
    return figures


def compare(first: Sequence[Measured], second: Sequence[Measured]) -> dict[str, Any]:
    """Compare two contenders by a paired bootstrap, in which both have the same resampled questions.

    Args:
        first: one contender's figures on each test set (one; with pilots one per seed), from the same resamples.
        second: the other contender's, in the same order.

    Returns:
        ``difference`` (APGR of the first − of the second, a mean over the test sets), ``ci`` (95 %) and ``p`` (two-sided),
        and the same for the full curve: ``difference_full, ci_full, p_full``.

    """
    pairs = list(zip(first, second, strict=True))
    comparison: dict[str, Any] = {}
    for figure, ending in COMPARED.items():
        comparison[f"difference{ending}"] = float(
            np.mean([a.figures[figure] - b.figures[figure] for a, b in pairs])
        )
        differences = np.mean([a.resampled[figure] - b.resampled[figure] for a, b in pairs], axis=0)
        comparison[f"ci{ending}"] = list(interval(differences))
        comparison[f"p{ending}"] = two_sided_p(differences)
    return comparison
