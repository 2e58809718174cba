"""A run that has been scored, written straight to a folder: what planning reads, and nothing else."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa

from routellm_batch.config.identity import identity
from routellm_batch.config.job import Config, check_config
from routellm_batch.core.encoding import to_json
from routellm_batch.core.types import InputFile, Shard
from routellm_batch.storage.changes import MANIFEST
from routellm_batch.storage.run import Run, open_existing
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import ID_TEXT, score_schema, to_parquet

TIED = 0.2
"""Share of rows with one and the same score, where ties are asked for."""
REPEATED = 0.1
"""Share of rows with a prompt that others have too, about five rows a prompt."""


def make_run(folder: Path, rows: int, shard_rows: int, *, ties: bool) -> None:
    """Write ``run.json`` and the score shards."""
    config = fake_config(folder, shard_rows)
    store = FsStore(str(folder))
    fields = {
        "id": "bench",
        "config": identity(config),
        "job": config.model_dump(mode="json", by_alias=True, exclude_none=True),
        "files": [asdict(InputFile(str(folder / "prompts.parquet"), 1, "sha256:0", (rows,)))],
    }
    store.create(MANIFEST, to_json(fields))
    run, _ = open_existing(str(folder))
    (folder / "score").mkdir()
    for shard in run.shards:
        # Not FsStore.create: there is no need to wait for the disk.
        path = folder / "score" / f"{shard.name}.parquet"
        path.write_bytes(to_parquet(_scores(run, shard, rows, ties=ties)))


def fake_config(folder: Path, shard_rows: int) -> Config:
    """Return a job over that folder; its budget is to be replaced."""
    tree = {
        "run": {"id": "bench", "root": str(folder)},
        "input": {
            "uri": str(folder / "prompts.parquet"),
            "columns": {"id": "id", "prompt": "prompt"},
            "shard_rows": shard_rows,
        },
        "budget": {"strong_share": Decimal("0.26")},
        "endpoints": {
            "strong": {"kind": "simulated", "model": "large", "price": {"input": 2.5, "output": 10}},
            "weak": {"kind": "simulated", "model": "small", "price": {"input": "0.1", "output": "0.4"}},
        },
    }
    return check_config(tree, source="benchmark")


def _scores(run: Run, shard: Shard, rows: int, *, ties: bool) -> pa.Table:
    rng, size = np.random.default_rng([run.seed, shard.index]), shard.rows
    score = rng.beta(2, 3, size).astype(np.float32)
    digest = rng.integers(0, 1 << 63, (size, 2), dtype=np.int64)
    tokens = rng.integers(20, 600, size).astype(np.int32)
    if ties:
        score[rng.random(size) < TIED] = 0.5
        again = rng.random(size) < REPEATED
        prompt = rng.integers(0, max(1, int(rows * REPEATED / 5)), int(again.sum()))
        digest[again] = np.stack([prompt * 0x9E3779B97F4A7C, prompt], axis=1)  # spread over the buckets
        tokens[again] = 20 + prompt % 580
    columns = [
        pa.array(np.arange(size, dtype=np.int32)),
        pa.array([f"row-{shard.start + row:09d}" for row in range(size)]),
        pa.nulls(size, pa.string()),
        pa.array(score),
        pa.array(rng.integers(0, 1 << 64, size, dtype=np.uint64)),
        pa.Array.from_buffers(pa.binary(16), size, [None, pa.py_buffer(digest.tobytes())]),
        pa.array(tokens),
        pa.array(tokens * 4),
        pa.array(np.ones(size, dtype=np.int32)),
        pa.array(tokens * 4),
    ]
    return pa.Table.from_arrays(columns, schema=score_schema(ID_TEXT))
