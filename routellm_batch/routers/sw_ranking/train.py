"""Make the index of the similarity-weighted ranking: embed battles, rate the models, split them into tiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import DataError
from routellm_batch.routers.checkpoint import save_checkpoint
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.mf.train import choose_pair
from routellm_batch.routers.sw_ranking.bradley_terry import cells, solve, split_tiers
from routellm_batch.routers.sw_ranking.index import make_index
from routellm_batch.routers.training.battles import Battles, read_pairs
from routellm_batch.routers.training.request import TrainRequest, file_name
from routellm_batch.routers.training.rows import Source

TESTED = 512
"""Number of held-out battles that are scored, at most."""


class SwTraining(BaseModel):
    """Settings of the trainer; the defaults are RouteLLM's (ten tiers)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_tiers: int = Field(default=10, ge=2, le=64)
    """Number of tiers that the models are split into."""
    strong_model: str | None = None
    """The strong model of the default pair; None is the model that wins most often."""
    weak_model: str | None = None
    """The weak model of the default pair; None is the median model."""


@dataclass(frozen=True, slots=True)
class SwReport:
    """The report of one training."""

    out: str
    """Where the index is."""
    battles: int
    """Battles in the index."""
    prompts: int
    """Distinct prompts in the index."""
    tiers: Mapping[str, int]
    """Model → tier; 0 is the best."""
    pair: tuple[str, str]
    """The strong and the weak model that are routed by default."""
    tested: int
    """Battles held out, between tiers and decided, that were scored."""
    accuracy: float
    """Share of the tested battles whose winner is rated higher for that prompt; NaN without any."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        return f"{self.battles:,} battles on {self.prompts:,} prompts; " + (
            f"accuracy {self.accuracy:.3f} on {self.tested:,} held out"
            if self.tested
            else "none was held out"
        )


def train_sw_ranking(request: TrainRequest) -> SwReport:
    """Make an index of battles, or of pairs drawn from outcomes and score matrices, and write it.

    Raises:
        ConfigError: an unknown option, a model that is in no battle, or an index at ``out`` already.
        DataError: a file, column or row that can't be used, or too few models.

    """
    options = request.settings().read_options(SwTraining, "sw_ranking")
    battles = read_pairs([Source(path) for path in request.paths], seed=request.seed)
    used = ~battles.held_out
    if len(battles.models) < 2 or not used.any():
        raise DataError("battles between two models at least are needed", file=request.paths[0])
    tier = split_tiers(rate(battles, used), options.num_tiers)
    pair = choose_pair(battles, options.strong_model, options.weak_model)
    request.progress(f"{int(used.sum())} battles of {len(battles.models)} models in {tier.max() + 1} tiers")
    embedder = get_embedder(request.embedder)
    kept, prompt = np.unique(battles.prompt[used], return_inverse=True)
    vectors = embedder.embed([battles.prompts[n] for n in kept]).astype(np.float16)
    a, b = tier[battles.model_a], tier[battles.model_b]
    index = make_index(
        vectors.astype(np.float32),
        prompt,
        (a[used], b[used]),
        battles.support[used],
        int(tier.max()) + 1,
        compat=True,
    )
    test = np.flatnonzero(battles.held_out & (a != b) & (battles.support != 0.5))[:TESTED]
    theta = index.ratings(embedder.embed([battles.prompts[n] for n in battles.prompt[test]]))
    ahead = theta[np.arange(len(test)), a[test]] > theta[np.arange(len(test)), b[test]]
    accuracy = float((ahead == (battles.support[test] > 0.5)).mean()) if len(test) else float("nan")
    request.progress(f"held-out accuracy {accuracy:.3f} on {len(test)} battles")
    names = dict(zip(battles.models, (int(t) for t in tier), strict=True))
    report = SwReport(request.out, int(used.sum()), len(kept), names, pair, len(test), accuracy)
    tensors: dict[str, NDArray[np.generic]] = {
        "vectors": vectors,
        "prompt": prompt.astype(np.int32),
        "tier_a": a[used].astype(np.int8),
        "tier_b": b[used].astype(np.int8),
        "support": battles.support[used].astype(np.float32),
    }
    save_checkpoint(
        request.out,
        tensors,
        embedder,
        router="sw_ranking",
        name="sw_ranking",
        card=_card(report, request.paths),
        fields={"tiers": names, "pair": list(pair)},
    )
    return report


def rate(battles: Battles, used: NDArray[np.bool_]) -> Floats:
    """Return the Bradley–Terry rating θ of each model, float64 [M], from the battles marked in ``used``, bool [N]."""
    count = len(battles.models)
    beaten = np.zeros((count + 1) ** 2)
    a, b, support = battles.model_a[used], battles.model_b[used], battles.support[used]
    for where, weight in cells(a, b, support, count, compat=False):
        np.add.at(beaten, where, weight)
    ratings: Floats = solve(beaten.reshape(1, count + 1, count + 1))[0]
    return ratings


def _card(report: SwReport, paths: Sequence[str]) -> str:
    files = ", ".join(f"`{file_name(path)}`" for path in paths)
    tiers = [
        f"{t}: " + ", ".join(model for model, tier in report.tiers.items() if tier == t)
        for t in sorted(set(report.tiers.values()))
    ]
    measured = "No row is marked as held out, so nothing was measured."
    if report.tested:
        measured = f"""\
On {report.tested:,} battles held out, decided and between tiers, the winner is rated higher in {report.accuracy:.1%}."""
    method = f"""\
{report.battles:,} battles on {report.prompts:,} prompts, as embeddings and tiers; no text.
{measured}
The pair that is routed unless the config names another: {report.pair[0]} (strong), {report.pair[1]} (weak)."""
    parts = [
        "# An index of the `sw_ranking` router",
        method,
        f"## Data\n\n{files}",
        "## Tiers\n\n" + "\n".join(f"- {t}" for t in tiers),
    ]
    return "\n\n".join(parts) + "\n"
