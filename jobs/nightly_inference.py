"""Answer a prompt dataset with two models, within the budget; the same command resumes it.

    python jobs/nightly_inference.py configs/quickstart.yaml run.root=out cluster.workers=2 [--retry-failed]

Score → plan → call → report. Ends with where the report is; exit codes as `routellm-batch run` (docs/contract.md).
"""

from __future__ import annotations

import sys

from routellm_batch.cli.app import execute, guard
from routellm_batch.config.job import load_config
from routellm_batch.pipeline.jobs import run_job


def main() -> None:
    """Run the job that the command line names."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--retry-failed"]
    if not arguments:
        sys.exit(__doc__)
    config = load_config(arguments[0], arguments[1:])
    retry = "--retry-failed" in sys.argv
    sys.exit(execute(config, lambda c, sink: run_job(c, sink, retry_failed=retry)).exit_code)


if __name__ == "__main__":
    guard(main)
