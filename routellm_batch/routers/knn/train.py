"""Make the index of the knn router: embed labelled prompts, choose k and the prior on rows held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import DataError
from routellm_batch.core.protocols import Embedder
from routellm_batch.routers.checkpoint import save_checkpoint
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.knn.router import Index, KnnRouter
from routellm_batch.routers.training.held_out import Mask, quality, rounds
from routellm_batch.routers.training.request import TrainRequest, file_name, gain_text
from routellm_batch.routers.training.rows import Source, TrainingRows, read_sources

NEIGHBOURS = (300, 100, 30, 10)
"""Candidates for k."""
PRIORS = (10.0, 1.0, 0.1)
"""Candidates for the weight of the mean gain."""
FALLBACK = (30, 1.0)
"""k and prior where the rows held out have no gain to recover."""


@dataclass(frozen=True, slots=True)
class KnnReport:
    """The report of one training."""

    out: str
    """Where the checkpoint is."""
    rows: int
    """Rows in the index."""
    held_out: int
    """Rows that chose k and the prior."""
    k: int
    """Number of neighbours."""
    prior: float
    """Weight of the mean gain."""
    quality: float
    """Part of the gain recovered on the rows held out, averaged over all shares; NaN: there was none to recover."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        unseen = f"{self.held_out:,} that it did not see, which chose k={self.k}"
        return f"{self.rows:,} rows; {gain_text(self.quality)} on {unseen}"


def train_knn(request: TrainRequest) -> KnnReport:
    """Make an index of outcomes, score matrices or battles and write it; ``training/rows.py`` explains the files.

    Raises:
        ConfigError: an option is given, or a checkpoint at ``out`` already.
        DataError: a file, column or row that can't be used.

    """
    request.refuse_options("knn")
    return train_knn_sources([Source(path) for path in request.paths], request)


def train_knn_sources(
    sources: Sequence[Source],
    request: TrainRequest,
    *,
    name: str = "knn",
    card: Callable[[KnnReport, KnnRouter], str] | None = None,
) -> KnnReport:
    """Make an index as ``train_knn`` does, of sources that say how each file is used.

    Args:
        sources: the files, and how each is used.
        request: where to write, with which embedder and seed.
        name: the checkpoint's own name.
        card: writes the model card (Markdown) from the report and the router; None: ``model_card``.

    Raises:
        ConfigError: a checkpoint is at ``out`` already.
        DataError: a file, column or row that can't be used.

    """
    rows = read_sources(sources)
    embedder = get_embedder(request.embedder)
    vectors = embedder.embed(rows.prompts).astype(np.float16).astype(np.float32)
    k, prior, best_quality, tested = _choose(rows, vectors, request.seed, request.progress)
    index = _index(rows, vectors, ~rows.held_out, k, prior)
    if len(index.gain) < 2:
        raise DataError("at least two rows are needed to have a neighbour", file=sources[0].uri)
    report = KnnReport(request.out, len(index.gain), tested, k, prior, best_quality)
    files = [file_name(source.uri) for source in sources]
    text = card(report, KnnRouter(index, embedder)) if card else model_card(name, report, files)
    tensors = {"vectors": index.vectors.astype(np.float16), "gain": index.gain.astype(np.float16)}
    save_checkpoint(
        request.out, tensors, embedder, router="knn", name=name, card=text, fields={"k": k, "prior": prior}
    )
    return report


def fit_knn(rows: TrainingRows, embedder: Embedder, *, seed: int = 0) -> KnnRouter:
    """Return the router of an index of the rows not held out; the rows held out, or five folds, choose k and the prior.

    Args:
        rows: the labelled rows.
        embedder: embeds the texts.
        seed: of the folds.

    """
    vectors = embedder.embed(rows.prompts).astype(np.float16).astype(np.float32)
    k, prior, _, _ = _choose(rows, vectors, seed, lambda _: None)
    return KnnRouter(_index(rows, vectors, ~rows.held_out, k, prior), embedder)


def centred_gain(rows: TrainingRows) -> Floats:
    """Return strong − weak, float64 [N] in [−1, 1], each task shifted to the mean of all: tasks are graded differently."""
    gain = rows.strong - rows.weak
    _, task = np.unique(np.array(rows.task), return_inverse=True)
    means = np.bincount(task, gain) / np.bincount(task)
    centred: Floats = np.clip(gain - means[task] + gain.mean(), -1, 1)
    return centred


def _index(rows: TrainingRows, vectors: NDArray[np.float32], used: Mask, k: int, prior: float) -> Index:
    return Index(vectors[used], centred_gain(rows)[used].astype(np.float16).astype(np.float32), k, prior)


def _choose(
    rows: TrainingRows, vectors: NDArray[np.float32], seed: int, progress: Callable[[str], None]
) -> tuple[int, float, float, int]:
    """Return k and the prior of the best quality, that quality, and the number of rows; of equals, the smoother pair."""
    ways = list(rounds(rows, seed))
    best, best_quality = FALLBACK, math.nan
    whole = _index(rows, vectors, np.ones(len(rows), dtype=np.bool_), 1, 1.0)
    for k, prior in product(NEIGHBOURS, PRIORS):
        qualities = []
        for way in ways:
            scores = np.zeros(len(rows))
            for fitted, tested in way.splits:
                part = replace(whole, vectors=vectors[fitted], gain=whole.gain[fitted], k=k, prior=prior)
                scores[tested] = part.score(vectors[tested])
            qualities.append(quality(rows, scores, way))
        mean = float(np.mean(qualities))
        progress(f"k {k}, prior {prior:g}: {mean:.4f} of the gain held out")
        if mean > best_quality or (math.isnan(best_quality) and math.isfinite(mean)):
            best, best_quality = (k, prior), mean
    return *best, best_quality, int(ways[0].tested.sum())


def model_card(name: str, report: KnnReport, files: Sequence[str], *, sections: Sequence[str] = ()) -> str:
    """Return a model card, Markdown.

    Args:
        name: of the checkpoint.
        report: of the training.
        files: names of the files trained on.
        sections: further sections, Markdown.

    """
    method = f"""\
An index of {report.rows:,} labelled prompts, as embeddings and gains; no text. A score is the mean gain of the
{report.k} nearest, weighted by similarity, with a prior of weight {report.prior:g}. Both were chosen among
{len(NEIGHBOURS) * len(PRIORS)} candidates on {report.held_out:,} rows held out, by the part of the gain recovered, averaged
over all strong shares: {report.quality:.3f} (random: .5). Gains are centred task by task."""
    parts = [
        f"# {name}: index of the `knn` router",
        method,
        "## Data\n\n" + ", ".join(f"`{f}`" for f in files),
    ]
    return "\n\n".join([*parts, *sections]) + "\n"
