"""Have a judge compare both models' answers; writes outcomes and battles, which every trainer reads.

    python jobs/judge_pairs.py configs/judge_pairs.yaml run.root=out
    routellm-batch train out/judged/judge-pairs/outcomes.parquet --out out/judged-router

Answers are asked of both endpoints, or recorded (judge.strong_answer, judge.weak_answer). The same command resumes
a job that was stopped; exit codes as `routellm-batch run`. The second line trains a router on what was judged.
"""

from __future__ import annotations

from routellm_batch.cli.app import job, judge

if __name__ == "__main__":
    job(judge)
