"""How the shipped ``builtin:ensemble-v1`` is made: three members with equal weights."""

from __future__ import annotations

from collections.abc import Sequence

from routellm_batch.pipeline.recipes.outcome import LICENCES, LIMITS, builtin_sources, measured
from routellm_batch.routers.ensemble.router import EnsembleRouter
from routellm_batch.routers.ensemble.train import MEMBERS, EnsembleReport, fit_ensemble
from routellm_batch.routers.training.request import TrainRequest
from routellm_batch.routers.training.rows import read_sources

NAME = "ensemble-v1"

EQUAL = """\
## How weights were chosen

The three weights are equal and not tuned. They are not the best on dev rows: there the grid of this trainer takes outcome
alone (0.600 of the gain, and 0.575 with equal weights), which ranks prompts as `builtin:outcome-v1` does; its card says what
that reaches on the sets below, so both were known when equal weights were kept.

    python jobs/train_router.py --recipe ensemble-v1 --data DATA --out DIR"""


def train_builtin_ensemble(data: str, *, out: str, seed: int = 0) -> EnsembleReport:
    """Make ``ensemble-v1`` and write it: outcome-v1, knn-v1 and length with equal weights, on the rows of ``outcome.py``.

    Args:
        data: folder (path or URI) of the training and evaluation files.
        out: a new folder.
        seed: of the bootstrap in the model card.

    Raises:
        ConfigError: a manifest is at ``out`` already.
        DataError: a file is missing or can't be used.

    """
    rows = read_sources(builtin_sources(data))
    members = [{**member, "weight": 1.0} for member in MEMBERS]
    request = TrainRequest([data], out, seed=seed)

    def sections(report: EnsembleReport) -> Sequence[str]:
        router = EnsembleRouter.of(report.members, request.settings())
        return EQUAL, measured(data, router, NAME, seed), LICENCES, LIMITS

    return fit_ensemble(rows, request, members, name=NAME, sections=sections)
