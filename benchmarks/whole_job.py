"""Rows a second of a whole job against simulated endpoints, and its wall time over the ideal at a known latency."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prompts import MMLU_ROWS, REPO, load_prompts
from benchmarks.table import Table

RUNS = 3
SHARE = "0.26"
STAGES = ("start", "score", "plan", "servers", "call", "report")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    cluster: str
    latency_ms: int
    concurrency: int
    """Of each endpoint, over all processes."""

    def __str__(self) -> str:
        """Return its name."""
        kind = "serial" if self.cluster == "serial" else "local, 2 workers"
        return f"{kind}; {self.latency_ms} ms, {self.concurrency} at once"


def cases(*, quick: bool) -> list[Case]:
    """Return what is measured."""
    kinds = ("serial",) if quick else ("serial", "local")
    latencies = ((0, 64), (100, 64)) if quick else ((0, 64), (100, 16), (100, 64))
    return [Case(kind, latency, slots) for latency, slots in latencies for kind in kinds]


def run(*, quick: bool) -> Table:
    """Run each case in fresh processes, the cases in turns."""
    runs, rows = (1, 600) if quick else (RUNS, MMLU_ROWS)
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    todo = cases(quick=quick)
    done: list[list[dict[str, Any]]] = [[] for _ in todo]
    try:
        texts, what = load_prompts(rows)
        ids = [f"row-{n:06d}" for n in range(rows)]
        pq.write_table(pa.table({"id": ids, "prompt": texts}), folder / "prompts.parquet")
        for number in range(runs):
            for results, case in zip(done, todo, strict=True):
                results.append(_run(case, folder, number))
    finally:
        shutil.rmtree(folder)
    headings = ["runner; latency, calls", "rows/s", "seconds", "ideal call", "call, times ideal", *STAGES]
    table = [_line(case, results, rows) for case, results in zip(todo, done, strict=True)]
    notes = [
        f"Medians, n = {runs}, in turns; {rows:,} {what}, {SHARE} strong, run folder on a local disk.",
        "Both simulated servers run on the same cores, a process each. Start: checking the input, opening the cluster.",
        "Ideal: calls × latency / concurrency of the slower endpoint, as the two overlap.",
    ]
    return Table("Whole job", headings, table, notes)


def _line(case: Case, results: list[dict[str, Any]], rows: int) -> list[str]:
    seconds = statistics.median(r["seconds"] for r in results)
    stages = {name: statistics.median(r["stages"][name] for r in results) for name in STAGES}
    ideal = statistics.median(max(r["calls"]) for r in results) * case.latency_ms / 1000 / case.concurrency
    over = [f"{ideal:.1f}", f"{stages['call'] / ideal:.2f}"] if ideal else ["–", "–"]
    return [
        str(case),
        f"{rows / seconds:,.0f}",
        f"{seconds:.1f}",
        *over,
        *(f"{s:.1f}" for s in stages.values()),
    ]


def _run(case: Case, folder: Path, number: int) -> dict[str, Any]:
    """Run the job once; return what the child says, with the calls of each endpoint."""
    path, name = folder / "job.yaml", f"{case.cluster}-{case.latency_ms}-{case.concurrency}-{number}"
    path.write_text(json.dumps(_config(case, folder, name)))  # JSON is YAML
    command = [sys.executable, "-m", "benchmarks.job_child", str(path)]
    done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    result = dict(json.loads(done.stdout))
    cost = json.loads((Path(result["uri"]) / "report" / "cost.json").read_text())
    if result["exit"] or cost["rows"]["ok"] != cost["rows"]["valid"]:
        raise SystemExit(f"the job {case} ended with exit code {result['exit']}")
    shutil.rmtree(result["uri"])
    return {**result, "calls": [cost["endpoints"][route]["calls"] for route in ("strong", "weak")]}


def _config(case: Case, folder: Path, name: str) -> dict[str, Any]:
    def end(model: str, price: list[float]) -> dict[str, Any]:
        return {
            "kind": "simulated",
            "model": model,
            "price": {"input": price[0], "output": price[1]},
            "params": {"max_completion_tokens": 512},
            "limits": {"concurrency": case.concurrency},
            "simulate": {"latency_ms": case.latency_ms},
        }

    return {
        "run": {"id": name, "root": str(folder)},
        "input": {"uri": str(folder / "prompts.parquet"), "columns": {"id": "id", "prompt": "prompt"}},
        "budget": {"strong_share": SHARE},
        "endpoints": {"strong": end("large", [2.5, 10.0]), "weak": end("small", [0.1, 0.4])},
        "cluster": {"kind": case.cluster},
    }
