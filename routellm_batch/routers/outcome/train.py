"""Training the outcome router: read, choose on rows held out, fit, write with a model card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.router import OutcomeRouter, describe
from routellm_batch.routers.outcome.weights import save_heads
from routellm_batch.routers.training.card import model_card
from routellm_batch.routers.training.fitting import Choice, choose, fit_heads
from routellm_batch.routers.training.request import TrainRequest
from routellm_batch.routers.training.rows import Source, TrainingRows, read_sources


@dataclass(frozen=True, slots=True)
class SourceCount:
    """What one source gave."""

    file: str
    """Its name, without the folder."""
    trained: int
    """Rows trained on."""
    held_out: int
    """Rows that chose the hyper-parameters."""
    weight: float
    """Weight of one of its rows."""


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training did."""

    out: str
    """Where the checkpoint is."""
    seed: int
    """Of the folds."""
    sources: Sequence[SourceCount]
    """What each gave."""
    choice: Choice
    """What was chosen on the rows held out."""

    def fields(self) -> dict[str, Any]:
        """Return it as plain data, without the place it was written to."""
        return {
            "seed": self.seed,
            "sources": [asdict(s) for s in self.sources],
            "choice": asdict(self.choice),
        }


def train_outcome(request: TrainRequest) -> TrainReport:
    """Train the outcome router on outcomes, score matrices or battles; ``training/rows.py`` says what each means.

    Raises:
        ConfigError: an option, or a checkpoint at ``out`` already.
        DataError: a file, column or row that can't be used.

    """
    request.refuse_options("outcome")
    return train_sources(
        [Source(path) for path in request.paths],
        out=request.out,
        embedder=request.embedder,
        seed=request.seed,
    )


def train_sources(
    sources: Sequence[Source],
    *,
    out: str,
    embedder: EmbedderConfig | str = "static",
    seed: int = 0,
    name: str = "outcome",
    card: Callable[[TrainReport, OutcomeRouter], str] | None = None,
) -> TrainReport:
    """Do as ``train``, with more said about each source.

    Args:
        sources: what is read, and how.
        out: path or URI of a new folder.
        embedder: its settings, or a row of ``EMBEDDERS``.
        seed: of the folds.
        name: what the checkpoint calls itself.
        card: writes the model card (Markdown) from the report and the router; a plain one where it is left out.

    """
    if not sources:
        raise ConfigError("data", "no file to train on")
    rows = read_sources(sources)
    router, choice = fit_router(rows, embedder=embedder, seed=seed)
    counts = [source_count(source, number, rows) for number, source in enumerate(sources)]
    report = TrainReport(out, seed, counts, choice)
    text = card(report, router) if card else model_card(name, report.fields())
    save_heads(out, router, name=name, trained=report.fields(), card=text)
    return report


def fit_router(
    rows: TrainingRows, *, embedder: EmbedderConfig | str = "static", seed: int = 0
) -> tuple[OutcomeRouter, Choice]:
    """Choose hyper-parameters on the rows held out, fit on the others (on all where none is marked)."""
    reader = get_embedder(embedder)
    described = describe(reader, rows.prompts)
    # Matrices this small gain nothing from threads, and on a busy machine lose tenfold to their waiting.
    with threadpool_limits(limits=1, user_api="blas"):
        choice = choose(rows, described, seed=seed)
        heads = fit_heads(rows, described, ~rows.held_out, choice.penalties, choice.alpha)
    return OutcomeRouter(heads, reader), choice


def source_count(source: Source, number: int, rows: TrainingRows) -> SourceCount:
    """Count what a source gave to rows that were read."""
    mine = rows.file == number
    held_out = int(np.count_nonzero(mine & rows.held_out))
    file = source.uri.rstrip("/").rpartition("/")[2]
    return SourceCount(file, int(np.count_nonzero(mine)) - held_out, held_out, source.weight)
