"""Calls a second of one process against a server that answers at once: plain loops, and the call stage."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prompts import REPO, load_prompts
from benchmarks.table import Table
from routellm_batch.endpoints.serve import start_server
from routellm_batch.endpoints.sim_spec import SimulateSpec

WAYS = {
    "sdk": "AsyncOpenAI, chat.completions.create",
    "post": "AsyncOpenAI, post(cast_to=Response) over aiohttp",
    "ours": "call stage",
    "no ledger": "call stage, its ledger thrown away",
    "bare": "bare aiohttp loop",
}
ROUNDS = 3
ROWS = 4_000
CONCURRENCY = 64
MICRO_BATCH = 64


def run(*, quick: bool) -> Table:
    """Run each way in fresh processes, the ways in turns."""
    rounds, rows = (1, 200) if quick else (ROUNDS, ROWS)
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    writes = 0.0
    try:
        texts, what = load_prompts(rows)
        table = pa.table({"id": [f"row-{n:06d}" for n in range(rows)], "prompt": texts})
        pq.write_table(table, folder / "prompts.parquet")
        with start_server(SimulateSpec(model="m")) as server:
            for _ in range(rounds):
                for way, found in times.items():
                    found.append(_seconds(way, folder, server.base_url))
                    written = [path for path in folder.glob("root/**/call/**/*") if path.is_file()]
                    writes = max(writes, len(written) * MICRO_BATCH / rows)
                    shutil.rmtree(folder / "root", ignore_errors=True)
    finally:
        shutil.rmtree(folder)
    wall = {way: statistics.median(seconds for seconds, _ in found) for way, found in times.items()}
    busy = {way: statistics.median(cpu for _, cpu in found) for way, found in times.items()}
    lines = [
        [
            WAYS[way],
            f"{rows / wall[way]:,.0f}",
            f"{wall['sdk'] / wall[way]:.2f}",
            f"{1e3 * busy[way] / rows:.2f}",
            f"{busy['sdk'] / busy[way]:.2f}",
        ]
        for way in WAYS
    ]
    notes = [
        f"Medians, n = {rounds}, in turns; {rows:,} {what}, {CONCURRENCY} at once, a process each, the server in another.",
        "Call stage: a serial run with ledger, answers and markers on a local disk; its whole time, rows read and written.",
        "CPU: of the client's process, all threads; that ratio holds on a machine with other work to do.",
        f"Store writes of the ledger for {MICRO_BATCH} calls: {writes:.1f}.",
    ]
    headings = ["client", "calls/s", "times AsyncOpenAI", "CPU ms a call", "times less than AsyncOpenAI"]
    return Table("Fan-out", headings, lines, notes)


def _seconds(way: str, folder: Path, url: str) -> tuple[float, float]:
    path = folder / "job.yaml"
    path.write_text(json.dumps(_config(folder, url)))  # JSON is YAML
    command = [sys.executable, "-m", "benchmarks.fan_out_child", way, str(path)]
    done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    wall, cpu = json.loads(done.stdout)
    return wall, cpu


def _config(folder: Path, url: str) -> dict[str, Any]:
    end = {
        "kind": "openai",
        "base_url": url,
        "model": "m",
        "price": {"input": 1, "output": 1},
        "params": {"max_completion_tokens": 128},
        "limits": {"concurrency": CONCURRENCY},
    }
    return {
        "run": {"id": "run", "root": str(folder / "root")},
        "input": {"uri": str(folder / "prompts.parquet"), "columns": {"id": "id", "prompt": "prompt"}},
        "router": {"name": "length"},
        "budget": {"strong_share": "1"},
        "endpoints": {"strong": end, "weak": end},
        "cluster": {"kind": "serial"},
    }
