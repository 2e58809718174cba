"""Building the index of the knn router: embed labelled prompts, choose k and the prior on rows held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.core.protocols import Embedder
from routellm_batch.routers.checkpoint import save_checkpoint
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.knn.router import Index, KnnRouter
from routellm_batch.routers.training.fitting import Mask, quality, rounds
from routellm_batch.routers.training.request import TrainRequest
from routellm_batch.routers.training.rows import Source, TrainingRows, read_sources

NEIGHBOURS = (300, 100, 30, 10)
PRIORS = (10.0, 1.0, 0.1)
FALLBACK = (30, 1.0)
"""Where the rows held out have nothing to recover."""


@dataclass(frozen=True, slots=True)
class KnnReport:
    """What a training did."""

    out: str
    """Where the checkpoint is."""
    rows: int
    """In the index."""
    held_out: int
    """Rows that chose k and the prior."""
    k: int
    """Neighbours."""
    prior: float
    """Weight of the mean gain."""
    quality: float
    """Part of the gain recovered on the rows held out, averaged over all shares; NaN: there was none to recover."""


def train_knn(request: TrainRequest) -> KnnReport:
    """Build an index from outcomes, score matrices or battles (``training/rows.py`` says what each means).

    Raises:
        ConfigError: an option, or a checkpoint at ``out`` already.
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
    """Do as ``train_knn``, with more said about each source.

    Args:
        sources: what is read, and how.
        request: where to, with which embedder and seed.
        name: what the checkpoint calls itself.
        card: writes the model card (Markdown); a plain one where it is left out.

    """
    rows = read_sources(sources)
    embedder = get_embedder(request.embedder)
    vectors = embedder.embed(rows.prompts).astype(np.float16).astype(np.float32)
    k, prior, reached, tested = _choose(rows, vectors, request.seed, request.progress)
    index = _index(rows, vectors, ~rows.held_out, k, prior)
    if len(index.gain) < 2:
        raise DataError("at least two rows are needed to have a neighbour", file=sources[0].uri)
    report = KnnReport(request.out, len(index.gain), tested, k, prior, reached)
    files = [source.uri.rstrip("/").rpartition("/")[2] for source in sources]
    text = card(report, KnnRouter(index, embedder)) if card else model_card(name, report, files)
    tensors = {"vectors": index.vectors.astype(np.float16), "gain": index.gain.astype(np.float16)}
    save_checkpoint(
        request.out, tensors, embedder, router="knn", name=name, card=text, fields={"k": k, "prior": prior}
    )
    return report


def fit_knn(rows: TrainingRows, embedder: Embedder, *, seed: int = 0) -> KnnRouter:
    """Return an index of the rows not held out; k and the prior are chosen on those that are, or by five folds."""
    vectors = embedder.embed(rows.prompts).astype(np.float16).astype(np.float32)
    k, prior, _, _ = _choose(rows, vectors, seed, lambda _: None)
    return KnnRouter(_index(rows, vectors, ~rows.held_out, k, prior), embedder)


def centred_gain(rows: TrainingRows) -> NDArray[np.float64]:
    """Return strong − weak, [N], each task's mean moved to the mean of all: tasks are graded in different ways."""
    gain = rows.strong - rows.weak
    _, task = np.unique(np.array(rows.task), return_inverse=True)
    means = np.bincount(task, gain) / np.bincount(task)
    centred: NDArray[np.float64] = np.clip(gain - means[task] + gain.mean(), -1, 1)
    return centred


def _index(rows: TrainingRows, vectors: NDArray[np.float32], used: Mask, k: int, prior: float) -> Index:
    return Index(vectors[used], centred_gain(rows)[used].astype(np.float16).astype(np.float32), k, prior)


def _choose(
    rows: TrainingRows, vectors: NDArray[np.float32], seed: int, progress: Callable[[str], None]
) -> tuple[int, float, float, int]:
    """Return k, the prior, the quality they reach, and on how many rows; of equals, the smoother."""
    ways = list(rounds(rows, seed))
    best, reached = FALLBACK, math.nan
    whole = _index(rows, vectors, np.ones(len(rows), dtype=np.bool_), 1, 1.0)
    for k, prior in product(NEIGHBOURS, PRIORS):
        found = []
        for way in ways:
            scores = np.zeros(len(rows))
            for fitted, tested in way.splits:
                part = replace(whole, vectors=vectors[fitted], gain=whole.gain[fitted], k=k, prior=prior)
                scores[tested] = part.score(vectors[tested])
            found.append(quality(rows, scores, way))
        mean = float(np.mean(found))
        progress(f"k {k}, prior {prior:g}: {mean:.4f} of the gain held out")
        if mean > reached or (math.isnan(reached) and math.isfinite(mean)):
            best, reached = (k, prior), mean
    return *best, reached, int(ways[0].tested.sum())


def model_card(name: str, report: KnnReport, files: Sequence[str], *, sections: Sequence[str] = ()) -> str:
    """Return a model card, Markdown."""
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
