"""The checkpoint of a blend: loading and saving its arrays and manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError
from routellm_batch.core.protocols import Embedder
from routellm_batch.routers.checkpoint import Tensors, embedder_fields, save_checkpoint, take
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.features import FEATURES
from routellm_batch.routers.knn.router import Index
from routellm_batch.routers.outcome.blend.forest import Forest
from routellm_batch.routers.outcome.blend.router import MEMBERS, TABLE, Blend, BlendRouter, Learned, View
from routellm_batch.routers.outcome.router import OutcomeRouter
from routellm_batch.routers.outcome.weights import BLEND, take_heads, take_lean

HEADS = ("weight", "bias", "mean", "scale")
FOREST = ("root", "column", "threshold", "left", "right", "value")
VIEW = ("mean", "basis")
INDEX = ("vectors", "gain")


def load_blend(location: str, fields: Mapping[str, Any], tensors: Tensors, embedder: Embedder) -> BlendRouter:
    """Return the router of a checkpoint of a blend.

    Args:
        location: of the checkpoint, for errors.
        fields: its manifest.
        tensors: its tensors.
        embedder: the configured one.

    Raises:
        CheckpointError: a part is missing or of another shape, or made with other features or another static embedder.

    """
    static = get_embedder("static")
    if fields.get("columns") != list(TABLE) or fields.get("members") != list(MEMBERS):
        raise CheckpointError(
            f"{location}: was fitted on other columns or members; run the pilot's fit again"
        )
    if fields.get("static") != embedder_fields(static):
        raise CheckpointError(
            f"{location}: was fitted with another static embedder; run the pilot's fit again"
        )
    blend = Blend(
        *(_floats(tensors, f"blend.{n}", (len(MEMBERS),), location) for n in ("weight", "mean", "deviation"))
    )
    if not (blend.deviation > 0).all():
        raise CheckpointError(f"{location}: a deviation is not positive")
    prior = None
    if prior_fields := fields.get("prior"):
        size = (static.width + len(FEATURES), len(FEATURES))
        shipped = take_heads(location, prior_fields, tensors, size, "prior.")
        prior = OutcomeRouter(shipped, static, take_lean(location, prior_fields))
    learned = _learned(location, fields["learned"], tensors, embedder) if "learned" in fields else None
    return BlendRouter(blend, learned, prior, embedder, static)


def save_blend(out: str, router: BlendRouter, *, name: str, trained: Mapping[str, Any], card: str) -> None:
    """Write a checkpoint of a blend to a new folder, its manifest last.

    Args:
        out: path or URI of the folder.
        router: the blend and its members.
        name: the checkpoint's own name.
        trained: plain data of the fit, for the manifest.
        card: the model card, Markdown.

    Raises:
        ConfigError: a checkpoint is there already.

    """
    tensors: dict[str, NDArray[Any]] = {
        f"blend.{part}": getattr(router.blend, part) for part in ("weight", "mean", "deviation")
    }
    fields: dict[str, Any] = {
        "kind": BLEND,
        "columns": list(TABLE),
        "members": list(MEMBERS),
        "static": embedder_fields(router.static),
    }
    if router.prior is not None:
        fields["prior"] = {"alpha": router.prior.heads.alpha}
        tensors |= _parts("prior.", router.prior.heads, HEADS)
        if router.prior.lean is not None:
            fields["prior"]["lean"] = router.prior.lean.fields()
    if (learned := router.learned) is not None:
        settings = {"depth": learned.forest.depth, "k": learned.index.k, "prior": learned.index.prior}
        fields["learned"] = {"alpha": learned.heads.alpha, **settings}
        tensors |= _parts("heads.", learned.heads, HEADS) | _parts("forest.", learned.forest, FOREST)
        tensors |= _parts("index.", learned.index, INDEX) | _parts("exact.", learned.exact, VIEW)
        if learned.vectors is not None:
            tensors |= _parts("vectors.", learned.vectors, VIEW)
    fields["trained"] = dict(trained)
    save_checkpoint(out, tensors, router.embedder, router="outcome", name=name, card=card, fields=fields)


def _parts(prefix: str, whole: object, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    return {prefix + name: getattr(whole, name) for name in names}


def _learned(location: str, fields: Mapping[str, Any], tensors: Tensors, embedder: Embedder) -> Learned:
    static = get_embedder("static")
    size = (embedder.width + len(TABLE), len(TABLE))
    heads = take_heads(location, fields, tensors, size, "heads.")
    mixed = embedder.fingerprint != static.fingerprint
    exact = _view(location, tensors, static, "exact.")
    vectors = _view(location, tensors, embedder, "vectors.") if mixed else None
    nodes = take(tensors, "forest.column", (None,), location).shape
    shapes = {**dict.fromkeys(FOREST, nodes), "root": (None,)}
    trees = {n: take(tensors, f"forest.{n}", shape, location) for n, shape in shapes.items()}
    depth, k, prior = (fields.get(name) for name in ("depth", "k", "prior"))
    columns = exact.basis.shape[1] + len(TABLE) + (0 if vectors is None else vectors.basis.shape[1])
    leads = all(((trees[n] >= 0) & (trees[n] < nodes[0])).all() for n in ("root", "left", "right"))
    leads &= bool(((trees["column"] >= 0) & (trees["column"] < columns)).all() and len(trees["root"]))
    if not (leads and isinstance(depth, int) and 0 <= depth <= nodes[0]):
        raise CheckpointError(f"{location}: a branch of its forest leads nowhere")
    if not (isinstance(k, int) and k > 0 and isinstance(prior, int | float) and prior > 0):
        raise CheckpointError(f"{location}: its manifest holds no positive k and prior")
    neighbours = take(tensors, "index.vectors", (None, static.width), location)
    gain = take(tensors, "index.gain", (len(neighbours),), location)
    index = Index(neighbours, gain, k, float(prior))
    return Learned(heads, exact, vectors, Forest(**trees, depth=depth), index)


def _view(location: str, tensors: Tensors, embedder: Embedder, prefix: str) -> View:
    mean = _floats(tensors, f"{prefix}mean", (embedder.width,), location)
    return View(mean, _floats(tensors, f"{prefix}basis", (embedder.width, None), location))


def _floats(tensors: Tensors, name: str, shape: tuple[int | None, ...], location: str) -> Floats:
    return take(tensors, name, shape, location).astype(np.float64)
