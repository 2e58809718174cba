"""Facts of made-up runs, for tests of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from routellm_batch.budget.frontier import FrontierPoint, Prediction
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.prices import Totals
from routellm_batch.budget.pricing import NANO, Price, cost_nano
from routellm_batch.budget.quality.prediction import Quality
from routellm_batch.budget.selection.cut import Cut, score_key
from routellm_batch.budget.spend.summary import CallSummary, FailedRow, RouteTotals, SlowRow
from routellm_batch.core.types import Route, Usage
from routellm_batch.reporting.quality_view import PilotView
from routellm_batch.reporting.run.facts import EndpointFacts, RunFacts

ENDPOINTS: Mapping[Route, EndpointFacts] = {
    "strong": EndpointFacts("big-model", Price.from_usd(Decimal("2.5"), Decimal(10), Decimal("1.25")), 100),
    "weak": EndpointFacts("small-model", Price.from_usd(Decimal("0.1"), Decimal("0.4")), 80),
}
NO_CALLS = CallSummary()


def cut_at(score: float) -> Cut:
    """Return the cut that sends every score from ``score`` up to the strong model."""
    import numpy as np

    return Cut(int(score_key(np.array([score], np.float32))[0]), 0)


def plan(**changes: Any) -> Plan:
    """Return a plan of 1,000 valid rows, 260 of them strong, with some fields changed."""
    made = Plan(
        cut=cut_at(0.625),
        valid=1000,
        invalid=2,
        strong=260,
        asked={"mode": "strong_share", "value": "0.26"},
        endpoints={
            "strong": Totals(260, 260, 26_000, 26_000, 325_000_000),
            "weak": Totals(740, 740, 74_000, 59_200, 31_080_000),
        },
        all_strong_nano=1_250_000_000,
        all_weak_nano=42_000_000,
        cap_nano=None,
        degraded=None,
        frontier=[
            FrontierPoint(n / 49, None if n == 0 else 1 - n / 49, 42_000_000 + n * 24_653_061)
            for n in range(50)
        ],
        histogram=[10, 40, 200, 300, 250, 120, 60, 20],
        copy_shards=[],
        copies=0,
    )
    return replace(made, **changes)


def outlook(share: float) -> Prediction:
    """Return what a pilot says of a share: grades from 0.6 to 0.9, rising fast at first."""
    pgr = 1 - (1 - share) ** 2
    quality = Quality(share, 0.6 + 0.3 * pgr, 0.55 + 0.3 * pgr, 0.65 + 0.3 * pgr, pgr, 0.9 * pgr, 1.1 * pgr)
    random = Quality(share, 0.6 + 0.3 * share, 0.55 + 0.3 * share, 0.65 + 0.3 * share, share, share, share)
    nano = 42_000_000 + round(share * 1_208_000_000)
    return Prediction(quality, random, round(0.9 * nano), round(1.1 * nano), nano)


def plan_with_pilot(**changes: Any) -> Plan:
    """Return the same plan as a pilot sees it."""
    made = plan()
    points = [replace(point, outlook=outlook(point.share)) for point in made.frontier]
    known = {"uri": "s3://bucket/pilots/nightly", "rows": 300, "kind": "isotonic", "note": None}
    seen = replace(made, frontier=points, outlook=outlook(0.26), pilot=known)
    return replace(seen, **changes)


def calls(**changes: Any) -> CallSummary:
    """Return what the plan's calls did: three rows failed, the rest is answered."""
    used = {"strong": Usage(26_000, 6_000, 20_800), "weak": Usage(74_000, 0, 74_000)}
    routes = {
        route: RouteTotals(
            calls={"strong": 260, "weak": 740}[route],
            attempts={"strong": 270, "weak": 745}[route],
            usage=usage,
            spent_nano=cost_nano(ENDPOINTS[route].price, usage),  # type: ignore[index]
            presumed_nano={"strong": 1_250_000, "weak": 0}[route],
            latency_bins={"strong": {40: 200, 44: 58}, "weak": {30: 739}}[route],
        )
        for route, usage in used.items()
    }
    made = CallSummary(
        ok=997,
        failed=3,
        strong_rows=260,
        routes=routes,
        errors={"timeout": 2, "bad_reply": 1},
        slowest=[SlowRow("r0007", "strong", 2.048)],
        failures=[
            FailedRow("r0001", "strong", "timeout"),
            FailedRow("r0002", "strong", "timeout"),
            FailedRow("r0003", "weak", "bad_reply"),
        ],
    )
    return replace(made, **changes)


def facts(**changes: Any) -> RunFacts:
    """Return the facts of a finished run with three failed rows, with some fields changed."""
    made = RunFacts(
        run_id="nightly-2026-11-23",
        run_uri="s3://bucket/runs/nightly-2026-11-23",
        plan=plan(),
        calls=calls(),
        wall_s=12.5,
        state="finished",
        stop_reason=None,
        router="outcome",
        endpoints=ENDPOINTS,
        settings={"Input": "s3://bucket/prompts.parquet"},
    )
    return replace(made, **changes)


def pilot_view() -> PilotView:
    """Return a pilot that another run made."""
    return PilotView(
        uri="s3://bucket/pilots/nightly",
        made="2026-11-22",
        rows=300,
        labelled=298,
        grader="numeric",
        chosen="outcome",
        reason="It ranks best.",
        note=None,
        spent_nano=700_000_000,
        presumed_nano=0,
        here=False,
    )


def huge() -> RunFacts:
    """Return the facts of ten million rows that cost more than a million dollars."""
    big = plan(
        valid=10_000_000,
        strong=2_600_000,
        cap_nano=1_300_000 * NANO,
        endpoints={
            "strong": Totals(2_600_000, 2_600_000, 10**10, 10**10, 1_134_567 * NANO),
            "weak": Totals(7_400_000, 7_400_000, 10**10, 10**10, 100_000 * NANO),
        },
        all_strong_nano=4_000_000 * NANO,
        all_weak_nano=120_000 * NANO,
        frontier=[
            FrontierPoint(n / 49, 0.5 if n else None, (120_000 + n * 79_000) * NANO) for n in range(50)
        ],
        histogram=[0] * 7 + [10_000_000],
    )
    usage = Usage(10**10, 0, 10**10)
    routes = {
        "strong": RouteTotals(2_600_000, 2_700_000, usage, 1_134_567 * NANO, 0, {40: 2_600_000}),
        "weak": RouteTotals(7_400_000, 7_500_000, usage, 100_000 * NANO, 0, {-10: 1, 90: 7_399_999}),
    }
    done = CallSummary(ok=10_000_000, strong_rows=2_600_000, routes=routes)
    return facts(plan=big, calls=done, wall_s=98_765.0)
