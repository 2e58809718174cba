"""Small jobs for tests: prompts in Parquet, a config, a run, and what it left behind."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from helpers.patience import MOST

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.config.job import Config, check_config
from routellm_batch.core.events import Event, Notice
from routellm_batch.core.worker import this_worker
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import Run, open_existing

TIMEOUT_S = 5 * MOST
"""Of a call: longer than any stub takes on a busy machine. What a hang does is for tests that set a time of their own."""
DEAD_URL = "http://127.0.0.1:9/v1"
"""Where nothing listens."""
PRICES = {
    "strong": {"input": Decimal("2.5"), "output": Decimal(10)},
    "weak": {"input": Decimal("0.1"), "output": Decimal("0.4")},
}


def prompts(count: int, *, prefix: str = "Prompt") -> list[str]:
    """Return distinct prompts whose lengths differ, so that the length router ranks them without a tie."""
    return [f"{prefix} {n}: {'x' * (n + 1)}" for n in range(count)]


def write_prompts(
    path: Path,
    texts: Sequence[Any],
    *,
    ids: Sequence[Any] | pa.Array | None = None,
    row_group_size: int | None = None,
    **columns: Any,
) -> Path:
    """Write a Parquet file of ``id``, ``prompt`` and further columns; ids default to ``r0000``, ``r0001``, …."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = [f"r{n:04d}" for n in range(len(texts))] if ids is None else ids
    text = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    pq.write_table(pa.table({"id": named, "prompt": text, **columns}), path, row_group_size=row_group_size)
    return path


def job_tree(
    folder: Path,
    *,
    source: str | Path = "in.parquet",
    strong: str = DEAD_URL,
    weak: str = DEAD_URL,
    **changes: Any,
) -> dict[str, Any]:
    """Return a config tree for a run below a folder.

    ``changes`` set keys by path with ``__`` for the dots (``budget__usd=1``); None takes a key away.
    """
    tree: dict[str, Any] = {
        "run": {"id": "job", "root": str(folder / "root")},
        "input": {"uri": str(folder / source), "columns": {"id": "id", "prompt": "prompt"}, "shard_rows": 8},
        "router": {"name": "length"},
        "budget": {"strong_share": Decimal("0.25")},
        "endpoints": {
            route: {
                "kind": "openai",
                "base_url": url,
                "model": f"{route}-model",
                "price": dict(PRICES[route]),
                "params": {"max_completion_tokens": 32},
                "timeout_s": TIMEOUT_S,
            }
            for route, url in (("strong", strong), ("weak", weak))
        },
        "retry": {"budget": 1},
        "cluster": {"kind": "serial"},
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = tree
        for part in parents:
            at = at.setdefault(part, {})
        if value is None:
            at.pop(last, None)
        else:
            at[last] = copy.deepcopy(value)
    return tree


def job_config(folder: Path, **settings: Any) -> Config:
    """Return the checked config of ``job_tree``."""
    return check_config(job_tree(folder, **settings), source="job.yaml")


@dataclass(frozen=True)
class Finished:
    """How a job ended, and what it left on storage."""

    exit_code: int
    run_uri: str
    lines: Sequence[str]
    events: Sequence[Event] = field(default_factory=list)

    @property
    def run(self) -> Run:
        """The run folder."""
        return open_existing(self.run_uri)[0]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every row of ``responses/``, the newest of each id, in input order."""
        return responses(self.run)

    @property
    def by_id(self) -> dict[Any, dict[str, Any]]:
        """The same by id; each id is there once."""
        rows = self.rows
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows)
        return found

    @cached_property
    def cost(self) -> dict[str, Any]:
        """``report/cost.json``, as it was when the job ended."""
        return dict(json.loads(self.run.store.read("report/cost.json")))

    @property
    def invalid(self) -> list[dict[str, Any]]:
        """Every row of ``failed/``."""
        run = self.run
        names = [o.path for o in run.store.list("failed")]
        return [row for name in names for row in _table(run, name).to_pylist()]

    @property
    def notices(self) -> list[str]:
        """What the user was told while it ran."""
        return [event.text for event in self.events if isinstance(event, Notice)]

    def strong_ids(self) -> list[Any]:
        """Ids that went strong, sorted."""
        return sorted(row["id"] for row in self.rows if row["route"] == "strong")

    def objects(self) -> list[str]:
        """Paths of all objects of the run."""
        return [o.path for o in self.run.store.list("")]


def responses(run: Run) -> list[dict[str, Any]]:
    """Return all responses of a run as rows."""
    tables = [read_shard_responses(run, shard.name) for shard in run.shards]
    return [row for table in tables if table is not None for row in table.to_pylist()]


def _table(run: Run, path: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(run.store.read(path)))


def settings_of_this_worker(**settings: Any) -> AbstractContextManager[object]:
    """Change settings of this process's own worker."""
    return patch.object(this_worker(), "settings", replace(this_worker().settings, **settings))


@contextmanager
def quick_waits() -> Iterator[None]:
    """Let retries wait for milliseconds, not for seconds."""
    with (
        settings_of_this_worker(base_wait_s=0.004, max_wait_s=0.02, look_s=0.01, poll_s=0.05),
        patch.multiple(
            "routellm_batch.endpoints.pacing.breaker", PROBE_S=0.01, MAX_PROBE_S=0.05, NEVER_ANSWERED_S=0.5
        ),
    ):
        yield


def no_page() -> AbstractContextManager[object]:
    """Leave the HTML pages out: they are half of a small job's time."""
    pages = {name: lambda _: "<p>No page." for name in ("render_report", "render_plan")}
    return patch.multiple("routellm_batch.pipeline.outputs", **pages)


def run_job(config: Config, *, retry_failed: bool = False, page: bool = False) -> Finished:
    """Run a job to its end in this process; with the HTML page only where it is asked for."""
    from routellm_batch.pipeline.jobs import run_job as run_it

    events: list[Event] = []
    with quick_waits(), nullcontext() if page else no_page():
        result = run_it(config, events.append, retry_failed=retry_failed)
    finished = Finished(result.exit_code, result.run_uri, result.outputs.lines, events)
    assert finished.cost  # read now, as a later start writes it anew
    return finished


def plan_job(config: Config) -> Finished:
    """Score and plan in this process."""
    from routellm_batch.pipeline.jobs import plan_job as plan_it

    events: list[Event] = []
    result = plan_it(config, events.append)
    return Finished(result.exit_code, result.run_uri, result.outputs.lines, events)


def billing(*logs: Path) -> list[dict[str, Any]]:
    """Return the lines of some billing logs, in order of time, with ``nano`` as integer nano-dollars.

    A last line that is being written is left out.
    """
    lines = [
        json.loads(line)
        for log in logs
        if log.exists()
        for line in log.read_text().splitlines()
        if line.endswith("}")
    ]
    return sorted(
        ({**line, "nano": usd_to_nano(Decimal(line["usd"]))} for line in lines), key=lambda one: one["t"]
    )


def nano(usd: str) -> int:
    """Return a sum of cost.json in nano-dollars."""
    return usd_to_nano(Decimal(usd))


def comparable(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without what two equal runs may differ in."""
    return [{k: v for k, v in row.items() if k not in {"attempts", "latency_s"}} for row in rows]
