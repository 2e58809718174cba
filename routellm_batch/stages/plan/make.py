"""Stage 2, plan: all score shards in, one cut out, in bounded memory (``budget.selection`` chooses it).

The score shards are read once and gathered to a local folder in buckets by the content of the prompt, so that
identical prompts meet; whatever follows is done bucket by bucket. Nothing is spent here.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from routellm_batch.budget.frontier import FrontierPoint, frontier
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.prices import Prices
from routellm_batch.budget.pricing import nano_to_usd, usd_to_nano
from routellm_batch.budget.quality.forecast import PilotPredictor
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.cut import Cut, cut_by_count, cut_by_spend, strong_rows
from routellm_batch.config.job import BudgetConfig, Config
from routellm_batch.core.errors import BudgetError, DataError
from routellm_batch.core.types import Shard
from routellm_batch.stages.plan.costing import Copies, costs_of, settle_routes
from routellm_batch.stages.plan.files import empty_plan, load_plan, newest_plan, plan_path
from routellm_batch.stages.plan.gather import Gathered, gather_rows
from routellm_batch.stages.plan.past_run import past_fields, past_ranker, pinned_lengths
from routellm_batch.stages.plan.prediction import (
    choose_recover,
    job_predictor,
    pilot_fields,
    with_predictions,
)
from routellm_batch.stages.plan.spill import RankedSpill
from routellm_batch.storage.paid import embedding_use
from routellm_batch.storage.pilots import own_pilot_use
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import to_parquet

WRITE_THREADS = 8
"""Threads that write tables of copies."""
HISTOGRAM_BINS = 1000
"""Steps of the histogram that a plan holds of its rows."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """A run's rows, ready for cuts to be tried on them."""

    run: Run
    gathered: Gathered
    prices: Prices
    ranked: RankedSpill
    """Each valid row's rank, and what it costs more if it goes strong."""


def make_plan(config: Config, run: Run, *, pilot: PilotFacts | None = None) -> Plan:
    """Make a plan and write it; it holds from then on.

    Args:
        config: the job.
        run: its folder; scored.
        pilot: predicts the plan and, by lengths and gains, helps to rank the rows; None without one.

    Raises:
        DataError: null or duplicate ids, or no valid row.
        BudgetError: not even all-weak fits the budget, the plan is above the cap and may not be degraded, or what is
            to be recovered can't be.

    """
    budget, calls = config.budget, config.endpoints.call_prices()
    with tempfile.TemporaryDirectory(prefix="routellm-plan-") as scratch:
        gathered = gather_rows(run, Path(scratch) / "rows", config.input.columns.id)
        if gathered.valid == 0:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(gathered.kinds.items()))
            problem = f"none of the {gathered.invalid} rows is a valid prompt ({kinds})"
            raise DataError(problem, file=config.input.uri)
        predictor = job_predictor(budget, calls, gathered, pilot)
        counted = predictor is not None and predictor.lengths is not None
        past = {} if counted else pinned_lengths(run)
        ranker = predictor.ranker if predictor and counted else past_ranker(calls, past)
        rows = _Rows(run, gathered, Prices.of(calls, ranker), RankedSpill(Path(scratch) / "ranked"))
        weak_nano, strong_nano, histogram = _rank(rows)
        recover = choose_recover(budget, predictor) if predictor and budget.recover is not None else None
        embeddings, own_pilot = embedding_use(run), own_pilot_use(run)
        plan = replace(
            empty_plan(budget),
            embedding_nano=embeddings.paid_nano if embeddings else 0,
            pilot_nano=own_pilot.paid_nano if own_pilot else 0,
            all_weak_nano=weak_nano,
            all_strong_nano=strong_nano,
            frontier=frontier(rows.ranked.passes, weak_nano),
            histogram=histogram,
            recover=recover,
            lengths=past_fields(past),
        )
        plan = _settle(plan, _choose(budget, rows, weak_nano, recover), rows)
        plan = _fit_cap(plan, budget, rows)
        plan = plan if predictor is None or pilot is None else _predicted(plan, predictor, pilot)
    run.store.create(plan_path(newest_plan(run)[0]), plan.to_json())
    return load_plan(run) or plan


def _rank(rows: _Rows) -> tuple[int, int, list[int]]:
    """Rank all rows; return their cost all weak and all strong, and their histogram."""
    weak_nano, strong_nano, histogram = 0, 0, np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    for bucket in rows.gathered.content.buckets():
        part, weak, strong = costs_of(bucket.rows, rows.prices)
        rows.ranked.add(part)
        weak_nano, strong_nano = weak_nano + weak, strong_nano + strong
        histogram += np.histogram(part.key.view(np.float32), HISTOGRAM_BINS, (0, 1))[0]
    return weak_nano, strong_nano, histogram.tolist()


