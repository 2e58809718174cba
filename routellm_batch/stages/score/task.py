"""Stage 1, score: shards in, ``score/<shard>.parquet`` out. A score never changes once it is written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.spend.embeddings import MAX_TOKENS, worst_nano, worst_tokens
from routellm_batch.config.job import Config
from routellm_batch.core.protocols import Router
from routellm_batch.core.types import InvalidKind, PromptBatch, Shard
from routellm_batch.endpoints.meter import metered
from routellm_batch.routers import get_router
from routellm_batch.storage.chats import BadChat
from routellm_batch.storage.dataset import pinned_schema
from routellm_batch.storage.inputs import read_rows
from routellm_batch.storage.paid import PaidTry, paid_by_shard
from routellm_batch.storage.prompts import (
    Prompt,
    decode_ids,
    decode_prompts,
    input_columns,
    refuse_unbounded,
    tie_hash,
)
from routellm_batch.storage.run import Run
from routellm_batch.storage.tables import ID_INTEGER, ID_TEXT, score_schema, to_parquet

STAGE = "score"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Some consecutive shards to score."""

    config: Config
    """The job."""
    run: Run
    """Its folder."""
    shards: Sequence[Shard]
    """What to score."""
    allowance_nano: int | None = None
    """What its embeddings may cost; None without a limit."""
    known_nano: int = 0
    """What the driver knew was paid for these shards when it set the allowance. What storage holds beyond it comes off the
    allowance: another try, whose process died, had the same allowance."""


@dataclass(frozen=True, slots=True)
class ScoreReceipt:
    """What a score task did; small, as it travels through the scheduler."""

    shards: int
    """Shards that were scored."""
    rows: int
    """Rows in them."""
    paid_nano: int = 0
    """Settled and presumed for embeddings, beyond what was known before."""


def score_shards(task: ScoreTask) -> ScoreReceipt:
    """Score every shard of a task and mark each as done.

    Raises:
        DataError: an input row can't even be named.
        CheckpointError: the router's weights are unusable.
        StopError: the embedder's endpoint failed for good, or the allowance pays for no further request.

    """
    paid_nano = 0
    if task.allowance_nano is not None:
        tries = [paid_by_shard(task.run, shard.name) for shard in task.shards]
        paid_nano = sum(use.paid_nano for uses in tries for use in uses.values()) - task.known_nano
    for shard in task.shards:
        left = None if task.allowance_nano is None else task.allowance_nano - paid_nano
        paid = PaidTry(task.run, shard.name, str(task.config.router.embedder.model))
        with metered(left, paid.declare) as meter:
            try:
                table = score_shard(task, shard)
            finally:
                paid.close(meter.use)
        paid_nano += meter.use.paid_nano
        task.run.store.create(f"{STAGE}/{shard.name}.parquet", to_parquet(table))
        task.run.commit(STAGE, shard.name, {"rows": table.num_rows})
    return ScoreReceipt(len(task.shards), sum(shard.rows for shard in task.shards), paid_nano)


def bound_shards(task: ScoreTask) -> Sequence[int]:
    """Return the most nano-dollars that the ``remote`` embeddings of each shard can cost; nothing is called."""
    return [_bound_nano(task, shard) for shard in task.shards]


def _bound_nano(task: ScoreTask, shard: Shard) -> int:
    config, file = task.config, task.run.files[shard.file]
    embedder = config.router.embedder
    price = usd_to_nano(embedder.price.input) if embedder.price else 0
    longest = embedder.max_tokens or MAX_TOKENS
    table = read_rows(file, shard.start, shard.rows, input_columns(config.input.columns))
    prompts = decode_prompts(table, config.input, config.label)
    refuse_unbounded(prompts, range(shard.start, shard.start + shard.rows), config, file.uri)
    texts = [p.text.encode("utf-8", "replace") for p in prompts if isinstance(p, Prompt)]
    # Text by text, which bounds the sum of requests that are each rounded up; and one more that asks for the width.
    sizes = [1, *(min(len(text), longest) for text in texts)]
    return sum(worst_nano(price, [worst_tokens(size)]) for size in sizes)


