"""Evaluation: labelled outcomes in, CPT, PGR and APGR with intervals out, beside random, length and an oracle."""

from __future__ import annotations

from routellm_batch.evaluation.evaluate import evaluate
from routellm_batch.evaluation.render import render_table, to_json

__all__ = ["evaluate", "render_table", "to_json"]
