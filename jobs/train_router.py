"""Train a router on outcomes, score matrices or battles; ends with where the checkpoint is.

    python jobs/train_router.py outcomes.parquet --out out/my-router
    python jobs/train_router.py --recipe outcome-v1 --data ../shared/data --out out/outcome-v1

The second line makes the shipped builtin:outcome-v1 again, model card included.
"""

from __future__ import annotations

import argparse

from routellm_batch.cli.app import guard
from routellm_batch.config.embedder import parse_embedder
from routellm_batch.pipeline.recipes import RECIPES
from routellm_batch.routers.training import TrainRequest, train


def main() -> None:
    """Train what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="DATA", help="Parquet files, globs or folders")
    parser.add_argument("--router", default="outcome")
    parser.add_argument("--embedder", default="static", metavar="NAME[:MODEL]")
    parser.add_argument("--recipe", choices=sorted(RECIPES), help="make shipped weights again")
    parser.add_argument("--data", metavar="DIR", help="folder with the recipe's files")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    if (a.recipe is None) != (a.data is None) or bool(a.recipe) == bool(a.files):
        parser.error("give either DATA files, or --recipe with --data")
    if a.recipe:
        print(RECIPES[a.recipe](a.data, out=a.out, seed=a.seed).out)
    else:
        print(train(TrainRequest(a.files, a.out, parse_embedder(a.embedder), a.seed), router=a.router).out)


if __name__ == "__main__":
    guard(main)
