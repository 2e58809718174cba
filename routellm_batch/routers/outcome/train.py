"""Train the outcome router: read rows, choose hyper-parameters on rows held out, fit, write with a model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.fitting import Choice, choose, fit_heads
from routellm_batch.routers.outcome.router import OutcomeRouter, design_matrix
from routellm_batch.routers.outcome.weights import save_heads
from routellm_batch.routers.training.request import TrainRequest, file_name, gain_text
from routellm_batch.routers.training.rows import Source, TrainingRows, read_sources

METHOD = """\
Two logistic heads (chance that the strong, and that the weak model answers well) on a static embedding and fourteen
surface features; score = (α · p_strong − p_weak + 1) / (1 + α). Each task has an intercept of its own while training.
Penalties and α were chosen among {candidates} candidates on {rows} rows held out, by the part of the gain recovered,
averaged over all strong shares: {quality:.3f} (random: .5)."""


@dataclass(frozen=True, slots=True)
class SourceCount:
    """How many rows of one source were used."""

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
    """The report of one training."""

    out: str
    """Where the checkpoint is."""
    seed: int
    """Seed of the folds."""
    sources: Sequence[SourceCount]
    """How many rows of each source were used."""
    choice: Choice
    """The hyper-parameters that were chosen on the rows held out."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        return (
            f"{sum(one.trained for one in self.sources):,} rows; {gain_text(self.choice.quality)} on "
            f"{self.choice.rows:,} that it did not see"
        )

    def fields(self) -> dict[str, Any]:
        """Return the report as plain data, without the folder that it was written to."""
        return {
            "seed": self.seed,
            "sources": [asdict(s) for s in self.sources],
            "choice": asdict(self.choice),
        }


def train_outcome(request: TrainRequest) -> TrainReport:
    """Train on outcomes, score matrices or battles, and write a checkpoint; ``training/rows.py`` explains the files.

    Raises:
        ConfigError: an option is given, or a checkpoint is at ``out`` already.
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
    """Train as ``train_outcome`` does, on sources that say how each file is used.

    Args:
        sources: the files, and how each is used.
        out: path or URI of a new folder.
        embedder: its settings, or a row of ``EMBEDDERS``.
        seed: of the folds.
        name: the checkpoint's own name.
        card: writes the model card (Markdown) from the report and the router; None: ``model_card``.

    Raises:
        ConfigError: there is no source, or a checkpoint is at ``out`` already.
        DataError: a file, column or row that can't be used.

    """
    if not sources:
        raise ConfigError("data", "no file to train on")
    rows = read_sources(sources)
    router, choice = fit_router(rows, embedder=embedder, seed=seed)
    report = TrainReport(out, seed, count_sources(sources, rows), choice)
    text = card(report, router) if card else model_card(name, report.fields())
    save_heads(out, router, name=name, trained=report.fields(), card=text)
    return report


def fit_router(
    rows: TrainingRows, *, embedder: EmbedderConfig | str = "static", seed: int = 0
) -> tuple[OutcomeRouter, Choice]:
    """Return a router fitted on the rows that are not held out, and the hyper-parameters that the others chose.

    Where no row is marked as held out, five folds choose and the router is fitted on all rows.

    Args:
        rows: the training rows.
        embedder: its settings, or a row of ``EMBEDDERS``.
        seed: of the folds.

    """
    loaded = get_embedder(embedder)
    design = design_matrix(loaded, rows.prompts)
    # Matrices this small gain nothing from threads, and on a busy machine lose tenfold to their waiting.
    with threadpool_limits(limits=1, user_api="blas"):
        choice = choose(rows, design, seed=seed)
        heads = fit_heads(rows, design, ~rows.held_out, choice.penalties, choice.alpha)
    return OutcomeRouter(heads, loaded), choice


def count_sources(sources: Sequence[Source], rows: TrainingRows) -> list[SourceCount]:
    """Return how many rows of each source were used, in the order of the sources."""
    counts = []
    for number, source in enumerate(sources):
        members = rows.file == number
        held_out = int(np.count_nonzero(members & rows.held_out))
        trained = int(np.count_nonzero(members)) - held_out
        counts.append(SourceCount(file_name(source.uri), trained, held_out, source.weight))
    return counts


def model_card(name: str, trained: Mapping[str, Any], *, sections: Sequence[str] = ()) -> str:
    """Return a model card, Markdown.

    Args:
        name: of the checkpoint.
        trained: fields of a ``TrainReport``.
        sections: further sections, Markdown.

    """
    choice = trained["choice"]
    table = ["| file | rows trained on | rows held out | weight of a row |", "|---|---:|---:|---:|"]
    table += [
        f"| {s['file']} | {s['trained']:,} | {s['held_out']:,} | {s['weight']:g} |"
        for s in trained["sources"]
    ]
    chosen = {**choice["penalties"], "alpha": choice["alpha"], "seed": trained["seed"]}
    parts = [
        f"# {name}: weights of the `outcome` router",
        METHOD.format(**choice),
        "## Data\n\n" + "\n".join(table),
        "## Chosen\n\n```json\n" + json.dumps(chosen, indent=2) + "\n```",
        *sections,
    ]
    return "\n\n".join(parts) + "\n"
