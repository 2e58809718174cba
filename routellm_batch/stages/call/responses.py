"""From the ledger to ``responses/`` and ``failed/``: what the user reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from routellm_batch.budget.pricing import estimated_chars, nano_to_usd
from routellm_batch.budget.spend.observed_lengths import ObservedLengths, observe_lengths
from routellm_batch.budget.spend.projection import FinishedCalls
from routellm_batch.budget.spend.summary import (
    KEPT,
    CallSummary,
    FailedRow,
    Failures,
    RouteTotals,
    SlowRow,
    add_failures,
    latency_bin,
)
from routellm_batch.config.job import LabelConfig
from routellm_batch.core.types import ROUTES, STRONG, ErrorDetail, ErrorKind, Route, Shard, Usage
from routellm_batch.stages.call.labels import field_columns
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.state import LedgerState
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import failed_schema, response_schema, to_parquet

FINAL = frozenset({"ok", "failed"})
CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "token_limit"})
"""Finish reasons of an answer that was cut off at its limit of tokens, in small letters."""
HALTING = frozenset(map(str, (ErrorKind.AUTH, ErrorKind.QUOTA, ErrorKind.NOT_FOUND, ErrorKind.REDIRECT)))
"""Errors that say that no row can be answered."""


def copy_of(record: CallRecord, row: int) -> CallRecord:
    """Return an owner's record as a copy's: the same answer, nothing sent, nothing paid."""
    return replace(
        record, row=row, attempts=0, reasks=0, usage=Usage(), cost_nano=0, presumed_nano=0, latency_s=None
    )


def response_table(
    label: LabelConfig | None,
    scores: pa.Table,
    kept: pa.Table,
    records: Mapping[int, CallRecord],
    rows: Iterable[int],
) -> pa.Table:
    """Return some rows of a shard as ``responses/`` holds them.

    Args:
        label: what the job's labels are; None where the job asks for none.
        scores: the shard's score table.
        kept: the shard's kept input columns, row for row.
        records: row → final record.
        rows: rows to put in, in order.

    """
    chosen = list(rows)
    at = pa.array(chosen, pa.int64())  # typed, as there may be none
    final = [records[row] for row in chosen]
    columns: dict[str, object] = {
        "id": scores.column("id").take(at),
        "route": [r.route for r in final],
        "score": scores.column("score").take(at),
        "model": [r.model for r in final],
        "answer": [r.answer for r in final],
        "finish_reason": [r.finish_reason for r in final],
        "status": [r.status for r in final],
        "error_kind": [r.error_kind for r in final],
        "attempts": [r.attempts for r in final],
        "input_tokens": [r.usage.input_tokens for r in final],
        "cached_input_tokens": [r.usage.cached_input_tokens for r in final],
        "output_tokens": [r.usage.output_tokens for r in final],
        "reasoning_tokens": [r.usage.reasoning_tokens for r in final],
        "cost_usd": [nano_to_usd(r.cost_nano) for r in final],
        "latency_s": [r.latency_s for r in final],
        "request_key": [r.request_key for r in final],
    }
    if label is not None:
        columns[label.column] = [r.label for r in final]
        columns |= field_columns(label.fields, [r.label for r in final])
    kept_rows = kept.take(at)
    columns |= {name: kept_rows.column(name) for name in kept.column_names}
    name, fields = (label.column, label.fields) if label is not None else (None, {})
    schema = response_schema(scores.schema.field("id").type, list(kept.schema), name, fields)
    return pa.Table.from_pydict(columns, schema=schema)


def failed_table(scores: pa.Table, run: Run, shard: Shard) -> pa.Table | None:
    """Return the shard's invalid rows, or None if there are none."""
    invalid = scores.filter(pc.is_valid(scores.column("kind")))
    if not invalid.num_rows:
        return None
    columns = {
        "id": invalid.column("id"),
        "file": [run.files[shard.file].uri] * invalid.num_rows,
        "row": [shard.start + row for row in invalid.column("row").to_pylist()],
        "kind": invalid.column("kind"),
    }
    return pa.Table.from_pydict(columns, schema=failed_schema(scores.schema.field("id").type))


