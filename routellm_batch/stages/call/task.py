"""Stage 3, call: one shard in; its ledger, responses and marker out.

Two modes. *call* makes the calls that are missing; *finish* makes none and writes what the ledgers hold, for
shards whose rows wait for another shard's answer, and for those that the budget left unfinished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from routellm_batch.core.types import STRONG, WEAK, ErrorKind, Route, Shard
from routellm_batch.core.worker import Worker, this_worker
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.call.deliver import Ending, deliver
from routellm_batch.stages.call.fanout import FanOut
from routellm_batch.stages.call.job import CallJob, EndpointPool, endpoint_pool
from routellm_batch.stages.call.queue import CallReceipt, ShardTask
from routellm_batch.stages.call.requests import Call, build_call
from routellm_batch.stages.call.responses import FINAL, ended_calls
from routellm_batch.stages.call.reuse import reused
from routellm_batch.stages.call.standing import REFUSALS, suspects, undecided
from routellm_batch.stages.plan.make import copies_path
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.ledger.epoch import add_caller
from routellm_batch.storage.ledger.local import left_here, local_folder
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import RUNNER_BYTES, ShardLedger
from routellm_batch.storage.ledger.state import LedgerState
from routellm_batch.storage.ledger.succession import adopt, wait_for_predecessors
from routellm_batch.storage.ledger.writer import LedgerWriter
from routellm_batch.storage.prompts import Prompt, decode_prompts, input_columns, refuse_unbounded
from routellm_batch.storage.tables import from_parquet

PERMANENT = frozenset(
    str(kind)
    for kind in (
        ErrorKind.BAD_REQUEST,
        ErrorKind.CONTEXT_LENGTH,
        ErrorKind.CONTENT_FILTER,
        ErrorKind.REFUSAL,
        ErrorKind.EMPTY_ANSWER,
        ErrorKind.INVALID_LABEL,
    )
)
"""Failures that a resume does not try again; ``--retry-failed`` does."""


@dataclass(frozen=True, slots=True)
class CallTask:
    """One shard to call, or to finish, as it travels to a process."""

    job: CallJob
    """What all tasks of this start share."""
    work: ShardTask
    """What is to be done with the shard."""

    @property
    def shard(self) -> Shard:
        """The shard."""
        return self.work.shard


@dataclass
class _Open:
    """A shard being worked on."""

    scores: pa.Table
    """Its score table."""
    routes: list[Route]
    """Row → where it is sent."""
    copies: Mapping[int, tuple[int, int]]
    """Row → its owner's (shard, row)."""
    ledger: ShardLedger
    """Its ledger, read and, once claimed, written."""
    state: LedgerState
    """What the ledger held when it was last read."""


def call_shard(task: CallTask, worker: Worker | None = None) -> CallReceipt:
    """Do one shard (see the module).

    Args:
        task: what is to be done.
        worker: the process that does it; None for this one.

    Returns:
        What was done and spent.

    Raises:
        DataError: the input changed or was damaged since it was scored.
        ConfigError: a key reference is unknown on this worker.
        FencedError: another start of the run, or a copy of this task, has taken the shard over.

    """
    here = worker or this_worker()
    shard = _open(task, here)
    calls = _missing(task, shard, shard.state.records) if task.work.mode == "call" else []
    # Where no call is missing a runner may still be at work, on rows that another has answered: the claim ends it.
    if calls or (task.work.mode == "call" and shard.state.held):
        _claim(task, shard, here)
        calls = _missing(task, shard, shard.state.records)
    before, stop, short, unsent = shard.state.spent_nano, None, False, 0
    wallet = Wallet(
        None if task.work.grant_nano is None else task.work.grant_nano - max(0, before - task.work.known_nano)
    )
    records = dict(shard.state.records)
    if calls:
        pool = endpoint_pool(task.job, here)
        results = _fan_out(task, pool, shard, wallet, calls)
        stop, short = pool.stop, wallet.empty
        for row, record in results.items():
            records[row] = record.after(records[row]) if row in records else record
        unsent = sum(call.row not in results or results[call.row].status == "unsent" for call in calls)
    shard.ledger.finish()
    waits = any(owner != task.shard.index for owner, _ in shard.copies.values())
    # A process that stopped calling for errors leaves its shards open: a resume may answer the rows that failed.
    committed = task.work.mode == "finish" or (unsent == 0 and not waits and stop is None)
    if committed:
        ending = Ending(
            task.job, task.shard, shard.scores, shard.copies, shard.ledger, task.work.revision, here
        )
        deliver(ending, LedgerState(records, shard.state.orphans))
    total = before + wallet.settled_nano + wallet.presumed_nano
    ended = ended_calls(shard.scores, records)
    return CallReceipt(
        task.shard.index,
        committed,
        unsent,
        total,
        stop,
        short,
        ended,
        answered=_answered(records),
        undecided=undecided(records),
    )


def _answered(records: Mapping[int, CallRecord]) -> frozenset[Route]:
    """Return the routes whose endpoint has answered a row."""
    return frozenset(record.route for record in records.values() if record.has_answer)


