"""A pilot's report for people: ``report/pilot.html``, ``report/pilot.json``, and the closing lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from routellm_batch.budget.frontier import FrontierPoint
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.graders import PilotConfig
from routellm_batch.config.job import EndpointsConfig
from routellm_batch.core.arrays import Floats
from routellm_batch.core.encoding import to_json
from routellm_batch.core.metrics import INTERVAL_90, Ranking, interval, resample
from routellm_batch.core.types import ENDPOINTS, ROUTES, PromptBatch
from routellm_batch.pipeline.outputs import pilot_view
from routellm_batch.pipeline.pilot.fit import Fitted
from routellm_batch.reporting.pilot.html import (
    PilotPageFacts,
    PilotSpending,
    RouterFigure,
    pilot_lines,
    render_pilot,
    sample_frontier,
)
from routellm_batch.routers import make_router
from routellm_batch.storage.pilots import labelled
from routellm_batch.storage.store import FsStore, read_json

PAGE, FACTS = "report/pilot.html", "report/pilot.json"
RESAMPLES = 500


def write_report(
    endpoints: EndpointsConfig,
    pilot: PilotConfig,
    store: FsStore,
    stated: Mapping[str, Any],
    outcomes: pa.Table,
    fitted: Fitted,
) -> None:
    """Write the page and the facts with the closing lines, which a later run that takes the pilot shows.

    Args:
        endpoints: of the job.
        pilot: of the job.
        store: whose root is the pilot's folder.
        stated: the ``_SUCCESS`` of the pilot.
        outcomes: the rows of ``outcomes.parquet``.
        fitted: router and calibration.

    """
    facts = PilotPageFacts(
        pilot_id=stated["id"],
        view=pilot_view(store.root, stated, here=True),
        problems=stated["problems"],
        spending=_spending(endpoints, store),
        cap_nano=usd_to_nano(pilot.usd),
        routers=_routers(outcomes, fitted),
        frontier=_frontier(outcomes, fitted),
    )
    store.replace(PAGE, render_pilot(facts).encode("utf-8"))
    store.replace(FACTS, to_json({**stated, "lines": pilot_lines(facts, store.uri(PAGE))}))


def closing_lines(uri: str) -> Sequence[str]:
    """Return the closing lines of a finished pilot, for a user.

    Raises:
        FileNotFoundError: there is no finished pilot at this URI.

    """
    return list(json.loads(FsStore(uri).read(FACTS))["lines"])


def _spending(endpoints: EndpointsConfig, store: FsStore) -> list[PilotSpending]:
    """Return what the calls of each endpoint cost, a judge's two asks together."""
    spending: dict[str, PilotSpending] = {}
    by_name: dict[str, EndpointConfig] = dict(endpoints.named().items())
    for run in store.folders("runs"):
        name = run.partition("-")[0]
        endpoint, cost = by_name.get(name), read_json(store, f"runs/{run}/report/cost.json")
        if endpoint is None or cost is None:
            continue
        known = spending.get(name, PilotSpending(name, endpoint.model, 0, 0))
        spending[name] = PilotSpending(
            name,
            endpoint.model,
            known.calls + sum(cost["endpoints"][route]["calls"] for route in ROUTES),
            known.spent_nano + usd_to_nano(Decimal(cost["spent_usd"])),
            known.presumed_nano + usd_to_nano(Decimal(cost["presumed_usd"])),
        )
    return [spending[name] for name in ENDPOINTS if name in spending]


def _routers(outcomes: pa.Table, fitted: Fitted) -> list[RouterFigure]:
    """Return the part of the gain that the router recovers on held-out labels, beside routing by length and at random."""
    if fitted.fit is None or fitted.facts is None:
        return []
    calibration = fitted.facts.calibration
    gain, weight = calibration.gain_rows, np.array(calibration.weight)
    known = labelled(outcomes)
    prompts = known.column("prompt").to_pylist()
    length = make_router("length").score(PromptBatch(range(len(prompts)), prompts))
    ranked = {fitted.fit.chosen: np.array(calibration.scores), "length": length.astype(np.float64)}
    figures = [_figure(name, scores, gain, weight, calibration.seed) for name, scores in ranked.items()]
    return [*figures, RouterFigure("random", 0.5)]


def _figure(name: str, scores: Floats, gain: Floats, weight: Floats, seed: int) -> RouterFigure:
    ranking = Ranking(scores)
    drawn = resample(len(gain), seed=seed, replicates=RESAMPLES)
    values = np.array([ranking.apgr_full(gain, weight * count) for count in drawn])
    return RouterFigure(name, ranking.apgr_full(gain, weight), *interval(values, INTERVAL_90))


def _frontier(outcomes: pa.Table, fitted: Fitted) -> list[FrontierPoint]:
    if fitted.facts is None:
        return []
    known = labelled(outcomes)
    columns = {route: known.column(f"{route}_cost_usd") for route in ROUTES}
    if any(column.null_count for column in columns.values()):
        return sample_frontier(fitted.facts.calibration, None)
    costs = {route: [usd_to_nano(usd) for usd in column.to_pylist()] for route, column in columns.items()}
    return sample_frontier(fitted.facts.calibration, costs)