def summarise(
    scores: pa.Table, records: Mapping[int, CallRecord], copies: Mapping[int, CallRecord], state: LedgerState
) -> CallSummary:
    """Return what a shard's calls did; ``records`` are its own, ``copies`` those taken from other rows."""
    final = {row: r for row, r in [*records.items(), *copies.items()] if r.status in FINAL}
    ids = scores.column("id").to_pylist()
    failed = sorted(row for row, r in final.items() if r.status == "failed")
    timed = sorted((r for r in final.values() if r.latency_s is not None), key=lambda r: -(r.latency_s or 0))
    errors: dict[str, int] = {}
    for row in failed:
        kind = final[row].error_kind or "unknown"
        errors[kind] = errors.get(kind, 0) + 1
    valid = scores.num_rows - scores.column("kind").drop_null().length()
    return CallSummary(
        ok=len(final) - len(failed),
        failed=len(failed),
        strong_rows=sum(r.route == STRONG for r in final.values()),
        unfunded=valid - len(final),
        reasked=sum(r.reasks > 0 for r in records.values()),
        copies=len([row for row in copies if row in final]),
        routes=route_totals(LedgerState(records, state.orphans), scores),
        errors=errors,
        slowest=[SlowRow(str(ids[r.row]), r.route, r.latency_s or 0) for r in timed[:KEPT]],
        failures=[
            FailedRow(str(ids[row]), final[row].route, final[row].error_kind or "unknown")
            for row in failed[:KEPT]
        ],
        reasons=_reasons(final[row] for row in failed),
        halts=_reasons(r for r in records.values() if r.status == "unsent" and r.error_kind in HALTING),
        truncated=_truncated(final.values()),
    )


def _reasons(failed: Iterable[CallRecord]) -> list[Failures]:
    """Return why rows have no answer, by endpoint and by what it said."""
    return add_failures(
        Failures(one.route, one.error_kind or "unknown", detail=one.detail or ErrorDetail()) for one in failed
    )


def _truncated(final: Iterable[CallRecord]) -> dict[str, int]:
    """Return how many answers of each route were cut off at their limit of tokens."""
    cut_off = [one.route for one in final if (one.finish_reason or "").lower() in CUT_OFF]
    return {route: cut_off.count(route) for route in ROUTES if route in cut_off}


def route_totals(state: LedgerState, scores: pa.Table) -> dict[str, RouteTotals]:
    """Return what a shard's own calls did and cost, by route."""
    ended = ended_calls(scores, state.records)
    return {route: _totals(route, state, ended[route], _heard(route, state, scores)) for route in ROUTES}


def ended_calls(scores: pa.Table, records: Mapping[int, CallRecord]) -> dict[Route, FinishedCalls]:
    """Return a shard's own calls that are answered or failed beside what was expected of them, by route."""
    tokens = scores.column("tokens").to_pylist()
    ended: dict[Route, FinishedCalls] = {route: FinishedCalls() for route in ROUTES}
    for row, record in records.items():
        if record.status in FINAL:
            paid, expected = record.cost_nano > 0, tokens[row] or 0
            one = FinishedCalls(1, expected, int(paid), expected if paid else 0, record.cost_nano)
            ended[record.route] += one
    return ended


def _heard(route: Route, state: LedgerState, scores: pa.Table) -> ObservedLengths:
    """Return what is learned from a shard's answers on a route: those of one request each, in row order."""
    chars = _chars(scores)
    records = (state.records[row] for row in sorted(state.records))
    return observe_lengths(
        (chars[one.row], one.usage.input_tokens, one.usage.output_tokens)
        for one in records
        if one.route == route and one.status == "ok" and one.attempts == 1 and one.usage.output_tokens
    )


def _chars(scores: pa.Table) -> list[int]:
    """Return the characters of each row's prompt; older runs kept their estimated tokens alone."""
    if "chars" in scores.column_names:
        return list(scores.column("chars").to_pylist())
    tokens, turns = scores.column("tokens").to_pylist(), scores.column("turns").to_pylist()
    return [estimated_chars(*both) if None not in both else 0 for both in zip(tokens, turns, strict=True)]


def _totals(route: Route, state: LedgerState, ended: FinishedCalls, learned: ObservedLengths) -> RouteTotals:
    mine = [r for r in state.records.values() if r.route == route]
    usage, bins = Usage(), dict[int, int]()
    for record in mine:
        usage = usage + record.usage
        if record.latency_s is not None:
            number = latency_bin(record.latency_s)
            bins[number] = bins.get(number, 0) + 1
    return RouteTotals(
        calls=sum(r.status in FINAL for r in mine),
        attempts=sum(r.attempts for r in mine),
        usage=usage,
        spent_nano=sum(r.cost_nano for r in mine),
        presumed_nano=sum(r.presumed_nano for r in mine) + state.orphans.get(route, (0, 0))[1],
        latency_bins=bins,
        ended=ended,
        heard=learned,
        taken=sum(r.status == "ok" and not r.attempts for r in mine),
        uncounted=sum(not r.counted for r in mine),
        ok=sum(r.status == "ok" for r in mine),
        answered=sum(r.has_answer for r in mine),
    )


def write_failed(run: Run, shard: Shard, scores: pa.Table) -> None:
    """Put a shard's invalid rows, if it has any."""
    table = failed_table(scores, run, shard)
    if table is not None:
        run.store.create(f"failed/{shard.name}.parquet", to_parquet(table))
