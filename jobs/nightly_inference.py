"""Answer a prompt dataset with two models, within the budget; the same command resumes it.

    python jobs/nightly_inference.py configs/quickstart.yaml run.root=out

Score → plan → call → report. Ends with where the report is; exit codes as `routellm-batch run` (docs/contract.md).
"""

from __future__ import annotations

from routellm_batch.cli.app import job, run

if __name__ == "__main__":
    job(run)
