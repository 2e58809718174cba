"""Fit the members of a pilot's blend that learn from its labels: logistic heads, a forest, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats, Ints
from routellm_batch.routers.heads import Heads, spread, standardise
from routellm_batch.routers.knn.router import Index
from routellm_batch.routers.outcome.blend.forest import Forest
from routellm_batch.routers.outcome.blend.router import TABLE, Learned, Reading, View, tree_columns
from routellm_batch.routers.outcome.fitting import INTERCEPT_PENALTY, Penalties
from routellm_batch.routers.outcome.logistic import fit_logistic

DIRECTIONS = 32
"""Principal directions of an embedding that trees may split on."""
KINDS: dict[str, Any] = {
    "column": np.int16,
    "threshold": np.float32,
    "left": np.int32,
    "right": np.int32,
    "value": np.float32,
}
"""Array of a forest → its dtype."""
TREES, LEAF, TRIED = 300, 8, 0.3
"""How many trees, the least rows in a leaf, and the part of the columns that a split tries."""

NEIGHBOURS, NEIGHBOURS_PRIOR = 60, 0.1
"""How many similar prompts count (at most a quarter of the pilot), and the weight of the mean gain."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """N labelled prompts as the members see them."""

    reading: Reading
    """The prompts."""
    strong: Floats
    """[N] in [0, 1], grade of the strong model's answer."""
    weak: Floats
    """[N] in [0, 1], grade of the weak model's answer."""
    weight: Floats = field(repr=False)
    """[N], sampling weights; positive."""

    @property
    def gain(self) -> Floats:
        """float64 [N] in [−1, 1], strong − weak."""
        return self.strong - self.weak

    def take(self, rows: Ints) -> Labels:
        """Return the labels of some rows, int64 [B] indices."""
        return Labels(self.reading.take(rows), self.strong[rows], self.weak[rows], self.weight[rows])


def fit_heads(labels: Labels, penalties: Penalties) -> Heads:
    """Return two logistic heads on the design matrix of embeddings and ``TABLE``, with α = 1.

    Args:
        labels: the rows to fit on.
        penalties: strength of the priors on the two kinds of columns.

    """
    mean, scale = spread(labels.reading.table)
    X = standardise(labels.reading.design, mean, scale)
    width = labels.reading.vectors.shape[1]
    penalty = np.repeat((penalties.embedding, penalties.features, INTERCEPT_PENALTY), (width, len(TABLE), 1))
    X = np.hstack([X, np.ones((len(X), 1))])
    coefficients = [
        fit_logistic(X, target, labels.weight, penalty) for target in (labels.strong, labels.weak)
    ]
    return Heads(
        weight=np.array([b[:-1] for b in coefficients]),
        bias=np.array([b[-1] for b in coefficients]),
        mean=mean,
        scale=scale,
        alpha=1.0,
    )


def learn(labels: Labels, heads: Heads, seed: int) -> Learned:
    """Return the heads with every other member that learns, fitted on the same rows.

    The forest is one of extremely randomised trees (Geurts et al. 2006), grown on both models' grades; it keeps the
    difference of the two predictions.

    Args:
        labels: the rows to fit on.
        heads: fitted on them.
        seed: of the trees.

    """
    from sklearn.ensemble import ExtraTreesRegressor  # Takes a second to load, and no other command needs it.

    reading, gain = labels.reading, labels.gain
    exact = view(reading.exact)
    vectors = view(reading.vectors) if reading.mixed else None
    regressor = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, max_features=TRIED, random_state=seed)
    regressor.fit(
        tree_columns(reading, exact, vectors).astype(np.float32),
        np.column_stack([labels.strong, labels.weak]),
        sample_weight=labels.weight,
    )
    forest = flatten([one.tree_ for one in regressor.estimators_])
    k = max(1, min(NEIGHBOURS, len(gain) // 4))
    index = Index(exact.centred(reading.exact), gain.astype(np.float32), k, NEIGHBOURS_PRIOR)
    return Learned(heads, exact, vectors, forest, index)


def view(embeddings: Floats) -> View:
    """Return the mean and the first principal directions of a pilot's embeddings, float64 [N, D]."""
    mean = embeddings.mean(axis=0)
    _, _, directions = np.linalg.svd(embeddings - mean, full_matrices=False)
    return View(mean, directions[:DIRECTIONS].T.copy())


def flatten(trees: Sequence[Any]) -> Forest:
    """Return scikit-learn's trees of two targets as one forest that predicts the first target minus the second."""
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in KINDS}
    for start, tree in zip(starts, trees, strict=False):
        nodes = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        parts["column"].append(np.where(leaf, 0, tree.feature))
        parts["threshold"].append(np.where(leaf, 0, tree.threshold))
        parts["left"].append(start + np.where(leaf, nodes, tree.children_left))
        parts["right"].append(start + np.where(leaf, nodes, tree.children_right))
        parts["value"].append(tree.value[:, 0, 0] - tree.value[:, 1, 0])
    joined = {name: np.concatenate(arrays).astype(KINDS[name]) for name, arrays in parts.items()}
    return Forest(
        root=starts[:-1].astype(np.int32), depth=max(int(tree.max_depth) for tree in trees), **joined
    )
