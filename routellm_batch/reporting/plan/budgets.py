"""Budgets to choose from: points of a plan's frontier, what they should bring, and the settings that ask for them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.budget.quality.prediction import Quality
from routellm_batch.reporting.quality_words import grade, part
from routellm_batch.reporting.text import percent, usd

ROUND = tuple(Decimal(tenth) / 10 for tenth in range(11))
"""Strong shares that the page offers as a budget."""
PLACES = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget."""

    share: float
    """Strong share, 0 to 1."""
    strong: int
    """Rows that would go strong."""
    threshold: float | None
    """The cut; None where nothing goes strong."""
    nano: int
    """Planned cost in nano-dollars."""
    lines: tuple[str, ...]
    """Alternative sets of configuration overrides, each of which asks for this budget."""
    outlook: Prediction | None = None
    """What a pilot predicts; None without one."""
    chosen: bool = False
    """Whether it is the plan."""

    @property
    def settings(self) -> tuple[str, ...]:
        """The overrides of ``lines`` that set this budget, without those that unset the configured one."""
        return tuple(line.rpartition(" ")[2] for line in self.lines)

    @property
    def spoken(self) -> str:
        """The text that a screen reader reads for the slider's position."""
        parts = [f"{percent(self.share)} strong", usd(self.nano)]
        if self.outlook is not None:
            quality = self.outlook.quality
            parts.append(f"grade {grade(quality.mean)}, {grade(quality.lo)} to {grade(quality.hi)}")
            recovered = part(quality.pgr)
            parts += [f"{recovered} of the gain"] if recovered else []
        return ", ".join([*parts, *(["the plan"] if self.chosen else [])])


def chosen_point(plan: Plan) -> FrontierPoint:
    """Return the plan as a point of the frontier."""
    share = plan.strong / plan.valid if plan.valid else 0.0
    return FrontierPoint(share, plan.cut.threshold, plan.planned_nano, plan.outlook)


def round_budgets(plan: Plan, order: str = "auto") -> list[Budget]:
    """Return eleven budgets from all weak to all strong, with the chosen one among them.

    Between two points of the frontier, figures are interpolated.

    Args:
        plan: with or without a pilot's prediction.
        order: ``budget.order`` as configured.

    """
    offered = [_budget(plan, share, order) for share in ROUND] if plan.frontier else []
    return _with_chosen(plan, offered)


def few_budgets(plan: Plan) -> list[Budget]:
    """Return every second one of ``round_budgets``, with the chosen one among them: enough to see what a budget buys."""
    return [one for one in round_budgets(plan) if one.chosen or round(one.share * 10) % 2 == 0]


def all_budgets(plan: Plan, order: str = "auto") -> list[Budget]:
    """Return every point of the frontier as a budget, to a hundredth of a percent, with the chosen one among them."""
    shares = [Decimal(point.share).quantize(PLACES).normalize() for point in plan.frontier]
    return _with_chosen(plan, [_budget(plan, share, order) for share in shares])


def _with_chosen(plan: Plan, offered: Sequence[Budget]) -> list[Budget]:
    point = chosen_point(plan)
    lines = (f"budget.{plan.asked['mode']}={plan.asked['value']}",) if plan.degraded is None else ()
    numbers = (point.share, plan.strong, point.threshold, point.planned_nano)
    chosen = Budget(*numbers, lines, point.outlook, chosen=True)
    others = [budget for budget in offered if budget.strong != plan.strong]
    return sorted([*others, chosen], key=lambda budget: budget.share)


def _budget(plan: Plan, share: Decimal, order: str) -> Budget:
    point = point_at(plan.frontier, float(share))
    strong = int(share * plan.valid)
    lines = _lines(plan.asked["mode"], f"{share:f}", _round_up(point.planned_nano), order)
    return Budget(float(share), strong, point.threshold, point.planned_nano, lines, point.outlook)


def _lines(mode: str, share: str, dollars: Decimal, order: str) -> tuple[str, str]:
    """Return the overrides that ask for a share and those that ask for its cost; the shorter ones come first.

    Exactly one kind of budget may be set, so an override of another kind also unsets the configured one (``mode``).
    """
    unset = f"{unset_words(mode)} "
    by_share = f"budget.strong_share={share}"
    if order == "gain_per_dollar":
        by_share = f"budget.order=auto {by_share}"
    by_usd = f"budget.usd={dollars}"
    if mode == "usd":
        return by_usd, unset + by_share
    return ("" if mode == "strong_share" else unset) + by_share, unset + by_usd


def unset_words(mode: str) -> str:
    """Return the overrides that unset the configured budget."""
    return "budget.recover=null budget.confidence=null" if mode == "recover" else f"budget.{mode}=null"


def point_at(frontier: Sequence[FrontierPoint], share: float) -> FrontierPoint:
    """Return the point of the frontier at a share from 0 to 1, interpolated between its neighbours."""
    after = next((n for n, point in enumerate(frontier) if point.share >= share - 1e-9), len(frontier) - 1)
    low, high = frontier[max(0, after - 1)], frontier[after]
    if after == 0 or high.share - share < 1e-9:
        return FrontierPoint(share, high.threshold, high.planned_nano, high.outlook)
    way = (share - low.share) / (high.share - low.share)
    nano = low.planned_nano + round(way * (high.planned_nano - low.planned_nano))
    outlook = _outlook_at(low.outlook, high.outlook, way)
    if low.threshold is None or high.threshold is None:
        return FrontierPoint(share, high.threshold, nano, outlook)
    return FrontierPoint(share, low.threshold + way * (high.threshold - low.threshold), nano, outlook)


def _outlook_at(low: Prediction | None, high: Prediction | None, way: float) -> Prediction | None:
    if low is None or high is None:
        return None

    def nano(one: int | None, other: int | None) -> int | None:
        return None if one is None or other is None else one + round(way * (other - one))

    return Prediction(
        _quality_at(low.quality, high.quality, way),
        _quality_at(low.random, high.random, way),
        nano(low.low_nano, high.low_nano),
        nano(low.high_nano, high.high_nano),
        low.random_nano + round(way * (high.random_nano - low.random_nano)),
    )


def _quality_at(low: Quality, high: Quality, way: float) -> Quality:
    pairs: list[tuple[Any, Any]] = list(zip(astuple(low), astuple(high), strict=True))
    between: list[Any] = [None if None in pair else pair[0] + way * (pair[1] - pair[0]) for pair in pairs]
    return Quality(*between)


def _round_up(nano: int) -> Decimal:
    """Return dollars with four significant digits, rounded up so that the plan still fits."""
    dollars = nano_to_usd(nano)
    step = max(-9, min(-2, dollars.adjusted() - 3)) if nano else -2
    return dollars.quantize(Decimal(1).scaleb(step), ROUND_CEILING)
