"""Make the run of an older version that tests/jobs/test_job_old_run.py resumes: begun, and killed half-way.

    git worktree add ../old 9ae35ec
    (cd ../old && python -m venv .venv && .venv/bin/pip install -e .)
    python tools/make_old_run.py --python ../old/.venv/bin/python --out tests/fixtures/run_9ae35ec

The older version runs as its users run it, by its command line, in the folder of the run. All its paths lie below
``/proc/self/cwd``, so that the run can be resumed wherever it is copied to (on Linux). The job makes a pilot, then
calls two simulated endpoints from two workers until it has gone over to a further plan and some shards have ended; then
SIGKILL ends driver and workers. The older version also resumes a copy, which gives the expected responses. Where
the kill falls is a matter of time: a second run makes another fixture.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

HERE = "/proc/self/cwd"
ROWS, COPIES, SHARD_ROWS = 340, 24, 40
EMPTY_ROW = 100
"""Its prompt is no prompt."""
ENDED_SHARDS = 3
"""So many have ended when the run is killed."""
LOGGED = 3
"""So many answers are in the local log of a runner then."""
RESUMED = (
    "cluster={kind: serial}",
    "endpoints.strong.limits.concurrency=16",
    "endpoints.weak.limits.concurrency=16",
    "budget.hard_cap_usd=0.035",
)
"""Changes with which the run is resumed: it is quick, and the cap asks for no third plan, whose cut depends on timing."""
SETTLED_S = 2.0
POLL_S = 0.01
TIMEOUT_S = 240.0


def input_table() -> pa.Table:
    """Return the input: sums, some of them twice, and an empty prompt."""
    sums = [(n, 7 * n % 89, n % 10 / 10) for n in range(ROWS - COPIES)]
    sums += [sums[13 * n + 5] for n in range(COPIES)]
    prompts = [f"What is {a} + {b}?{' Think it over.' * (a % 4)}" for a, b, _ in sums]
    prompts[EMPTY_ROW] = ""
    return pa.table(
        {
            "id": [f"r{n:04d}" for n in range(ROWS)],
            "prompt": prompts,
            "reference": [str(a + b) for a, b, _ in sums],
            "difficulty": [difficulty for _, _, difficulty in sums],
            "topic": [("sums", "more")[a % 2] for a, _, _ in sums],
        }
    )


def endpoint(route: str, skill: float, price: Sequence[str], server_error: float) -> dict[str, Any]:
    """Return a simulated endpoint that fails some requests for good, and bills by its own log."""
    return {
        "kind": "simulated",
        "model": f"{route}-model",
        "price": {"input": price[0], "output": price[1]},
        "params": {"max_completion_tokens": 64},
        "limits": {"concurrency": 2},
        "simulate": {
            "latency_ms": 250,
            "output_tokens": 12,
            "skill": skill,
            "faults": {"server_error": server_error},
            "reference": {"uri": f"{HERE}/in.parquet"},
            "log": f"{HERE}/{route}.jsonl",
        },
    }


def job() -> dict[str, Any]:
    """Return the config. Failed calls are presumed billed at their worst, which no plan expects: the cap is in danger."""
    return {
        "run": {"id": "job", "root": f"{HERE}/root"},
        "input": {
            "uri": f"{HERE}/in.parquet",
            "columns": {"id": "id", "prompt": "prompt"},
            "keep": ["topic"],
            "shard_rows": SHARD_ROWS,
        },
        "pilot": {"rows": 48, "usd": "1", "grader": {"kind": "numeric", "reference": "reference"}},
        "budget": {"strong_share": "0.4", "hard_cap_usd": "0.0252", "on_overrun": "degrade"},
        "endpoints": {
            "strong": endpoint("strong", 0.95, ("2.5", "10"), 0.07),
            "weak": endpoint("weak", 0.4, ("0.1", "0.4"), 0.04),
        },
        "retry": {"attempts": 1},
        "cluster": {"kind": "local", "workers": 2},
    }


def start(python: str, folder: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """Start the older version's ``run`` in a folder, in a process group of its own."""
    environment = {**os.environ, "ROUTELLM_LOCAL_DIR": str(folder / "local")}
    for name in ("PYTHONPATH", "ROUTELLM_LEASE_S"):
        environment.pop(name, None)
    with (folder.parent / "said.txt").open("ab") as said:
        return subprocess.Popen(  # noqa: S603 - the caller's own interpreter
            [python, "-m", "routellm_batch.cli", "run", "job.yaml", *overrides],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )


def half_way(folder: Path) -> bool:
    """Return whether there are a further plan, ended shards, and a runner at work under it, with answers so far."""
    run = folder / "root/runs/job"
    if not (run / "plan.d1.json").exists() or len(list(run.glob("commit/call/*.json"))) < ENDED_SHARDS:
        return False
    logs = [path.read_bytes() for path in folder.glob("local/*/*.log")]
    return any(log.count(b'"status":"ok"') >= LOGGED for log in logs)


def kill_half_way(python: str, folder: Path) -> None:
    """Start the job, and kill it with all its workers half-way."""
    driver = start(python, folder)
    until = time.monotonic() + TIMEOUT_S
    while not half_way(folder):
        if driver.poll() is not None or time.monotonic() > until:
            raise SystemExit((folder.parent / "said.txt").read_text())
        time.sleep(POLL_S)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(SETTLED_S)  # the endpoints end by themselves


def finish(python: str, folder: Path) -> pa.Table:
    """Go on with the run to its end; return its responses."""
    code = start(python, folder, *RESUMED).wait(TIMEOUT_S)
    if code not in {0, 3}:
        raise SystemExit((folder.parent / "said.txt").read_text())
    parts = sorted((folder / "root/runs/job/responses").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path) for path in parts])


def trim(folder: Path) -> None:
    """Remove what nobody reads: parts of objects, pages, and of the pilot's own runs all but what they are and cost."""
    inner = [path for path in folder.glob("root/pilots/job/runs/**/*") if path.is_file()]
    dead = [path for path in inner if path.name not in {"run.json", "cost.json"}]
    for path in {*dead, *folder.rglob(".*"), *folder.rglob("*.html")}:
        path.unlink()


def main() -> None:
    """Make the fixture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", required=True, help="interpreter that the older version is installed for")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; its README.md stays")
    given = parser.parse_args()
    python = str(Path(given.python).absolute())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "killed"
        folder.mkdir()
        pq.write_table(input_table(), folder / "in.parquet")
        (folder / "job.yaml").write_text(json.dumps(job(), indent=1) + "\n")
        kill_half_way(python, folder)
        resumed = Path(shutil.copytree(folder, Path(scratch) / "resumed"))
        responses = finish(python, resumed)
        columns = [
            "id",
            "topic",
            "route",
            "status",
            "error_kind",
            "model",
            "answer",
            "finish_reason",
            "request_key",
        ]
        pq.write_table(responses.select(columns).sort_by("id"), folder / "expected.parquet")
        trim(folder)
        for name in ("root", "local"):
            shutil.rmtree(given.out / name, ignore_errors=True)
        shutil.copytree(folder, given.out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
