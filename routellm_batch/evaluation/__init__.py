"""Evaluation: labelled outcomes in; CPT, PGR and APGR with intervals, baselines, paired tests and curves out.

The names below are imported when they are first used: a job that grades its answers needs ``graders`` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routellm_batch.evaluation.dollars import Tariff, parse_prices
    from routellm_batch.evaluation.frames import results_frame
    from routellm_batch.evaluation.render import render_table, show, to_json
    from routellm_batch.evaluation.trials import evaluate

__all__ = ["Tariff", "evaluate", "parse_prices", "render_table", "results_frame", "show", "to_json"]

_MODULES = {
    "Tariff": "dollars",
    "evaluate": "trials",
    "parse_prices": "dollars",
    "render_table": "render",
    "results_frame": "frames",
    "show": "render",
    "to_json": "render",
}


def __getattr__(name: str) -> Any:
    """Return a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