def _open(task: CallTask, worker: Worker) -> _Open:
    job, shard = task.job, task.shard
    scores = from_parquet(job.run.store.read(f"score/{shard.name}.parquet"))
    columns = scores.column("score").to_numpy(), scores.column("tokens").fill_null(0).to_numpy()
    strong = job.cut.strong(job.ranker.keys(*columns), scores.column("tie").fill_null(0).to_numpy())
    copies: dict[int, tuple[int, int]] = {}
    if task.work.has_copies:
        rows = from_parquet(job.run.store.read(copies_path(job.copies_cut or job.cut, shard))).to_pylist()
        copies = {row["row"]: (row["owner_shard"], row["owner_row"]) for row in rows}
    runner = worker.new_name(RUNNER_BYTES)
    ledger = ShardLedger(job.run.store, shard.name, epoch=job.epoch, turn=task.work.turn, runner=runner)
    return _Open(scores, [STRONG if s else WEAK for s in strong], copies, ledger, ledger.load())


def is_wanted(work: ShardTask, record: CallRecord | None) -> bool:
    """Whether a task is to call a row: a committed shard keeps its failures, unless they are asked for.

    Args:
        work: what the task is to do.
        record: what the ledger holds of the row; None if nothing.

    """
    if record is None or record.status == "unsent":
        return True
    if record.status != "failed" or work.again:
        return False
    # A refusal that was left undecided may be decided now, by what became of other rows.
    if work.retry_failed or record.error_kind in REFUSALS:
        return True
    return record.error_kind not in PERMANENT and (not work.revision or record.route in work.doubted)


def _missing(task: CallTask, shard: _Open, records: Mapping[int, CallRecord]) -> list[Call]:
    """Return the calls that are to be made: those whose failing would tell nothing last, else in row order."""
    kinds, work = shard.scores.column("kind").to_pylist(), task.work
    own = [row for row, kind in enumerate(kinds) if kind is None and row not in shard.copies]
    wanted = {row for row in own if is_wanted(work, records.get(row))}
    changed = {
        row: one for row, one in records.items() if one.status == "failed" and one.route in work.changed
    }
    calls = _calls(task, shard, [row for row in own if row in wanted or row in changed])
    last = suspects(records, retry_failed=work.retry_failed)
    return sorted(
        # What a changed endpoint failed before it was changed had another request.
        (one for one in calls if one.row in wanted or one.request.key != changed[one.row].request_key),
        key=lambda one: one.row in last,
    )


def _calls(task: CallTask, shard: _Open, rows: list[int]) -> list[Call]:
    """Return the calls of some rows."""
    if not rows:
        return []
    config, run = task.job.config, task.job.run
    columns = input_columns(config.input.columns, config.input.keep)
    table = read_rows(run.files[task.shard.file], task.shard.start, task.shard.rows, columns)
    prompts = decode_prompts(table.take(rows), config.input, config.label)
    file, start = run.files[task.shard.file].uri, task.shard.start
    refuse_unbounded(
        prompts, [start + row for row in rows], config, file
    )  # the cap may be newer than the scores
    bounds = config.input.part_tokens
    return [
        build_call(row, shard.routes[row], config.endpoints.of(shard.routes[row]), prompt, bounds)
        for row, prompt in zip(rows, prompts, strict=True)
        if isinstance(prompt, Prompt)
    ]


def _claim(task: CallTask, shard: _Open, worker: Worker) -> None:
    """Become the shard's only runner, with all that earlier ones left."""
    run, token = task.job.run, task.job.token
    folder = local_folder(run.uri, worker.local_folder)
    adopted = worker.kept(AdoptedStarts)
    if token not in adopted.tokens:  # what dead processes left on this machine, whatever shard it is of
        adopt(run.store, folder)
        if not task.job.alone:
            add_caller(run.store, task.job.epoch, worker.name)
        adopted.tokens.add(token)

    def adopt_here() -> set[str]:
        adopt(run.store, folder, task.shard.name)
        return left_here(folder, task.shard.name)

    shard.state = wait_for_predecessors(
        shard.ledger,
        shard.ledger.claim(),
        adopt_here,
        lease_s=task.job.lease_s,
        worker=worker,
        stopping=lambda: worker.drains.draining(token),
    )


@dataclass(eq=False)
class AdoptedStarts:
    """Starts of runs for which a process has looked through its machine's local logs; kept by its ``Worker``."""

    tokens: set[str] = field(default_factory=set)
    """Names of the starts."""


def _fan_out(
    task: CallTask, pool: EndpointPool, shard: _Open, wallet: Wallet, calls: list[Call]
) -> dict[int, CallRecord]:
    worker = pool.worker
    folder = local_folder(task.job.run.uri, worker.local_folder)
    writer = LedgerWriter(shard.ledger, folder, lease_s=task.job.lease_s, worker=worker)
    try:
        open_rows = {call.row for call in calls}
        earlier = sum(r.status in FINAL and row not in open_rows for row, r in shard.state.records.items())
        for route in task.work.answered | _answered(shard.state.records):
            pool.standings[route].note_answered()
        fan_out = FanOut(
            task.shard.index,
            pool,
            writer,
            wallet,
            worker,
            round_token=task.job.round_token,
            earlier=earlier,
            suspects=suspects(shard.state.records, retry_failed=task.work.retry_failed),
        )
        worker.loop.run(fan_out.run(calls, reused(task.job.pilot, calls)))
    except ExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    finally:
        writer.close()
    return fan_out.records
