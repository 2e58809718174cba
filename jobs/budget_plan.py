"""Say what each budget buys before anything is paid for: score, then cost and share at 50 budgets.

    python jobs/budget_plan.py configs/quickstart.yaml run.id=plan

Calls no endpoint and needs no key. Ends with where the page with the frontier is.
"""

from __future__ import annotations

import sys

from routellm_batch.cli.app import execute, guard
from routellm_batch.config.job import load_config
from routellm_batch.pipeline.jobs import plan_job


def main() -> None:
    """Plan the job that the command line names."""
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    sys.exit(execute(load_config(sys.argv[1], sys.argv[2:]), plan_job).exit_code)


if __name__ == "__main__":
    guard(main)
