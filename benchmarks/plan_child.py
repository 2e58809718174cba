"""Plan a run in a process of its own, so that its peak memory is planning's alone.

python -m benchmarks.plan_child RUN_FOLDER strong_share|usd VALUE
"""

from __future__ import annotations

import json
import resource
import sys
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa

from routellm_batch.config.job import BudgetConfig, check_config
from routellm_batch.stages.plan.make import make_plan
from routellm_batch.storage.run import open_existing


def peak_bytes(pid: int | None = None) -> int:
    """Return the most memory that a process had resident; this one if none is named.

    On Linux not ``ru_maxrss``: a child begins with its parent's there.
    """
    status = Path(f"/proc/{pid or 'self'}/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Plan once; print seconds, peak bytes and what the plan says."""
    folder, mode, value = sys.argv[1:]
    run, manifest = open_existing(folder)
    config = check_config(manifest["job"], source=folder)
    config = config.model_copy(update={"budget": BudgetConfig.model_validate({mode: Decimal(value)})})
    pa.array([0])  # Arrow imports pandas at its first array, which is no part of planning.
    begun = time.perf_counter()
    plan = make_plan(config, run)
    seconds = time.perf_counter() - begun
    facts = {"strong": plan.strong, "copies": plan.copies, "valid": plan.valid}
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), **facts}))


if __name__ == "__main__":
    main()
