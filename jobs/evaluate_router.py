"""Measure routers on labelled outcomes: CPT, PGR and APGR with intervals, beside random, length and an oracle.

    python jobs/evaluate_router.py outcomes.parquet --router outcome --router length [--pilot 500 --seeds 5] [--json]

OUTCOMES are Parquet files with prompt_id, prompt, strong_score and weak_score.
"""

from __future__ import annotations

import argparse

from routellm_batch.cli import guard
from routellm_batch.config_embedder import parse_embedder
from routellm_batch.evaluation import evaluate, render_table, to_json


def main() -> None:
    """Evaluate what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("outcomes", nargs="+", metavar="OUTCOMES")
    parser.add_argument("--router", action="append", required=True, metavar="NAME[:CHECKPOINT]")
    parser.add_argument("--embedder", default="static")
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE")
    parser.add_argument("--pilot", type=int, metavar="N", help="train on N of the rows, test on the rest")
    parser.add_argument("--seeds", type=int, default=1, metavar="K")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    where = dict(pair.partition("=")[::2] for pair in a.where)
    result = evaluate(
        a.outcomes, a.router, embedder=parse_embedder(a.embedder), where=where, pilot=a.pilot, seeds=a.seeds
    )
    print(to_json(result) if a.json else render_table(result))


if __name__ == "__main__":
    guard(main)
