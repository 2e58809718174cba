"""Train a router on outcomes, score matrices or battles; ends with where the checkpoint is.

    python jobs/train_router.py outcomes.parquet --out out/my-router
    python jobs/train_router.py --recipe outcome-v1 --data data --out out/outcome-v1

The second line makes the shipped builtin:outcome-v1 again from a folder of its files, model card included.
"""

from __future__ import annotations

from routellm_batch.cli.app import job
from routellm_batch.cli.routers import train

if __name__ == "__main__":
    job(train)