def score_shard(task: ScoreTask, shard: Shard) -> pa.Table:
    """Read, check and score one shard; its rows are one batch, so a score depends on the shard alone.

    Returns:
        The table that ``score/`` holds of the shard, with a row for each row of the input.

    Raises:
        DataError: an input row can't even be named.
        CheckpointError: the router's weights are unusable.
        StopError: the embedder's endpoint failed for good, or the allowance pays for no further request.

    """
    config, file = task.config, task.run.files[shard.file]
    # Kept columns that have to change their type are read too: what doesn't fit is found before anything is paid.
    changed = [name for name in config.input.keep if name in pinned_schema(file).names]
    table = read_rows(file, shard.start, shard.rows, input_columns(config.input.columns, changed))
    ids = decode_ids(table.column(config.input.columns.id), file, shard, config.input.columns.id)
    prompts: list[Prompt | InvalidKind | BadChat] = decode_prompts(table, config.input, config.label)
    refuse_unbounded(prompts, range(shard.start, shard.start + shard.rows), config, file.uri)
    valid = [n for n, prompt in enumerate(prompts) if isinstance(prompt, Prompt) and ids[n] is not None]
    scores = np.full(len(prompts), np.nan, dtype=np.float32)
    if valid:
        batch = PromptBatch(
            [ids[n] or 0 for n in valid], [p.text for n in valid if isinstance(p := prompts[n], Prompt)]
        )
        router = get_router(
            config.router.name,
            checkpoint=config.router.checkpoint,
            embedder=config.router.embedder,
            seed=config.run.seed,
            options=config.router.options,
        )
        scores[valid] = score_halving(router, batch)
        if lost := int(np.isnan(scores[valid]).sum()):
            log.warning("shard %s: %d prompts have no score and go to failed/", shard.name, lost)
    return _table(prompts, ids, scores, config)


def score_halving(router: Router, batch: PromptBatch) -> NDArray[np.float32]:
    """Return the scores of a batch, float32 [B].

    Where memory runs out the halves of the batch are scored apart; a prompt for which it does not suffice alone has NaN.
    """
    try:
        return router.score(batch)
    except MemoryError:
        if len(batch.texts) <= 1:
            return np.full(len(batch.texts), np.nan, dtype=np.float32)
    middle = len(batch.texts) // 2
    parts = (slice(None, middle), slice(middle, None))
    return np.concatenate(
        [score_halving(router, PromptBatch(batch.ids[part], batch.texts[part])) for part in parts]
    )


def _table(
    prompts: Sequence[Prompt | InvalidKind | BadChat],
    ids: Sequence[str | int | None],
    scores: np.ndarray,
    config: Config,
) -> pa.Table:
    finite, seed, parts = np.isfinite(scores), config.run.seed, config.input.part_tokens
    kinds = [
        (None if finite[n] or ids[n] is None else str(InvalidKind.BAD_SCORE))
        if isinstance(p, Prompt)
        else str(p)
        for n, p in enumerate(prompts)
    ]
    good = [p if isinstance(p, Prompt) else None for p in prompts]
    schema = score_schema(ID_INTEGER if any(isinstance(i, int) for i in ids) else ID_TEXT)
    columns = [
        range(len(prompts)),
        ids,
        kinds,
        pa.array(scores + np.float32(0), mask=~finite),  # Adding 0 turns -0 into 0.
        [None if i is None else tie_hash(i, seed) for i in ids],
        [None if p is None else p.content for p in good],
        [None if p is None else p.tokens for p in good],
        [None if p is None else p.size_bytes + sum(map(parts.expected, p.parts)) for p in good],
        [None if p is None else len(p.chat) for p in good],
        [None if p is None else p.chars for p in good],
    ]
    arrays = [
        pa.array(c, type=f.type) if not isinstance(c, pa.Array) else c
        for c, f in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
