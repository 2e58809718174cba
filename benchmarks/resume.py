"""What a job calls again after its driver and its workers were killed half-way: kill -9, then the same command.

python -m benchmarks.resume [--rows N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.memory import write_prompts
from benchmarks.prompts import REPO
from benchmarks.table import Table
from routellm_batch.endpoints.simulator.process import start_server
from routellm_batch.endpoints.simulator.spec import SimulateSpec
from routellm_batch.storage.ledger.local import FOLDER_VARIABLE, SUFFIX, frames
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import open_existing

ROWS, QUICK_ROWS, ROUNDS = 4_000, 200, 5
CONCURRENCY = 16
"""Of each endpoint, over both workers."""
LATENCY_MS = 50
POLL_S = 0.01
END_S = 240.0
"""No start takes longer."""


@dataclass(frozen=True, slots=True)
class _Round:
    """One job, killed once."""

    billed_at_kill: int
    in_flight: int
    """Calls that the killed workers had sent and had no answer to."""
    objects_at_kill: int
    billed: int
    """All calls, of both starts."""
    answered: int
    objects: int
    codes: tuple[int, int]

    def line(self, rows: int) -> list[str]:
        """Return its figures."""
        return [
            f"{self.billed_at_kill:,}",
            f"{self.in_flight}",
            f"{self.billed:,}",
            f"{rows + self.in_flight:,}",
            f"{self.answered:,}",
            f"{self.objects_at_kill:,}",
            f"{self.objects:,}",
            ", ".join(map(str, self.codes)),
        ]


def run(*, quick: bool, rows: int | None = None, rounds: int | None = None) -> Table:
    """Kill one job after the other."""
    count, times = rows or (QUICK_ROWS if quick else ROWS), rounds or (1 if quick else ROUNDS)
    done = [_round(count) for _ in range(times)]
    headings = [
        "round",
        "calls at the kill",
        "of these in flight",
        "calls in all",
        "to be reached: at most",
        "rows answered",
        "objects at the kill",
        "objects at the end",
        "exit codes",
    ]
    lines = [[str(number), *one.line(count)] for number, one in enumerate(done, 1)]
    notes = [
        f"{count:,} rows; kill -9 of driver and both workers once half of the rows are billed, then the same command.",
        "Calls: as the endpoints billed them. In flight: sent and not answered, by the killed workers' local logs.",
        f"No more than {2 * CONCURRENCY} can be: {CONCURRENCY} for each endpoint, at {LATENCY_MS} ms.",
        "Objects: all files of the run folder.",
    ]
    return Table("Resume after a kill", headings, lines, notes)


def _round(rows: int) -> _Round:
    folder = Path(tempfile.mkdtemp(prefix="routellm-bench-"))
    try:
        write_prompts(folder / "prompts.parquet", rows, rows)
        with ExitStack() as stack:
            urls = [
                stack.enter_context(start_server(_spec(name, folder))).base_url for name in ("large", "small")
            ]
            (folder / "job.yaml").write_text(json.dumps(_config(folder, urls)))  # JSON is YAML
            with _started(folder) as job:
                _wait_for_bills(folder, rows // 2, job)
                os.killpg(job.pid, signal.SIGKILL)
                killed = job.wait(END_S)
            time.sleep(4 * LATENCY_MS / 1000)  # what the servers were at is billed too
            billed_at_kill, objects, in_flight = len(_bills(folder)), _objects(folder), _in_flight(folder)
            with _started(folder) as job:
                resumed = job.wait(END_S)
        return _Round(
            billed_at_kill,
            in_flight,
            objects,
            len(_bills(folder)),
            _answered(folder),
            _objects(folder),
            (killed, resumed),
        )
    finally:
        shutil.rmtree(folder)


@contextmanager
def _started(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the job, or go on with it, in a process group of its own; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "routellm_batch.cli", "run", str(folder / "job.yaml")]
    env = {**os.environ, FOLDER_VARIABLE: str(folder / "local")}
    with (folder / "said").open("ab") as said:
        job = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=REPO, env=env, stdout=said, stderr=said, start_new_session=True
        )
    try:
        yield job
    finally:
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def _wait_for_bills(folder: Path, count: int, job: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + END_S
    while len(_bills(folder)) < count:
        if job.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"the job did not make {count} calls: {(folder / 'said').read_text()[-2000:]}")
        time.sleep(POLL_S)


def _bills(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the billing log that ask for money; one that is being written is left out."""
    text = (folder / "bills.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return [line for line in lines if line["input_tokens"]]


def _in_flight(folder: Path) -> int:
    """Return how many sends the local logs hold that nothing came of."""
    found = 0
    for path in (folder / "local").rglob(f"*{SUFFIX}"):
        open_rows: set[int] = set()
        for frame in frames(path.read_bytes()):
            if frame.isdigit():
                open_rows.add(int(frame))
            else:
                open_rows.discard(json.loads(frame)["row"])
        found += len(open_rows)
    return found


def _objects(folder: Path) -> int:
    return sum(path.is_file() for path in (folder / "runs").rglob("*"))


def _answered(folder: Path) -> int:
    """Return how many ids have an answer."""
    run, _ = open_existing(str(folder / "runs" / "run"))
    tables = [read_shard_responses(run, shard.name, ["status"]) for shard in run.shards]
    rows = [row for table in tables if table is not None for row in table.to_pylist()]
    return len({row["id"] for row in rows if row["status"] == "ok"})


def _spec(model: str, folder: Path) -> SimulateSpec:
    return SimulateSpec(model=model, latency_ms=LATENCY_MS, output_tokens=16, log=str(folder / "bills.jsonl"))


def _config(folder: Path, urls: Sequence[str]) -> dict[str, Any]:
    def end(model: str, url: str) -> dict[str, Any]:
        return {
            "kind": "openai",
            "base_url": url,
            "model": model,
            "price": {"input": 1, "output": 1},
            "params": {"max_completion_tokens": 64},
            "limits": {"concurrency": CONCURRENCY},
        }

    return {
        "run": {"id": "run", "root": str(folder)},
        "input": {
            "uri": str(folder / "prompts.parquet"),
            "columns": {"id": "id", "prompt": "prompt"},
            "shard_rows": 256,
        },
        "router": {"name": "length"},
        "budget": {"strong_share": "0.5"},
        "endpoints": {"strong": end("large", urls[0]), "weak": end("small", urls[1])},
        "cluster": {"kind": "local", "workers": 2},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    print(run(quick=False, rows=given.rows, rounds=given.rounds))
