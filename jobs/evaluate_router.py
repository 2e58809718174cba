"""Measure routers on labelled outcomes: CPT, PGR and APGR with intervals, beside baselines (docs/evaluate.md).

python jobs/evaluate_router.py outcomes.parquet --router outcome --json
python jobs/evaluate_router.py outcomes.parquet --router length --pilot 500
"""

from __future__ import annotations

from routellm_batch.cli.app import job
from routellm_batch.cli.routers import evaluate

if __name__ == "__main__":
    job(evaluate)
