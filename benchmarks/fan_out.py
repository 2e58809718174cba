"""Calls a second of one process against a server that answers at once: plain loops, and the call stage."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prompts import REPO, load_prompts
from benchmarks.table import Table
from routellm_batch.core.worker import WorkerSettings
from routellm_batch.endpoints.simulator.process import start_server
from routellm_batch.endpoints.simulator.spec import SimulateSpec

WAYS = {
    "sdk": "AsyncOpenAI, chat.completions.create",
    "sdk aiohttp": "the same, over aiohttp",
    "ours": "call stage, serial",
    "no ledger": "call stage, serial, without a ledger",
    "worker": "call stage, one Dask worker",
    "bare": "bare aiohttp loop",
}
PART = {"sdk": 4, "sdk aiohttp": 2}
"""These answer so many times fewer rows: they take long, and their rate does not depend on it."""
ROUNDS = 5
ROWS = 6_000
CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class _Run:
    """One way, once."""

    rows: int
    wall_s: float
    """Of the calls."""
    client_s: float
    """CPU time of the client's processes."""
    server_s: float
    """CPU time of the server."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.rows / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """The client's, for one call."""
        return 1e3 * self.client_s / self.rows

    @property
    def server_busy(self) -> float:
        """Share of the time that the server worked."""
        return self.server_s / self.wall_s


def run(*, quick: bool) -> Table:
    """Run each way in fresh processes, the ways in turns."""
    rounds, rows = (1, 200) if quick else (ROUNDS, ROWS)
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    done: dict[str, list[_Run]] = {way: [] for way in WAYS}
    written: Counter[str] = Counter()
    try:
        texts, what = load_prompts(rows)
        table = pa.table({"id": [f"row-{n:06d}" for n in range(rows)], "prompt": texts})
        pq.write_table(table, folder / "all.parquet")
        for way, part in PART.items():
            pq.write_table(table.slice(0, rows // part), folder / f"{way}.parquet")
        with start_server(SimulateSpec(model="m")) as server:
            for _ in range(rounds):
                for way, runs in done.items():
                    runs.append(_once(way, folder, server.base_url, psutil.Process(server.process.pid)))
                    if way == "ours":
                        written = _objects(folder / "root")
                    shutil.rmtree(folder / "root", ignore_errors=True)
    finally:
        shutil.rmtree(folder)
    headings = [
        "client",
        "calls/s",
        "times AsyncOpenAI",
        "CPU ms a call",
        "times less than AsyncOpenAI",
        "server busy",
    ]
    notes = [
        f"Medians, n = {rounds}, in turns; {rows:,} {what}, {CONCURRENCY} at once, the server in a process of its own.",
        "Call stage: its whole time, with ledger, answers and markers on a local disk, rows read and written.",
        "CPU: of the client's processes, all threads; that ratio holds on a machine with other work to do.",
        _ledger_note(done, written, rows),
        "To be reached by the call stage: 1,200 calls/s, and 3 times AsyncOpenAI.",
    ]
    return Table("Fan-out", headings, [_line(way, done) for way in WAYS], notes)


def _line(way: str, done: dict[str, list[_Run]]) -> list[str]:
    rate, cpu = (
        statistics.median(one.rate for one in done[way]),
        statistics.median(one.cpu_ms for one in done[way]),
    )
    peer_rate = statistics.median(one.rate for one in done["sdk"])
    peer_cpu = statistics.median(one.cpu_ms for one in done["sdk"])
    busy = statistics.median(one.server_busy for one in done[way])
    return [
        WAYS[way],
        f"{rate:,.0f}",
        f"{rate / peer_rate:.2f}",
        f"{cpu:.2f}",
        f"{peer_cpu / cpu:.2f}",
        f"{busy:.0%}",
    ]


def _ledger_note(done: dict[str, list[_Run]], written: Counter[str], rows: int) -> str:
    pairs = list(zip(done["ours"], done["no ledger"], strict=True))
    slower = statistics.median(1 - ours.rate / bare.rate for ours, bare in pairs)
    busier = statistics.median(1 - bare.cpu_ms / ours.cpu_ms for ours, bare in pairs)
    calls = WorkerSettings().micro_batch
    batches = rows / calls
    kinds = ", ".join(f"{name} {number / batches:.2f}" for name, number in sorted(written.items()))
    return (
        f"The ledger takes {slower:.1%} of the calls/s and {busier:.1%} of the CPU (medians of the rounds' pairs), and "
        f"{written.total() / batches:.2f} store writes for {calls} calls ({kinds}); to be reached: 10 % and 2."
    )


def _objects(root: Path) -> Counter[str]:
    """Count the objects of the ledger by what they are."""
    kinds: Counter[str] = Counter()
    for path in root.glob("runs/run/call/*/*"):
        kind = {".jsonl": "results", ".json": "log"}.get(path.suffix, path.suffix)
        kinds[json.loads(path.read_bytes())["kind"] if kind == "log" else kind.lstrip(".")] += 1
    return kinds


def _once(way: str, folder: Path, url: str, server: psutil.Process) -> _Run:
    source = folder / (f"{way}.parquet" if way in PART else "all.parquet")
    path = folder / "job.yaml"
    path.write_text(
        json.dumps(_config(folder, source, url, "local" if way == "worker" else "serial"))
    )  # JSON is YAML
    command = [sys.executable, "-m", "benchmarks.fan_out_child", way, str(path)]
    before = server.cpu_times()
    done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    after = server.cpu_times()
    wall, cpu = json.loads(done.stdout)
    server_s = after.user + after.system - before.user - before.system
    return _Run(pq.read_metadata(source).num_rows, wall, cpu, server_s)


def _config(folder: Path, source: Path, url: str, cluster: str) -> dict[str, Any]:
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
        "input": {"uri": str(source), "columns": {"id": "id", "prompt": "prompt"}},
        "router": {"name": "length"},
        "budget": {"strong_share": "1"},
        "endpoints": {"strong": end, "weak": end},
        "cluster": {"kind": cluster, "workers": 1},
    }
