"""The members of a pilot's blend that learn from its labels: logistic heads, a forest, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.routers.heads import Heads, standardise
from routellm_batch.routers.knn.router import Index
from routellm_batch.routers.outcome.blend.forest import Forest
from routellm_batch.routers.outcome.blend.router import TABLE, Learned, Reading, View, tree_columns
from routellm_batch.routers.training.fitting import INTERCEPT_PENALTY, Penalties
from routellm_batch.routers.training.logistic import fit_logistic

DIRECTIONS = 32
"""Of an embedding that trees may look along."""
KINDS: dict[str, Any] = {
    "column": np.int16,
    "threshold": np.float32,
    "left": np.int32,
    "right": np.int32,
    "value": np.float32,
}
"""Arrays of a forest."""
TREES, LEAF, TRIED = 300, 8, 0.3
"""How many trees, the least rows in a leaf, and the part of the columns that a split tries."""

NEIGHBOURS, NEIGHBOURS_PRIOR = 60, 0.1
"""How many prompts like it a prompt is judged by (at most a quarter of the pilot), and the weight of the mean gain."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """N labelled prompts, read."""

    reading: Reading
    """The prompts."""
    strong: Floats
    """[N] in [0, 1]."""
    weak: Floats
    """[N] in [0, 1]."""
    weight: Floats = field(repr=False)
    """[N]."""

    @property
    def gain(self) -> Floats:
        """[N], strong − weak."""
        return self.strong - self.weak

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """Return some of the rows."""
        return Labels(self.reading.take(rows), self.strong[rows], self.weak[rows], self.weight[rows])


def fit_heads(labels: Labels, penalties: Penalties) -> Heads:
    """Fit two logistic heads on embeddings and the table."""
    table = labels.reading.table
    mean, scale = table.mean(axis=0), table.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)  # A column that never varies says nothing; don't blow it up.
    X = standardise(labels.reading.described, mean, scale)
    width = labels.reading.vectors.shape[1]
    penalty = np.repeat((penalties.embedding, penalties.features, INTERCEPT_PENALTY), (width, len(TABLE), 1))
    X = np.hstack([X, np.ones((len(X), 1))])
    found = [fit_logistic(X, target, labels.weight, penalty) for target in (labels.strong, labels.weak)]
    return Heads(
        weight=np.array([b[:-1] for b in found]),
        bias=np.array([b[-1] for b in found]),
        mean=mean,
        scale=scale,
        alpha=1.0,
    )


def learn(labels: Labels, heads: Heads, seed: int) -> Learned:
    """Fit every other member that learns, and join them with the heads."""
    from sklearn.ensemble import ExtraTreesRegressor  # takes a second, which no other command should wait

    reading, gain = labels.reading, labels.gain
    exact = view(reading.exact)
    vectors = view(reading.vectors) if reading.mixed else None
    # Extremely randomised trees (Geurts et al. 2006), on both models' scores; they keep the difference.
    grown = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=TRIED, random_state=seed)
    grown.fit(
        tree_columns(reading, exact, vectors).astype(np.float32),
        np.column_stack([labels.strong, labels.weak]),
        sample_weight=labels.weight,
    )
    forest = flatten([one.tree_ for one in grown.estimators_])
    k = max(1, min(NEIGHBOURS, len(gain) // 4))
    index = Index(exact.centred(reading.exact), gain.astype(np.float32), k, NEIGHBOURS_PRIOR)
    return Learned(heads, exact, vectors, forest, index)


def view(embeddings: Floats) -> View:
    """Return how a pilot's embeddings are looked at."""
    mean = embeddings.mean(axis=0)
    _, _, directions = np.linalg.svd(embeddings - mean, full_matrices=False)
    return View(mean, directions[:DIRECTIONS].T.copy())


def flatten(trees: Sequence[Any]) -> Forest:
    """Return scikit-learn's trees of two targets as one forest, on the difference of the targets."""
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in KINDS}
    for start, tree in zip(starts, trees, strict=False):
        here = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        parts["column"].append(np.where(leaf, 0, tree.feature))
        parts["threshold"].append(np.where(leaf, 0, tree.threshold))
        parts["left"].append(start + np.where(leaf, here, tree.children_left))
        parts["right"].append(start + np.where(leaf, here, tree.children_right))
        parts["value"].append(tree.value[:, 0, 0] - tree.value[:, 1, 0])
    joined = {name: np.concatenate(found).astype(KINDS[name]) for name, found in parts.items()}
    return Forest(
        root=starts[:-1].astype(np.int32), depth=max(int(tree.max_depth) for tree in trees), **joined
    )
