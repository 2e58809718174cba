"""Training: labelled prompts in, a router checkpoint out.

Start here: ``train`` looks a trainer up in ``TRAINERS``. A new trainer is one row of that table and the ``train.py`` of its
router's folder. ``request.py`` is what all of them take, ``rows.py`` and ``battles.py`` read labelled files, and
``held_out.py`` compares candidates.
"""

from __future__ import annotations

from routellm_batch.core.errors import ConfigError
from routellm_batch.core.registry import resolve
from routellm_batch.routers import ROUTERS
from routellm_batch.routers.training.request import Trained, TrainRequest

TRAINERS = {
    "bert": "routellm_batch.routers.bert.train:train_bert",
    "causal_llm": "routellm_batch.routers.causal_llm.train:train_causal_llm",
    "ensemble": "routellm_batch.routers.ensemble.train:train_ensemble",
    "knn": "routellm_batch.routers.knn.train:train_knn",
    "mf": "routellm_batch.routers.mf.train:train_mf",
    "outcome": "routellm_batch.routers.outcome.train:train_outcome",
    "sw_ranking": "routellm_batch.routers.sw_ranking.train:train_sw_ranking",
}
"""Router → ``module:function``; the function takes a ``TrainRequest`` and returns a ``Trained``."""

__all__ = ["TRAINERS", "TrainRequest", "Trained", "train"]


def train(request: TrainRequest, *, router: str = "outcome") -> Trained:
    """Train a router and write its checkpoint, with a model card, to a new folder; return the trainer's report.

    Args:
        request: what to train on and where to write.
        router: a row of ``TRAINERS``.

    Raises:
        ConfigError: a router without weights, an option it does not have, or a checkpoint at ``out`` already.
        DataError: a file, column or row that can't be used.
        CheckpointError: a base model that can't be used.
        MissingExtraError: its packages are not installed.

    """
    if router not in TRAINERS:
        problem = (
            "has no weights to train" if router in ROUTERS else f"is none of {', '.join(sorted(ROUTERS))}"
        )
        raise ConfigError("router", f"{router!r} {problem}; these can be trained: {', '.join(TRAINERS)}")
    if not request.paths:
        raise ConfigError("data", "no file to train on")
    trained: Trained = resolve(TRAINERS, router, key="router")(request)
    return trained
