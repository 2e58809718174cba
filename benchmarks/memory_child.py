"""Run a whole job and print the peak memory of this process and of its workers, after each stage.

python -m benchmarks.memory_child CONFIG
"""

from __future__ import annotations

import json
import sys
import time

import psutil

from benchmarks.plan_child import peak_bytes
from routellm_batch.config.job import load_config
from routellm_batch.core.events import Event, StageFinished
from routellm_batch.pipeline.jobs import run_job


def worker_peak() -> int:
    """Return the highest peak of this process's workers, 0 if there are none."""
    children = psutil.Process().children(recursive=True)
    return max(
        (peak_bytes(one.pid) for one in children if "forkserver" in " ".join(one.cmdline())), default=0
    )


def main() -> None:
    """Run the job."""
    driver: dict[str, int] = {}
    worker: dict[str, int] = {}

    def sink(event: Event) -> None:
        if isinstance(event, StageFinished):
            driver[event.stage], worker[event.stage] = peak_bytes(), worker_peak()

    begun = time.perf_counter()
    result = run_job(load_config(sys.argv[1]), sink)
    if result.exit_code:
        raise SystemExit(f"the job ended with exit code {result.exit_code}")
    driver["end"] = peak_bytes()
    print(json.dumps({"seconds": time.perf_counter() - begun, "driver": driver, "worker": worker}))


if __name__ == "__main__":
    main()
