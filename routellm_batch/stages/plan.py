"""Stage 2, plan: all score shards in, one cut out, in bounded memory (see ``planning`` for the selection).

The score shards are read once and gathered to a local folder in buckets by the content of the prompt, so that
identical prompts meet; whatever follows is done bucket by bucket. Nothing is spent here.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routellm_batch.config import Config
from routellm_batch.errors import BudgetError, DataError
from routellm_batch.planning import (
    NONE_STRONG,
    Cut,
    FrontierPoint,
    cut_by_count,
    cut_by_spend,
    frontier,
    strong_rows,
)
from routellm_batch.pricing import nano_to_usd, usd_to_nano
from routellm_batch.stages.costing import Copies, Prices, Totals, costs_of, settle_routes
from routellm_batch.stages.gather import Gathered, gather_rows
from routellm_batch.stages.spill import RankedSpill
from routellm_batch.storage.paid import embedding_use
from routellm_batch.storage.run import Run, to_json
from routellm_batch.tables import to_parquet
from routellm_batch.types import ROUTES, Shard

WRITE_THREADS = 8
HISTOGRAM_BINS = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do, and what it should cost; ``plan.json``."""

    cut: Cut
    valid: int
    invalid: int
    strong: int
    """Rows that go to the strong model, K."""
    asked: dict[str, str]
    """The budget as asked: mode and value."""
    endpoints: dict[str, Totals]
    """Route → distinct requests and their expected tokens and cost."""
    all_strong_nano: int
    all_weak_nano: int
    cap_nano: int | None
    degraded: dict[str, str] | None
    """What the hard cap took away from the plan, if it did."""
    frontier: list[FrontierPoint]
    histogram: list[int]
    """Valid rows in equal steps of the score."""
    copy_shards: list[int]
    """Shards with rows that take their answer from another row."""
    copies: int
    """Rows that take their answer from another row."""
    embedding_nano: int = 0
    """What scoring paid for embeddings, spent and presumed; it counts against the hard cap."""

    @property
    def calls_cap_nano(self) -> int | None:
        """What the hard cap leaves for calls."""
        return None if self.cap_nano is None else max(0, self.cap_nano - self.embedding_nano)

    @property
    def planned_nano(self) -> int:
        """Expected cost of the run."""
        return sum(self.endpoints[route].planned_nano for route in ROUTES)

    def to_json(self) -> bytes:
        """Return ``plan.json``."""
        fields = asdict(self)
        fields["cut"] = {"key": self.cut.key, "tie": f"{self.cut.tie:016x}", "threshold": self.cut.threshold}
        return to_json({"format": 1, "planned_nano": self.planned_nano, **fields})

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Plan:
        """Read ``plan.json``."""
        known = {k: v for k, v in fields.items() if k not in {"format", "planned_nano"}}
        known["cut"] = Cut(fields["cut"]["key"], int(fields["cut"]["tie"], 16))
        known["endpoints"] = {route: Totals(**totals) for route, totals in fields["endpoints"].items()}
        known["frontier"] = [FrontierPoint(**point) for point in fields["frontier"]]
        return cls(**known)


def empty_plan(config: Config) -> Plan:
    """Return a plan of no rows: what is known of a run before its scores are."""
    mode = next(name for name in ("strong_share", "usd") if getattr(config.budget, name) is not None)
    cap = config.budget.hard_cap_usd
    return Plan(
        cut=NONE_STRONG,
        valid=0,
        invalid=0,
        strong=0,
        asked={"mode": mode, "value": str(getattr(config.budget, mode))},
        endpoints={route: Totals() for route in ROUTES},
        all_strong_nano=0,
        all_weak_nano=0,
        cap_nano=None if cap is None else usd_to_nano(cap),
        degraded=None,
        frontier=[],
        histogram=[],
        copy_shards=[],
        copies=0,
    )


def plan_path(number: int) -> str:
    """Path of a plan: 0 is the first, others were made anew under a lower cap, before any call."""
    return "plan.json" if number == 0 else f"plan.r{number}.json"


def load_plan(run: Run) -> Plan | None:
    """Return the run's newest plan, or None if it has none yet."""
    fields = _newest(run)[1]
    return None if fields is None else Plan.from_json(fields)


def _newest(run: Run) -> tuple[int, dict[str, Any] | None]:
    """Return the number of the plan to come, and the fields of the newest that is there."""
    newest: dict[str, Any] | None = None
    for number in count():
        fields = run.read_json(plan_path(number))
        if fields is None:
            return number, newest
        newest = fields
    raise AssertionError  # numbers don't end


def make_plan(config: Config, run: Run) -> Plan:
    """Make a plan and write it; it holds from then on.

    Raises:
        DataError: null or duplicate ids, or no valid row.
        BudgetError: not even all-weak fits the budget, or the plan is above the cap and may not be degraded.

    """
    with tempfile.TemporaryDirectory(prefix="routellm-plan-") as scratch:
        gathered = gather_rows(run, Path(scratch) / "rows", config.input.columns.id)
        if gathered.valid == 0:
            kinds = "null, empty, oversized or not UTF-8"
            problem = f"none of the {gathered.invalid} rows is a valid prompt ({kinds})"
            raise DataError(problem, file=config.input.uri)
        prices = Prices.of(config)
        ranked = RankedSpill(Path(scratch) / "ranked")
        base, dearest, histogram = 0, 0, np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        for bucket in gathered.content.buckets():
            part, weak_nano, strong_nano = costs_of(bucket.rows, prices)
            ranked.add(part)
            base, dearest = base + weak_nano, dearest + strong_nano
            histogram += np.histogram(part.key.view(np.float32), HISTOGRAM_BINS, (0, 1))[0]
        cut = _choose(config, ranked, gathered.valid, base)
        plan = _settle(cut, config, run, gathered, prices)
        paid = embedding_use(run)
        plan = replace(
            plan,
            embedding_nano=paid.paid_nano if paid else 0,
            all_weak_nano=base,
            all_strong_nano=dearest,
            frontier=frontier(ranked.passes, base),
            histogram=histogram.tolist(),
        )
        plan = _fit_cap(plan, config, run, gathered, prices, ranked)
    run.store.create(plan_path(_newest(run)[0]), plan.to_json())
    return load_plan(run) or plan


def _choose(config: Config, ranked: RankedSpill, valid: int, base: int) -> Cut:
    budget = config.budget
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
    names = ("all_weak_nano", "all_strong_nano", "frontier", "histogram", "embedding_nano")
    kept = {name: getattr(plan, name) for name in names}
    return replace(lower, degraded=degraded, **kept)


def copies_path(cut: Cut, shard: Shard) -> str:
    """Path of a shard's table of rows that take their answer from another row."""
    return f"copies/{cut.key:09x}-{cut.tie:016x}/{shard.name}.parquet"
