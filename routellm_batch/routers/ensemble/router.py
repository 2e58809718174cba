"""The ensemble router: weighted z-scores of other routers.

    score = σ(Σ_m w_m · (t_m(s_m) − μ_m) / d_m)

t_m is the identity or the logarithm. μ and d are fixed when the ensemble is made, never taken from the batch at hand: a
score is a function of its row alone. The formula is this project's own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder, Router
from routellm_batch.core.registry import resolve
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import MANIFEST, Folder
from routellm_batch.routers.heads import sigmoid
from routellm_batch.routers.settings import RouterSettings

DEFAULT_CHECKPOINT = "builtin:ensemble-v1"
FORMAT = 1
"""Version of the manifest."""
FLOOR = 2.0**-21
"""Least score whose logarithm is taken: that of one character by the length router; smaller scores are raised to it."""


class Member(BaseModel):
    """One router of an ensemble."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    router: str
    """A row of ``ROUTERS``, not ``ensemble``."""
    checkpoint: str | None = None
    """As ``router.checkpoint``; None is the router's default."""
    embedder: EmbedderConfig | None = None
    """None is the ensemble's own; an embedder that costs money can't be a member's own."""
    options: dict[str, Any] = Field(default_factory=dict)
    """As ``router.options``."""
    weight: float = 1.0
    """w of its z-score."""
    transform: Literal["none", "log"] = "none"
    """t; ``log`` is for scores that grow by factors, such as those of ``length``."""
    mean: float
    """μ, mean of its transformed scores on training prompts."""
    deviation: float = Field(gt=0)
    """d, standard deviation of the same."""


class EnsembleOptions(BaseModel):
    """Settings of ``ensemble``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[Member, ...] | None = None
    """The members, where no checkpoint names them."""


class SharedEmbedder:
    """An ``Embedder`` that embeds a batch once for all members; each thread keeps its vectors until ``forget``.

    Args:
        embedder: what it wraps.

    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._kept = threading.local()
        self.name, self.width, self.fingerprint = embedder.name, embedder.width, embedder.fingerprint

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], read-only, as the wrapped embedder does."""
        if getattr(self._kept, "texts", None) is not texts:
            vectors = self._embedder.embed(texts)
            vectors.flags.writeable = False
            self._kept.texts, self._kept.vectors = texts, vectors
        kept: NDArray[np.float32] = self._kept.vectors
        return kept

    def forget(self) -> None:
        """Drop the texts and vectors of this thread."""
        self._kept.__dict__.clear()


@dataclass(frozen=True, eq=False)
class EnsembleRouter:
    """A ``Router`` of routers."""

    members: Sequence[tuple[Member, Router]]
    """Each member's settings, and its router."""
    embedders: Sequence[SharedEmbedder] = ()
    """Embedders that the members share."""

    name = "ensemble"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the ensemble of a manifest, or of ``options.members``, with every member loaded.

        Raises:
            CheckpointError: the manifest, or a member's weights, can't be used.
            ConfigError: there is no member, a member is an ensemble, or an option is unknown.

        """
        options = settings.read_options(EnsembleOptions, cls.name)
        if options.members is not None and settings.checkpoint is not None:
            raise ConfigError("router.checkpoint", "give either a checkpoint or options.members")
        members = options.members
        if members is None:
            members = read_members(settings.checkpoint or DEFAULT_CHECKPOINT)
        if not members:
            raise ConfigError("router.options.members", "is empty; an ensemble has at least one member")
        return cls.of(members, settings)

    @classmethod
    def of(cls, members: Sequence[Member], settings: RouterSettings) -> Self:
        """Return the ensemble of these members, with their routers loaded.

        Args:
            members: settings of each.
            settings: the ensemble's embedder and seed.

        Raises:
            CheckpointError: a member's weights can't be used.
            ConfigError: a member is an ensemble, or has an unknown option.

        """
        routers = [make_member(member, settings) for member in members]
        shared = {id(own): SharedEmbedder(own) for one in routers if (own := _embedder(one))}
        sharing = [_with_shared(one, shared) for one in routers]
        return cls(list(zip(members, sharing, strict=True)), list(shared.values()))

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a member gave a score that is not a number.

        """
        z = np.zeros(len(batch.texts))
        try:
            for member, router in self.members:
                raw = transformed(router.score(batch), member.transform)
                z += member.weight * (raw - member.mean) / member.deviation
        finally:
            for embedder in self.embedders:
                embedder.forget()
        if not np.isfinite(z).all():
            raise CheckpointError("router 'ensemble' gave a score that is not a number; a member is unusable")
        return sigmoid(z).astype(np.float32)


def transformed(scores: NDArray[np.float32], transform: str) -> Floats:
    """Return t(scores), float64 [B]: what a member's z-score is computed from.

    Args:
        scores: float32 [B] in [0, 1].
        transform: ``none`` or ``log``.

    """
    values = scores.astype(np.float64)
    return np.log(np.maximum(values, FLOOR)) if transform == "log" else values


def make_member(member: Member, settings: RouterSettings) -> Router:
    """Return the router of a member.

    Args:
        member: its settings.
        settings: the ensemble's embedder and seed.

    Raises:
        ConfigError: the router is unknown or an ensemble, or has a remote embedder of its own.
        CheckpointError: its weights can't be used.

    """
    if member.router == EnsembleRouter.name:
        raise ConfigError("router.options.members", "an ensemble can't be a member of an ensemble")
    # The hard cap counts router.embedder alone, and a manifest must not choose where a key is sent.
    if member.embedder is not None and member.embedder.name == "remote":
        raise ConfigError(
            "router.options.members",
            f"member {member.router!r} has a remote embedder of its own; make it the ensemble's, router.embedder",
        )
    from routellm_batch.routers import ROUTERS  # The table names this module too.

    own = RouterSettings(
        member.checkpoint, member.embedder or settings.embedder, settings.seed, dict(member.options)
    )
    router: Router = resolve(ROUTERS, member.router, key="router.options.members").from_settings(own)
    return router


def _embedder(router: Router) -> Embedder | None:
    embedder: Embedder | None = getattr(router, "embedder", None) if is_dataclass(router) else None
    return embedder


def _with_shared(router: Router, shared: Mapping[int, SharedEmbedder]) -> Router:
    """Return the router with the shared embedder in place of its own, if it has one."""
    own = _embedder(router)
    if own is None:
        return router
    return cast("Router", replace(cast("Any", router), embedder=shared[id(own)]))


def read_members(location: str) -> tuple[Member, ...]:
    """Return the members that the manifest of an ensemble names.

    Args:
        location: as ``router.checkpoint``.

    Raises:
        CheckpointError: the manifest is absent, or invalid for an ensemble.

    """
    try:
        fields: Mapping[str, Any] = json.loads(Folder(location).read(MANIFEST))
        if (fields["format"], fields["router"]) != (FORMAT, EnsembleRouter.name):
            raise CheckpointError(f"{location}: is no ensemble of format {FORMAT}, but {fields['router']!r}")
        return tuple(Member.model_validate(member) for member in fields["members"])
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{location}: holds no {MANIFEST}; is it a folder of weights?") from None
    except (ValueError, KeyError, TypeError, ValidationError):
        raise CheckpointError(f"{location}: {MANIFEST} is not the manifest of an ensemble") from None
