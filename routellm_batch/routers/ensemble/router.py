"""The ensemble router: weighted z-scores of other routers.

    score = σ(Σ_m w_m · (t_m(s_m) − μ_m) / d_m)

μ and d are fixed when the ensemble is made, never taken from the batch at hand: a score is a function of its row alone.
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
from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder, Router
from routellm_batch.core.registry import resolve
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import MANIFEST, Folder
from routellm_batch.routers.heads import sigmoid
from routellm_batch.routers.settings import RouterSettings

DEFAULT_CHECKPOINT = "builtin:ensemble-v1"
FORMAT = 1
FLOOR = 2.0**-21
"""What a score is raised to before its logarithm: one character, to the length router."""


class Member(BaseModel):
    """One router of an ensemble."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    router: str
    checkpoint: str | None = None
    embedder: EmbedderConfig | None = None
    """None is the ensemble's own; one that costs money can be no member's."""
    options: dict[str, Any] = Field(default_factory=dict)
    weight: float = 1.0
    transform: Literal["none", "log"] = "none"
    """``log`` for scores that grow by factors, such as ``length``."""
    mean: float
    """μ of its transformed scores on training prompts."""
    deviation: float = Field(gt=0)
    """d of the same."""


class EnsembleOptions(BaseModel):
    """The members, where no checkpoint names them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[Member, ...] | None = None


class SharedEmbedder:
    """Reads a batch once for all members; what it read is kept thread by thread until ``forget``."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._kept = threading.local()
        self.name, self.width, self.fingerprint = embedder.name, embedder.width, embedder.fingerprint

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [B, D], read-only, as the embedder itself gives it."""
        if getattr(self._kept, "texts", None) is not texts:
            vectors = self._embedder.embed(texts)
            vectors.flags.writeable = False
            self._kept.texts, self._kept.vectors = texts, vectors
        found: NDArray[np.float32] = self._kept.vectors
        return found

    def forget(self) -> None:
        """Let go of what this thread read."""
        self._kept.__dict__.clear()


@dataclass(frozen=True, eq=False)
class EnsembleRouter:
    """A ``Router`` of routers."""

    members: Sequence[tuple[Member, Router]]
    """What each is, and the router itself."""
    embedders: Sequence[SharedEmbedder] = ()
    """What several members read with."""

    name = "ensemble"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Load every member.

        Raises:
            CheckpointError: the manifest, or a member's weights, can't be used.
            ConfigError: no member, an ensemble within an ensemble, or an unknown option.

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
        """Load the routers of these members; raises as ``from_settings``."""
        routers = [make_member(member, settings) for member in members]
        shared = {id(found): SharedEmbedder(found) for one in routers if (found := _embedder(one))}
        made = [_reading(one, shared) for one in routers]
        return cls(list(zip(members, made, strict=True)), list(shared.values()))

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

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


def transformed(scores: NDArray[np.float32], transform: str) -> NDArray[np.float64]:
    """Return scores [B] as a member's z-score takes them."""
    values = scores.astype(np.float64)
    return np.log(np.maximum(values, FLOOR)) if transform == "log" else values


def make_member(member: Member, settings: RouterSettings) -> Router:
    """Make the router of a member.

    Raises:
        ConfigError: there is no such router, it is an ensemble itself, or it would embed for money by itself.
        CheckpointError: its weights can't be used.

    """
    if member.router == EnsembleRouter.name:
        raise ConfigError("router.options.members", "an ensemble can't be a member of an ensemble")
    # The hard cap knows router.embedder alone; and a manifest must not choose where a key is sent.
    if member.embedder is not None and member.embedder.name == "remote":
        raise ConfigError(
            "router.options.members",
            f"member {member.router!r} has a remote embedder of its own; make it the ensemble's, router.embedder",
        )
    from routellm_batch.routers import ROUTERS  # The table names this module too.

    own = RouterSettings(
        member.checkpoint, member.embedder or settings.embedder, settings.seed, dict(member.options)
    )
    made: Router = resolve(ROUTERS, member.router, key="router.options.members").from_settings(own)
    return made


def _embedder(router: Router) -> Embedder | None:
    found: Embedder | None = getattr(router, "embedder", None) if is_dataclass(router) else None
    return found


def _reading(router: Router, shared: Mapping[int, SharedEmbedder]) -> Router:
    """Return the router, reading with the shared embedder where it reads with any."""
    found = _embedder(router)
    if found is None:
        return router
    return cast("Router", replace(cast("Any", router), embedder=shared[id(found)]))


def read_members(location: str) -> tuple[Member, ...]:
    """Read the manifest of an ensemble.

    Raises:
        CheckpointError: it is absent or no manifest of an ensemble.

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
