"""Training: labelled prompts in, a router checkpoint out."""

from __future__ import annotations

from routellm_batch.training.outcome import TrainReport, fit_router, train, train_sources
from routellm_batch.training.rows import Source, TrainingRows

__all__ = ["Source", "TrainReport", "TrainingRows", "fit_router", "train", "train_sources"]
