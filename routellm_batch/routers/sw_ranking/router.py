"""RouteLLM's similarity-weighted ranking: a Bradley–Terry fit for every prompt, to battles weighted by likeness.

    w_i = 10 · 10^(cos(q, i) / max_j cos(q, j))       θ = weighted Bradley–Terry of the models' tiers
    s   = 1 − 1 / (1 + 10^(θ_strong − θ_weak))

(arXiv 2406.18665, §4.1, as its code has it.) Battles enter the fit only by their tiers and outcome, so a batch is one
matrix product for similarities, one for the weights of the tier pairs, and Newton steps in ten parameters.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import load_tensors, take
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.settings import RouterSettings
from routellm_batch.routers.sw_ranking.index import BattleIndex, make_index


class SwOptions(BaseModel):
    """Which models are compared, and how battles within a tier are fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strong_model: str | None = None
    weak_model: str | None = None
    upstream_compat: bool = True
    """Fit battles within a tier as RouteLLM's code does; False leaves them out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the battles are weighed and the ranking is fitted; ``auto`` is the GPU where there is one."""


class Rated(Protocol):
    """Rates the tiers for each of B prompts."""

    def ratings(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return θ of every tier, float64 [B, T], for embeddings [B, D]; Elo is 400 θ + 1000."""


@dataclass(frozen=True, eq=False)
class SwRankingRouter:
    """A ``Router`` that rates the tiers anew for every prompt."""

    index: Rated
    """The battles."""
    pair: tuple[int, int]
    """Tiers of the strong and of the weak model."""
    embedder: Embedder
    """What texts are read with."""

    name = "sw_ranking"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Load an index of battles.

        Raises:
            CheckpointError: absent, damaged, not finite, or made with another embedder.
            ConfigError: no checkpoint, a model that is in no battle, both in one tier, or an unknown option.

        """
        options = settings.read_options(SwOptions, cls.name)
        location = settings.checkpoint
        if location is None:
            problem = (
                "sw_ranking comes without battles; make an index: routellm-batch train --router sw_ranking"
            )
            raise ConfigError("router.checkpoint", problem)
        embedder = get_embedder(settings.embedder)
        fields, tensors = load_tensors(location, cls.name, embedder, mapped=True)
        of, pair = fields.get("tiers"), fields.get("pair")
        if not (isinstance(of, dict) and of and isinstance(pair, list) and set(pair) <= set(of)):
            raise CheckpointError(
                f"{location}: its manifest does not name the tiers of its models and their pair"
            )
        vectors = take(tensors, "vectors", (None, embedder.width), location)
        prompt = take(tensors, "prompt", (None,), location).astype(np.int64)
        a, b = (take(tensors, n, (len(prompt),), location).astype(np.int64) for n in ("tier_a", "tier_b"))
        support = take(tensors, "support", (len(prompt),), location).astype(np.float64)
        tiers = max(of.values()) + 1
        bad = len(prompt) == 0 or prompt.min() < 0 or prompt.max() >= len(vectors)
        if bad or min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= tiers:
            raise CheckpointError(f"{location}: a battle's prompt or tier is not there; make the index again")
        strong = _tier(of, options.strong_model or pair[0], "strong_model")
        weak = _tier(of, options.weak_model or pair[1], "weak_model")
        if strong == weak:
            problem = f"both models are in tier {strong}, which the ranking can't tell apart; name another"
            raise ConfigError("router.options.weak_model", problem)
        index = make_index(vectors, prompt, (a, b), support, tiers, compat=options.upstream_compat)
        return cls(_placed(index, options.device), (strong, weak), embedder)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1].

        Raises:
            CheckpointError: a score is not a number.

        """
        theta = self.index.ratings(self.embedder.embed(batch.texts))
        scores = 1 - 1 / (1 + 10 ** (theta[:, self.pair[0]] - theta[:, self.pair[1]]))
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'sw_ranking' gave a score that is not a number; its index is unusable"
            )
        found: NDArray[np.float32] = scores.astype(np.float32)
        return found


def _placed(index: BattleIndex, asked: str) -> Rated:
    """Return the index on its device; torch is not asked for where there is none and none is needed."""
    if asked == "cpu" or (asked == "auto" and find_spec("torch") is None):
        return index
    from routellm_batch.routers.models.device import choose_device
    from routellm_batch.routers.sw_ranking.device import DeviceIndex

    device = choose_device(asked, key="router.options.device")
    return index if device.type == "cpu" else DeviceIndex(index, device)


def _tier(of: Mapping[str, int], name: str, option: str) -> int:
    if name not in of:
        close = difflib.get_close_matches(name, of, n=3, cutoff=0.4) or list(of)[:3]
        raise ConfigError(f"router.options.{option}", f"no battle of {name!r}; near: {', '.join(close)}")
    return int(of[name])
