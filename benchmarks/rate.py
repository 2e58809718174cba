"""How well a job uses an endpoint's limit, and what faults cost it in requests.

python -m benchmarks.rate [--rows N] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prompts import REPO, load_prompts
from benchmarks.storm import storm_server
from benchmarks.table import Table
from routellm_batch.endpoints.simulator.spec import Faults, SimulateSpec

ROWS, QUICK_ROWS, RUNS = 3_000, 300, 3
RATE = 100
"""Requests a second that the server of the first case lets through, and that many at once."""
LATENCY_S = 0.3
STORM_S = 10.0
"""How long the storm of 429s lasts; it begins after half as many requests as there are rows."""
AIMS = {"limited": "1.05 times ideal, 1 % of 429", "faulty": "all answered, 1.35 requests a row"}


@dataclass(frozen=True, slots=True)
class _Run:
    """One job, as the server saw it."""

    answered: int
    seconds: float
    """First send to last reply."""
    limited: float
    """Share of requests that were answered with a 429."""
    failed: float
    """Share of requests that were answered with a 5xx."""
    sent: float
    """Requests for each row."""


def run(*, quick: bool, rows: int | None = None, runs: int | None = None) -> Table:
    """Run both cases, each job in a process of its own, the server in this one."""
    small, times = (QUICK_ROWS, 1) if quick else (ROWS, runs or RUNS)
    counts = {"limited": rows or small, "faulty": small}
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    lines = []
    try:
        for name, (spec, settings) in _cases(folder).items():
            texts, _ = load_prompts(counts[name])
            # Numbered, as identical ones would be called once.
            distinct = [f"{n}. {text}" for n, text in enumerate(texts)]
            ids = [f"row-{n:06d}" for n in range(counts[name])]
            pq.write_table(pa.table({"id": ids, "prompt": distinct}), folder / "prompts.parquet")
            found = [_once(name, spec, settings, folder, counts[name]) for _ in range(times)]
            lines.append(_line(name, found, counts[name], ideal=spec.rpm is not None))
    finally:
        shutil.rmtree(folder)
    headings = [
        "server",
        "rows",
        "answered",
        "seconds",
        "times ideal",
        "429",
        "5xx",
        "requests a row",
        "to be reached",
    ]
    notes = [
        f"Medians, n = {times}; answered: the fewest. Serial runner. Ideal: rows / {RATE} a second.",
        "Seconds: first send to last reply, from the server's log.",
        f"Limited: {RATE} requests a second, {RATE} at once, at {LATENCY_S:.1f} s; the job knows the rate.",
        f"Faulty: 20 % 5xx, and half-way nothing but 429s for {STORM_S:.0f} s; attempts: 6, budget: 0.4.",
        "Six 5xx in a row, which fail a row, are to be expected for one row in 15,625.",
    ]
    return Table("Rate limits and faults", headings, lines, notes)


def _line(name: str, found: list[_Run], rows: int, *, ideal: bool) -> list[str]:
    seconds = median(one.seconds for one in found)
    return [
        name,
        f"{rows:,}",
        f"{min(one.answered for one in found):,}",
        f"{seconds:.1f}",
        f"{seconds * RATE / rows:.3f}" if ideal else "–",
        f"{median(one.limited for one in found):.2%}",
        f"{median(one.failed for one in found):.1%}",
        f"{median(one.sent for one in found):.3f}",
        AIMS[name],
    ]


def _cases(folder: Path) -> dict[str, tuple[SimulateSpec, dict[str, Any]]]:
    """Return server and settings of each case."""
    limited = SimulateSpec(
        latency_ms=LATENCY_S * 1000, rpm=60 * RATE, burst=RATE, log=str(folder / "limited.jsonl")
    )
    faulty = SimulateSpec(
        latency_ms=50,
        faults=Faults(server_error=0.2),
        retry_after_ms=1000,
        log=str(folder / "faulty.jsonl"),
    )
    limits = {"rpm": 60 * RATE, "concurrency": 64}
    retry = {"attempts": 6, "budget": 0.4}
    return {
        "limited": (limited, {"limits": limits}),
        "faulty": (faulty, {"limits": {"concurrency": 64}, "retry": retry}),
    }


def _once(name: str, spec: SimulateSpec, settings: Mapping[str, Any], folder: Path, rows: int) -> _Run:
    log = Path(spec.log or "")
    with storm_server(spec, after=10**9 if spec.rpm else rows // 2, seconds=STORM_S) as base_url:
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(_config(name, base_url, settings, folder)))  # JSON is YAML
        command = [sys.executable, "-m", "benchmarks.job_child", str(path)]
        done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    uri = Path(json.loads(done.stdout)["uri"])
    ok = json.loads((uri / "report" / "cost.json").read_text())["rows"]["ok"]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    shutil.rmtree(uri)
    log.unlink()
    replies = Counter(line["status"] for line in lines)
    # A line is written when its reply is ready; errors come at once.
    first_s = min(line["t"] - (spec.latency_ms / 1000 if line["status"] == 200 else 0) for line in lines)
    return _Run(
        answered=ok,
        seconds=max(line["t"] for line in lines) - first_s,
        limited=replies[429] / len(lines),
        failed=sum(number for status, number in replies.items() if status >= 500) / len(lines),
        sent=len(lines) / rows,
    )


def _config(name: str, base_url: str, settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    def end(model: str) -> dict[str, Any]:
        return {
            "kind": "openai",
            "base_url": base_url,
            "model": model,
            "price": {"input": 0.1, "output": 0.4},
            "params": {"max_completion_tokens": 512},
            "limits": settings["limits"],
        }

    return {
        "run": {"id": name, "root": str(folder)},
        "input": {"uri": str(folder / "prompts.parquet"), "columns": {"id": "id", "prompt": "prompt"}},
        "router": {"name": "length"},
        "budget": {"strong_share": 0},  # all rows to one endpoint: it is what limits
        "endpoints": {"strong": end("large"), "weak": end("small")},
        "retry": settings.get("retry", {}),
        "cluster": {"kind": "serial"},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rate", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="of the limited server's job")
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    print(run(quick=False, rows=given.rows, runs=given.runs))
