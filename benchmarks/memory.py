"""Peak memory of the driver and of a worker in a whole run, at 100,000 rows and at a million.

python -m benchmarks.memory [--rows N …] [--router NAME] [--workers N] [--row-group ROWS]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prompts import REPO
from benchmarks.table import Table, machine
from routellm_batch.endpoints.simulator.process import start_server
from routellm_batch.endpoints.simulator.spec import SimulateSpec

ROWS, QUICK_ROWS = (100_000, 1_000_000), (2_000,)
ROW_GROUP = 65_536
SHARE = "0.26"
STAGES = ("score", "plan", "call")
OPTIONS: dict[str, dict[str, Any]] = {
    "length": {"name": "length"},
    "outcome": {"name": "outcome", "checkpoint": "builtin:outcome-v1", "embedder": {"name": "static"}},
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is the same for every number of rows."""

    router: str = "length"
    workers: int = 2
    row_group: int = ROW_GROUP
    """Rows to a row group of the input file: a worker decodes a whole one."""


def run(*, quick: bool, rows: Sequence[int] | None = None, case: Case | None = None) -> Table:
    """Run a job for each number of rows, each in fresh processes."""
    case = case or Case()
    counts = rows or (QUICK_ROWS if quick else ROWS)
    lines: list[list[str]] = []
    first: dict[str, Any] = {}
    for count in counts:
        found = _once(count, case)
        first = first or found
        lines.append(_line(count, found, first))
    headings = [
        "rows",
        "seconds",
        "rows/s",
        *(f"driver after {stage}, MB" for stage in STAGES),
        "driver, MB",
        "driver, times",
        "worker after score, MB",
        "worker, MB",
        "worker, times",
    ]
    notes = [
        f"n = 1; `router: {case.router}`, `cluster: {{kind: local, workers: {case.workers}}}`, {SHARE} strong.",
        f"Distinct prompts in row groups of {case.row_group:,}; servers that answer at once, processes of their own.",
        "Peaks of resident memory (VmHWM), interpreter and libraries included; of the workers the higher one.",
        "Times: of the first line. To be reached: 1.2.",
    ]
    return Table("Memory", headings, lines, notes)


def _line(count: int, found: dict[str, Any], first: dict[str, Any]) -> list[str]:
    driver, worker = found["driver"], found["worker"]
    return [
        f"{count:,}",
        f"{found['seconds']:.0f}",
        f"{count / found['seconds']:,.0f}",
        *(f"{driver[stage] / 1e6:.0f}" for stage in (*STAGES, "end")),
        f"{driver['end'] / first['driver']['end']:.2f}",
        f"{worker['score'] / 1e6:.0f}",
        f"{worker['call'] / 1e6:.0f}",
        f"{worker['call'] / first['worker']['call']:.2f}",
    ]


def _once(rows: int, case: Case) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    try:
        write_prompts(folder / "prompts.parquet", rows, case.row_group)
        with ExitStack() as stack:
            urls = [
                stack.enter_context(start_server(SimulateSpec(model=name, output_tokens=16))).base_url
                for name in ("large", "small")
            ]
            path = folder / "job.yaml"
            path.write_text(json.dumps(_config(folder, urls, case)))  # JSON is YAML
            command = [sys.executable, "-m", "benchmarks.memory_child", str(path)]
            done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
        return dict(json.loads(done.stdout))
    finally:
        shutil.rmtree(folder)


def write_prompts(path: Path, rows: int, row_group: int) -> None:
    """Write short distinct prompts, a row group at a time."""
    schema = pa.schema([("id", pa.string()), ("prompt", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, row_group):
            numbers = range(start, min(rows, start + row_group))
            texts = [
                f"Question {n}: what is {n % 97} times {n % 89}? {'Show how. ' * (n % 13)}" for n in numbers
            ]
            writer.write_table(pa.table([[f"row-{n:08d}" for n in numbers], texts], schema=schema), row_group)


def _config(folder: Path, urls: Sequence[str], case: Case) -> dict[str, Any]:
    def end(model: str, url: str, price: tuple[str, str]) -> dict[str, Any]:
        return {
            "kind": "openai",
            "base_url": url,
            "model": model,
            "price": {"input": price[0], "output": price[1]},
            "params": {"max_completion_tokens": 64},
            "limits": {"concurrency": 64},
        }

    return {
        "run": {"id": "run", "root": str(folder)},
        "input": {"uri": str(folder / "prompts.parquet"), "columns": {"id": "id", "prompt": "prompt"}},
        "router": OPTIONS[case.router],
        "budget": {"strong_share": SHARE},
        "endpoints": {
            "strong": end("large", urls[0], ("2.5", "10")),
            "weak": end("small", urls[1], ("0.1", "0.4")),
        },
        "cluster": {"kind": "local", "workers": case.workers},
    }


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--rows", type=int, action="append", help="may be repeated; the first is compared with"
    )
    parser.add_argument("--router", choices=sorted(OPTIONS), default="length")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--row-group", type=int, default=ROW_GROUP)
    given = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    print(run(quick=False, rows=given.rows, case=Case(given.router, given.workers, given.row_group)))


if __name__ == "__main__":
    main()
