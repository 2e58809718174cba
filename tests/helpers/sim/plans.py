"""Small runs that are scored and planned for real, once, and then called again and again in simulated worlds."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from helpers.jobs import job_config, plan_job, prompts, write_prompts
from helpers.sim.parts import Scene
from helpers.sim.store import MemoryStore

from routellm_batch.core.types import ROUTES
from routellm_batch.stages.plan.files import load_plan

ROWS, SHARD_ROWS = 9, 3
KINDS: Mapping[str, Mapping[str, Any]] = {
    "open": {},
    "stop": {"budget__on_overrun": "stop"},
    "degrade": {"budget__on_overrun": "degrade"},
    "unbilled": {f"endpoints__{route}__presume_5xx": False for route in ROUTES},
}
"""Without a cap, with caps of both kinds, and with endpoints that never bill a 5xx."""


@cache
def planned(kind: str) -> Scene:
    """Plan a run of three shards; its last prompt is its second one again, so that the last shard waits for the first."""
    folder = Path(tempfile.mkdtemp(prefix="routellm-plan-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    texts = prompts(ROWS - 1)
    texts.append(texts[1])
    write_prompts(folder / "in.parquet", texts)
    given = {"limits": {"concurrency": 4}, "timeout_s": 5}
    ends = {f"endpoints__{route}__{key}": value for route in ROUTES for key, value in given.items()}
    retry = {"attempts": 3, "deadline_s": 60, "budget": 1, "max_error_rate": 1}
    settings = {"budget": {"strong_share": 0.5}, "retry": retry, **ends, **KINDS[kind]}
    config = job_config(folder, input__shard_rows=SHARD_ROWS, **settings)
    run = plan_job(config).run
    plan = load_plan(run)
    assert plan is not None
    root = Path(run.uri)
    objects = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    kept = {p: data for p, data in objects.items() if not p.startswith(("epoch/", "report/"))}
    places = {text: divmod(row, SHARD_ROWS) for row, text in reversed(list(enumerate(texts)))}
    return Scene(
        kept,
        replace(run, store=MemoryStore(run.uri)),
        plan,
        config,
        {text: (f"{shard:06d}", row) for text, (shard, row) in places.items()},
    )
