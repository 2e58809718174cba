"""Run a whole job in a process of its own, with the seconds of each stage.

python -m benchmarks.job_child CONFIG
"""

from __future__ import annotations

import json
import sys
import time

import pyarrow as pa

from routellm_batch.config.job import load_config
from routellm_batch.core.events import Event, StageFinished, StageStarted
from routellm_batch.pipeline.jobs import run_job


def main() -> None:
    """Run the job; print its seconds, those of its stages, and what it cost in calls."""
    pa.array([0])  # Arrow imports pandas at its first array: part of starting a program, not of a job.
    marks: dict[str, float] = {}

    def sink(event: Event) -> None:
        if isinstance(event, StageStarted | StageFinished):
            marks[f"{type(event).__name__} {event.stage}"] = time.perf_counter()

    config = load_config(sys.argv[1])
    begun = time.perf_counter()
    result = run_job(config, sink)
    ended = time.perf_counter()
    stages = {
        "start": marks["StageStarted score"] - begun,
        "score": marks["StageFinished score"] - marks["StageStarted score"],
        "plan": marks["StageFinished plan"] - marks["StageStarted plan"],
        "servers": marks["StageStarted call"] - marks["StageFinished plan"],
        "call": marks["StageFinished call"] - marks["StageStarted call"],
        "report": ended - marks["StageFinished call"],
    }
    print(
        json.dumps(
            {"exit": result.exit_code, "uri": result.run_uri, "seconds": ended - begun, "stages": stages}
        )
    )


if __name__ == "__main__":
    main()
