"""Recipes: how each folder of shipped weights is made, by name.

Read ``outcome.py`` first: the other recipes use its training files, its evaluation and its texts. ``jobs/train_router.py``
runs a recipe.
"""

from __future__ import annotations

from collections.abc import Callable

from routellm_batch.pipeline.recipes.ensemble import train_builtin_ensemble
from routellm_batch.pipeline.recipes.knn import train_builtin_knn
from routellm_batch.pipeline.recipes.lean import train_builtin_lean
from routellm_batch.pipeline.recipes.mf import train_builtin_mf
from routellm_batch.pipeline.recipes.outcome import train_builtin
from routellm_batch.routers.training.request import Trained

RECIPES: dict[str, Callable[..., Trained]] = {
    "ensemble-v1": train_builtin_ensemble,
    "knn-v1": train_builtin_knn,
    "mf-v1": train_builtin_mf,
    "outcome-v1": train_builtin,
    "outcome-v2": train_builtin_lean,
}
"""Name of the weights → function(data, out, seed) that trains and writes them."""