def _predicted(plan: Plan, predictor: PilotPredictor, pilot: PilotFacts) -> Plan:
    """Return the plan with what the pilot predicts of it and of its frontier."""
    chosen = FrontierPoint(plan.strong / plan.valid, plan.cut.threshold, plan.planned_nano)
    *points, chosen = with_predictions(
        predictor, [*plan.frontier, chosen], plan.all_weak_nano, plan.all_strong_nano
    )
    return replace(plan, frontier=points, outlook=chosen.outlook, pilot=pilot_fields(pilot))


def _choose(budget: BudgetConfig, rows: _Rows, weak_nano: int, recover: RecoverChoice | None) -> Cut:
    """Return the cut that the budget asks for, before the hard cap."""
    valid = rows.gathered.valid
    if recover is not None and recover.share is not None:
        count = (Decimal(str(recover.share)) * valid).to_integral_value(ROUND_CEILING)
        return cut_by_count(rows.ranked.passes, int(count))
    if budget.strong_share is not None:
        return cut_by_count(rows.ranked.passes, strong_rows(budget.strong_share, valid))
    nano = usd_to_nano(budget.usd or Decimal(0))
    _refuse_below(weak_nano, nano, "budget.usd")
    return cut_by_spend(rows.ranked.passes, nano - weak_nano)


def _refuse_below(weak_nano: int, nano: int, key: str) -> None:
    """Refuse a budget that does not pay for all rows even if all go weak."""
    if weak_nano > nano:
        needed, given = nano_to_usd(weak_nano), nano_to_usd(nano)
        message = (
            f"{key} is {given:.4f} USD, but sending every row to the weak model is expected to cost {needed:.4f} USD; "
            "raise the budget, shorten the answers (params.max_completion_tokens) or give fewer rows"
        )
        raise BudgetError(message)


def _settle(plan: Plan, cut: Cut, rows: _Rows) -> Plan:
    """Follow a cut through all rows: return the plan with what is sent where, and which rows share an answer."""
    run, gathered = rows.run, rows.gathered
    with tempfile.TemporaryDirectory(prefix="routellm-copies-") as scratch:
        copies = Copies(Path(scratch) / "copies", len(run.shards), gathered.valid)
        strong, totals = settle_routes(gathered.content.buckets(), cut, rows.prices, copies)
        _write_copies(copies, cut, run)
    return replace(
        plan,
        cut=cut,
        ranker=rows.prices.ranker,
        valid=gathered.valid,
        invalid=gathered.invalid,
        invalid_kinds=dict(sorted(gathered.kinds.items())),
        strong=strong,
        endpoints=totals,
        copy_shards=copies.shards(),
        copies=copies.count,
    )


def _write_copies(copies: Copies, cut: Cut, run: Run) -> None:
    def write(one: tuple[int, pa.Table]) -> None:
        index, rows = one
        run.store.create(copies_path(cut, run.shards[index]), to_parquet(rows))

    tables = copies.by_shard()
    with ThreadPoolExecutor(WRITE_THREADS) as pool:
        while some := list(islice(tables, 8 * WRITE_THREADS)):  # map would read all tables at once
            list(pool.map(write, some))


def _fit_cap(plan: Plan, budget: BudgetConfig, rows: _Rows) -> Plan:
    """Lower the share until the plan fits the hard cap.

    Raises:
        BudgetError: the config forbids that, or not even all-weak fits.

    """
    left = plan.calls_cap_nano
    if left is None or plan.planned_nano <= left:
        return plan
    cap, planned = nano_to_usd(left), nano_to_usd(plan.planned_nano)
    paid = {"embeddings": plan.embedding_nano, "the pilot": plan.pilot_nano}
    before = " and ".join(name for name, nano in paid.items() if nano)
    key = f"what {before} left of budget.hard_cap_usd" if before else "budget.hard_cap_usd"
    if budget.on_overrun == "stop":
        message = (
            f"the plan is expected to cost {planned:.4f} USD, above {key} of {cap:.4f} USD; "
            "raise the cap, ask for less, or set budget.on_overrun=degrade"
        )
        raise BudgetError(message)
    _refuse_below(plan.all_weak_nano, left, key)
    degraded = {
        "reason": "planned cost was above hard_cap_usd",
        "planned_usd": f"{planned:.9f}",
        "strong_rows": str(plan.strong),
    }
    cut = cut_by_spend(rows.ranked.passes, left - plan.all_weak_nano)
    return replace(_settle(plan, cut, rows), degraded=degraded)


def copies_path(cut: Cut, shard: Shard) -> str:
    """Path of a shard's table of rows that take their answer from another row."""
    return f"copies/{cut.key:09x}-{cut.tie:016x}/{shard.name}.parquet"
