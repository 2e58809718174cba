"""How well a job uses an endpoint's limit, and what faults cost it in requests.

python -m benchmarks.rate [--rows N]
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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prompts import REPO, load_prompts
from benchmarks.table import Table
from routellm_batch.endpoints.serve import start_server
from routellm_batch.endpoints.sim_spec import Faults, SimulateSpec, Step

ROWS, QUICK_ROWS = 3_000, 300
RATE = 100
"""Requests a second that the server of the first case lets through, and that many at once."""
LATENCY_S = 0.3
STORM = 0.1
"""Part of the rows that meet the storm of 429s, three times each, after half of all rows."""


def run(*, quick: bool, rows: int | None = None) -> Table:
    """Run both cases, one process each, their server in another."""
    count = rows or (QUICK_ROWS if quick else ROWS)
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    try:
        texts, _ = load_prompts(count)
        ids = [f"row-{n:06d}" for n in range(count)]
        pq.write_table(pa.table({"id": ids, "prompt": texts}), folder / "prompts.parquet")
        lines = [_case(name, spec, settings, folder, count) for name, spec, settings in _cases(folder, count)]
    finally:
        shutil.rmtree(folder)
    headings = ["server", "rows", "answered", "seconds", "times ideal", "429", "5xx", "requests a row"]
    notes = [
        f"n = 1, serial runner. Seconds: first send to last reply, from the server's log. Ideal: rows / {RATE} a second.",
        f"Limited: {RATE} requests a second, {RATE} at once, at {LATENCY_S:.1f} s; the job knows the rate.",
        f"Faulty: 20 % 5xx, and after half of the rows {STORM:.0%} meet 429 three times; attempts: 6, budget: 0.4.",
    ]
    return Table("Rate limits and faults", headings, lines, notes)


def _cases(folder: Path, rows: int) -> list[tuple[str, SimulateSpec, dict[str, Any]]]:
    """Return name, server and settings of each case."""
    latency_ms, begin = LATENCY_S * 1000, rows // 2
    limited = SimulateSpec(
        latency_ms=latency_ms, rpm=60 * RATE, burst=RATE, log=str(folder / "limited.jsonl")
    )
    storm: dict[str, tuple[Step, ...]] = {
        str(index): ("rate_limit",) * 3 for index in range(begin, begin + int(rows * STORM))
    }
    faulty = SimulateSpec(
        latency_ms=50,
        faults=Faults(server_error=0.2),
        script=storm,
        retry_after_ms=1000,
        log=str(folder / "faulty.jsonl"),
    )
    limits = {"rpm": 60 * RATE, "concurrency": 64}
    retry = {"attempts": 6, "budget": 0.4}
    return [
        ("limited", limited, {"limits": limits}),
        ("faulty", faulty, {"limits": {"concurrency": 64}, "retry": retry}),
    ]


def _case(name: str, spec: SimulateSpec, settings: Mapping[str, Any], folder: Path, rows: int) -> list[str]:
    with start_server(spec) as server:
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(_config(name, server.base_url, settings, folder)))  # JSON is YAML
        command = [sys.executable, "-m", "benchmarks.job_child", str(path)]
        done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    uri = Path(json.loads(done.stdout)["uri"])
    ok = json.loads((uri / "report" / "cost.json").read_text())["rows"]["ok"]
    lines = [json.loads(line) for line in Path(spec.log or "").read_text().splitlines()]
    replies = Counter(line["status"] for line in lines)
    # A line is written when its reply is ready; errors come at once.
    first_s = min(line["t"] - (spec.latency_ms / 1000 if line["status"] == 200 else 0) for line in lines)
    seconds = max(line["t"] for line in lines) - first_s
    failed = sum(number for status, number in replies.items() if status >= 500)
    ideal = f"{seconds * RATE / rows:.3f}" if spec.rpm else "–"
    return [
        name,
        f"{rows:,}",
        f"{ok:,}",
        f"{seconds:.1f}",
        ideal,
        f"{replies[429] / len(lines):.2%}",
        f"{failed / len(lines):.1%}",
        f"{len(lines) / rows:.3f}",
    ]


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
    parser.add_argument("--rows", type=int, default=ROWS)
    print(run(quick=False, rows=parser.parse_args().rows))
