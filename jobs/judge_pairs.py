"""Have a judge compare both models' answers; writes outcomes and battles, which every trainer reads.

    python jobs/judge_pairs.py configs/judge_pairs.yaml run.root=out

Answers are asked of both endpoints, or recorded (judge.strong_answer, judge.weak_answer). The same command goes on with
a job that was stopped; exit codes as `routellm-batch run`. Then: routellm-batch train …/outcomes.parquet --out DIR
"""

from __future__ import annotations

import sys

from routellm_batch.cli.app import execute, guard
from routellm_batch.config.job import load_config
from routellm_batch.pipeline.jobs import judge_pairs


def main() -> None:
    """Judge the pairs that the command line names."""
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    sys.exit(execute(load_config(sys.argv[1], sys.argv[2:]), judge_pairs).exit_code)


if __name__ == "__main__":
    guard(main)
