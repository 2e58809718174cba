"""Show what each budget buys before anything is paid for: score, then cost and share at 50 budgets.

    python jobs/budget_plan.py configs/quickstart.yaml run.id=plan

Calls no endpoint and needs no key. Ends with where the page with the frontier is.
"""

from __future__ import annotations

from routellm_batch.cli.app import job, plan

if __name__ == "__main__":
    job(plan)
