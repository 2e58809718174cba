"""Stage 2, plan: all score shards in, one cut out, in bounded memory (see ``planning`` for the selection).

The score shards are read once and gathered to a local folder in buckets by the content of the prompt, so that
identical prompts meet; whatever follows is done bucket by bucket. Nothing is spent here.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from routellm_batch.budget.frontier import FrontierPoint, frontier
from routellm_batch.budget.plan import Plan
from routellm_batch.budget.prices import Prices
from routellm_batch.budget.pricing import nano_to_usd, usd_to_nano
from routellm_batch.budget.quality.forecast import Foresight
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.quality.prediction import RecoverChoice
from routellm_batch.budget.selection.cut import Cut, cut_by_count, cut_by_spend, strong_rows
from routellm_batch.config.job import Config
from routellm_batch.core.errors import BudgetError, DataError
from routellm_batch.core.types import Shard
from routellm_batch.stages.plan.costing import Copies, costs_of, settle_routes
from routellm_batch.stages.plan.files import empty_plan, load_plan, newest_plan, plan_path
from routellm_batch.stages.plan.gather import Gathered, gather_rows
from routellm_batch.stages.plan.outlook import choose_recover, look_ahead, outlooks, pilot_words
from routellm_batch.stages.plan.past_run import past_ranker, past_words, pinned_lengths
from routellm_batch.stages.plan.spill import RankedSpill
from routellm_batch.storage.paid import embedding_use
from routellm_batch.storage.pilots import own_pilot_use
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import to_parquet

WRITE_THREADS = 8
HISTOGRAM_BINS = 1000


def make_plan(config: Config, run: Run, *, pilot: PilotFacts | None = None) -> Plan:
    """Make a plan and write it; it holds from then on.

    Args:
        config: the job.
        run: its folder; scored.
        pilot: what rows are ranked and the plan is judged by, beside their scores.

    Raises:
        DataError: null or duplicate ids, or no valid row.
        BudgetError: not even all-weak fits the budget, the plan is above the cap and may not be degraded, or what is
            to be recovered can't be.

    """
    with tempfile.TemporaryDirectory(prefix="routellm-plan-") as scratch:
        gathered = gather_rows(run, Path(scratch) / "rows", config.input.columns.id)
        if gathered.valid == 0:
            kinds = "null, empty, oversized or not UTF-8"
            problem = f"none of the {gathered.invalid} rows is a valid prompt ({kinds})"
            raise DataError(problem, file=config.input.uri)
        seen = look_ahead(config, gathered, pilot)
        counted = seen is not None and seen.lengths is not None
        past = {} if counted else pinned_lengths(run)
        prices = Prices.of(
            config.endpoints.by_route(), seen.ranker if seen and counted else past_ranker(config, past)
        )
        ranked = RankedSpill(Path(scratch) / "ranked")
        base, dearest, histogram = 0, 0, np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        for bucket in gathered.content.buckets():
            part, weak_nano, strong_nano = costs_of(bucket.rows, prices)
            ranked.add(part)
            base, dearest = base + weak_nano, dearest + strong_nano
            histogram += np.histogram(part.key.view(np.float32), HISTOGRAM_BINS, (0, 1))[0]
        recover = choose_recover(config.budget, seen) if seen and config.budget.recover is not None else None
        cut = _choose(config, ranked, gathered.valid, base, recover)
        plan = _settle(cut, config, run, gathered, prices)
        paid, own = embedding_use(run), own_pilot_use(run)
        plan = replace(
            plan,
            embedding_nano=paid.paid_nano if paid else 0,
            pilot_nano=own.paid_nano if own else 0,
            all_weak_nano=base,
            all_strong_nano=dearest,
            frontier=frontier(ranked.passes, base),
            histogram=histogram.tolist(),
            recover=recover,
            lengths=past_words(past),
        )
        plan = _fit_cap(plan, config, run, gathered, prices, ranked)
        plan = plan if seen is None or pilot is None else _with_outlook(plan, seen, pilot)
    run.store.create(plan_path(newest_plan(run)[0]), plan.to_json())
    return load_plan(run) or plan


def _with_outlook(plan: Plan, seen: Foresight, pilot: PilotFacts) -> Plan:
    here = FrontierPoint(plan.strong / plan.valid, plan.cut.threshold, plan.planned_nano)
    *points, here = outlooks(seen, [*plan.frontier, here], plan.all_weak_nano, plan.all_strong_nano)
    return replace(plan, frontier=points, outlook=here.outlook, pilot=pilot_words(pilot))


def _choose(config: Config, ranked: RankedSpill, valid: int, base: int, recover: RecoverChoice | None) -> Cut:
    budget = config.budget
    if recover is not None and recover.share is not None:
        rows = (Decimal(str(recover.share)) * valid).to_integral_value(ROUND_CEILING)
        return cut_by_count(ranked.passes, int(rows))
    if budget.strong_share is not None:
        return cut_by_count(ranked.passes, strong_rows(budget.strong_share, valid))
    nano = usd_to_nano(budget.usd or Decimal(0))
    _refuse_below(base, nano, "budget.usd")
    return cut_by_spend(ranked.passes, nano - base)


def _refuse_below(base: int, nano: int, key: str) -> None:
    if base > nano:
        needed, given = nano_to_usd(base), nano_to_usd(nano)
        message = (
            f"{key} is {given:.4f} USD, but sending every row to the weak model is expected to cost {needed:.4f} USD; "
            "raise the budget, shorten the answers (params.max_completion_tokens) or give fewer rows"
        )
        raise BudgetError(message)


def _settle(cut: Cut, config: Config, run: Run, gathered: Gathered, prices: Prices) -> Plan:
    """Follow a cut through all rows: what is sent where, and which rows share an answer."""
    with tempfile.TemporaryDirectory(prefix="routellm-copies-") as scratch:
        copies = Copies(Path(scratch) / "copies", len(run.shards), gathered.valid)
        strong, totals = settle_routes(gathered.content.buckets(), cut, prices, copies)
        _write_copies(copies, cut, run)
    return replace(
        empty_plan(config),
        cut=cut,
        ranker=prices.ranker,
        valid=gathered.valid,
        invalid=gathered.invalid,
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
        while some := list(islice(tables, 8 * WRITE_THREADS)):  # map would take them all at once
            list(pool.map(write, some))


def _fit_cap(
    plan: Plan, config: Config, run: Run, gathered: Gathered, prices: Prices, ranked: RankedSpill
) -> Plan:
    """Lower the share until the plan fits the hard cap, or refuse."""
    left = plan.calls_cap_nano
    if left is None or plan.planned_nano <= left:
        return plan
    cap, planned = nano_to_usd(left), nano_to_usd(plan.planned_nano)
    key = "what embeddings left of budget.hard_cap_usd" if plan.embedding_nano else "budget.hard_cap_usd"
    if config.budget.on_overrun == "stop":
        message = (
            f"the plan is expected to cost {planned:.4f} USD, above {key} of {cap:.4f} USD; "
            "raise the cap, ask for less, or set budget.on_overrun=degrade"
        )
        raise BudgetError(message)
    _refuse_below(plan.all_weak_nano, left, key)
    cut = cut_by_spend(ranked.passes, left - plan.all_weak_nano)
    lower = _settle(cut, config, run, gathered, prices)
    degraded = {
        "reason": "planned cost was above hard_cap_usd",
        "planned_usd": f"{planned:.9f}",
        "strong_rows": str(plan.strong),
    }
    names = (
        "all_weak_nano",
        "all_strong_nano",
        "frontier",
        "histogram",
        "embedding_nano",
        "recover",
        "lengths",
    )
    kept = {name: getattr(plan, name) for name in names}
    return replace(lower, degraded=degraded, **kept)


def copies_path(cut: Cut, shard: Shard) -> str:
    """Path of a shard's table of rows that take their answer from another row."""
    return f"copies/{cut.key:09x}-{cut.tie:016x}/{shard.name}.parquet"
