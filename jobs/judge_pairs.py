"""Have a judge compare both models' answers; writes outcomes and battles, which every trainer reads.

    python jobs/judge_pairs.py configs/judge_pairs.yaml run.root=out

Answers are asked of both endpoints, or recorded (judge.strong_answer, judge.weak_answer). The same command resumes
a job that was stopped; exit codes as `routellm-batch run`. Then train a router on what it wrote:

    routellm-batch train out/judged/judge-pairs/outcomes.parquet --out DIR
"""

from __future__ import annotations

from routellm_batch.cli.app import job, judge

if __name__ == "__main__":
    job(judge)
