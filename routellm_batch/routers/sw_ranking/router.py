"""RouteLLM's similarity-weighted ranking: for every prompt a Bradley–Terry fit to battles weighted by similarity.

    w_i = 10 · 10^(cos(q, i) / max_j cos(q, j))       θ = weighted Bradley–Terry of the models' tiers
    s   = 1 − 1 / (1 + 10^(θ_strong − θ_weak))

Source: arXiv 2406.18665, §4.1, as in RouteLLM's code (``routers/routers.py``). Battles enter the fit only by their tiers and
result, so a batch is one matrix product for similarities, one for the weights of the tier pairs, and Newton steps in ten
parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import load_tensors, take
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.settings import RouterSettings, refuse_unknown_model
from routellm_batch.routers.sw_ranking.index import BattleIndex, make_index


class SwOptions(BaseModel):
    """Which models are compared, and how battles within a tier are fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strong_model: str | None = None
    """None is the strong model of the index's own pair."""
    weak_model: str | None = None
    """None is the weak model of that pair."""
    upstream_compat: bool = True
    """Fit battles within a tier as RouteLLM's code does; False leaves them out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the battles are weighted and the ranking is fitted; ``auto`` is the GPU where there is one."""


class Rated(Protocol):
    """An index that rates the tiers for each of B prompts."""

    def ratings(self, embeddings: NDArray[np.float32]) -> Floats:
        """Return θ of every tier, float64 [B, T], for embeddings float32 [B, D]; Elo is 400 θ + 1000."""


@dataclass(frozen=True, eq=False)
class SwRankingRouter:
    """A ``Router`` that rates the tiers anew for every prompt."""

    index: Rated
    """The battles."""
    pair: tuple[int, int]
    """Tiers of the strong and of the weak model."""
    embedder: Embedder
    """Embeds the texts."""

    name = "sw_ranking"

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Self:
        """Return the router of an index of battles.

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
        tier_of, pair = fields.get("tiers"), fields.get("pair")
        if not (
            isinstance(tier_of, dict) and tier_of and isinstance(pair, list) and set(pair) <= set(tier_of)
        ):
            raise CheckpointError(
                f"{location}: its manifest does not name the tiers of its models and their pair"
            )
        vectors = take(tensors, "vectors", (None, embedder.width), location)
        prompt = take(tensors, "prompt", (None,), location).astype(np.int64)
        a, b = (take(tensors, n, (len(prompt),), location).astype(np.int64) for n in ("tier_a", "tier_b"))
        support = take(tensors, "support", (len(prompt),), location).astype(np.float64)
        tiers = max(tier_of.values()) + 1
        bad = len(prompt) == 0 or prompt.min() < 0 or prompt.max() >= len(vectors)
        if bad or min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= tiers:
            raise CheckpointError(
                f"{location}: a battle names a prompt or tier that the index lacks; make the index again"
            )
        strong_model, weak_model = options.strong_model or pair[0], options.weak_model or pair[1]
        refuse_unknown_model(strong_model, tier_of, option="strong_model")
        refuse_unknown_model(weak_model, tier_of, option="weak_model")
        strong, weak = int(tier_of[strong_model]), int(tier_of[weak_model])
        if strong == weak:
            problem = f"both models are in tier {strong}, which the ranking can't tell apart; name another"
            raise ConfigError("router.options.weak_model", problem)
        index = make_index(vectors, prompt, (a, b), support, tiers, compat=options.upstream_compat)
        return cls(_placed(index, options.device), (strong, weak), embedder)

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B] in [0, 1]; higher = the strong model is needed more.

        Raises:
            CheckpointError: a score is not a number.

        """
        theta = self.index.ratings(self.embedder.embed(batch.texts))
        scores = 1 - 1 / (1 + 10 ** (theta[:, self.pair[0]] - theta[:, self.pair[1]]))
        if not np.isfinite(scores).all():
            raise CheckpointError(
                "router 'sw_ranking' gave a score that is not a number; its index is unusable"
            )
        narrow: NDArray[np.float32] = scores.astype(np.float32)
        return narrow


def _placed(index: BattleIndex, device_name: str) -> Rated:
    """Return the index on its device; torch is imported only where it is installed and may be needed."""
    if device_name == "cpu" or (device_name == "auto" and find_spec("torch") is None):
        return index
    from routellm_batch.routers.models.device import choose_device
    from routellm_batch.routers.sw_ranking.device import DeviceIndex

    device = choose_device(device_name, key="router.options.device")
    return index if device.type == "cpu" else DeviceIndex(index, device)
