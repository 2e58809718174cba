"""Evaluation: labelled outcomes in; CPT, PGR and APGR with intervals, baselines, paired tests and curves out."""

from __future__ import annotations

from routellm_batch.evaluation.dollars import Tariff, parse_prices
from routellm_batch.evaluation.evaluate import evaluate
from routellm_batch.evaluation.render import render_table, show, to_json

__all__ = ["Tariff", "evaluate", "parse_prices", "render_table", "show", "to_json"]
