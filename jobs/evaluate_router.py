"""Measure routers on labelled outcomes: CPT, PGR and APGR with intervals, beside baselines (docs/evaluate.md).

python jobs/evaluate_router.py outcomes.parquet --router outcome --router length [--pilot 500 --seeds 5] [--json]
"""

from __future__ import annotations

import argparse

from routellm_batch.cli.app import guard
from routellm_batch.config.embedder import parse_embedder
from routellm_batch.evaluation import Tariff, evaluate, parse_prices, show, to_json


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
    parser.add_argument("--price", action="append", default=[], metavar="ROUTE=IN,OUT")
    parser.add_argument("--tokens", action="append", default=[], metavar="FILE")
    parser.add_argument("--out", metavar="DIR")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    where = dict(pair.partition("=")[::2] for pair in a.where)
    tariff, embedder = Tariff(parse_prices(a.price), a.tokens), parse_embedder(a.embedder)
    pilot = {"pilot": a.pilot, "seeds": a.seeds}
    result = evaluate(a.outcomes, a.router, embedder=embedder, where=where, tariff=tariff, out=a.out, **pilot)
    print(to_json(result)) if a.json else show(result)


if __name__ == "__main__":
    guard(main)
