"""Make an ensemble: mean and deviation of each member on training prompts, and weights chosen on rows held out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers.checkpoint import CARD, MANIFEST, create_files
from routellm_batch.routers.ensemble.router import FORMAT, Member, make_member, transformed
from routellm_batch.routers.training.held_out import quality, rounds
from routellm_batch.routers.training.request import TrainRequest, gain_text
from routellm_batch.routers.training.rows import Source, TrainingRows, read_sources

WEIGHTS = (1.0, 0.5, 0.0)
"""Candidates for each member's weight."""
MEMBERS: tuple[dict[str, Any], ...] = (
    {"router": "outcome", "checkpoint": "builtin:outcome-v1"},
    {"router": "knn", "checkpoint": "builtin:knn-v1"},
    {"router": "length", "transform": "log"},
)
"""The members of an ensemble where none are named."""


class EnsembleTraining(BaseModel):
    """Settings of the trainer of ``ensemble``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[dict[str, Any], ...] = Field(default=MEMBERS, min_length=1, max_length=6)
    """The members, as a config names them; if each has a weight, the weights are kept, else they are chosen."""


@dataclass(frozen=True, slots=True)
class EnsembleReport:
    """The report of one training."""

    out: str
    """Where the manifest is."""
    members: Sequence[Member]
    """The members with their constants and weights."""
    rows: int
    """Rows that the weights were chosen on."""
    quality: float
    """Part of the gain recovered on those rows, averaged over all shares; NaN: there was none to recover."""

    @property
    def summary(self) -> str:
        """Return what it was trained on, and the figure on rows held out, in a sentence."""
        return f"{self.rows:,} rows; {gain_text(self.quality)} on these rows, which chose its weights"


def train_ensemble(request: TrainRequest) -> EnsembleReport:
    """Fit the constants of an ensemble on outcomes, score matrices or battles, and write its manifest.

    The members are not trained; weights are chosen on the rows marked ``dev``, or on all where none are.

    Raises:
        ConfigError: an option or member is invalid, or a manifest is at ``out`` already.
        DataError: a file, column or row that can't be used.
        CheckpointError: a member's weights can't be used.

    """
    options = request.settings().read_options(EnsembleTraining, "ensemble")
    rows = read_sources([Source(path) for path in request.paths])
    return fit_ensemble(rows, request, options.members)


def fit_ensemble(
    rows: TrainingRows,
    request: TrainRequest,
    members: Sequence[dict[str, Any]],
    *,
    name: str = "ensemble",
    sections: Callable[[EnsembleReport], Sequence[str]] | None = None,
) -> EnsembleReport:
    """Make an ensemble as ``train_ensemble`` does, on rows that were read already.

    Args:
        rows: to fit the constants on.
        request: where to write, with which embedder and seed.
        members: as a config names them.
        name: the ensemble's own name.
        sections: writes further sections of the model card, Markdown, from the report.

    Raises:
        ConfigError: a member is invalid, or a manifest is at ``out`` already.
        CheckpointError: a member's weights can't be used.

    """
    batch = PromptBatch(range(len(rows)), rows.prompts)
    standardised: list[Member] = []
    columns: list[Floats] = []
    fitted = ~rows.held_out
    for settings in members:
        draft = _member({**settings, "mean": 0.0, "deviation": 1.0})
        raw = transformed(make_member(draft, request.settings()).score(batch), draft.transform)
        mean, deviation = float(raw[fitted].mean()), float(raw[fitted].std())
        if not deviation > 0:
            raise ConfigError("option members", f"router {draft.router!r} gives every prompt the same score")
        standardised.append(draft.model_copy(update={"mean": mean, "deviation": deviation}))
        columns.append((raw - mean) / deviation)
        request.progress(f"{draft.router}: mean {mean:.4f}, deviation {deviation:.4f}")
    fixed = tuple(m.weight for m in standardised) if all("weight" in m for m in members) else None
    weights, best_quality = _weights(rows, np.array(columns), request.seed, fixed)
    weighted = [
        m.model_copy(update={"weight": weight}) for m, weight in zip(standardised, weights, strict=True)
    ]
    tested = rows.held_out if rows.held_out.any() else np.ones(len(rows), dtype=np.bool_)
    report = EnsembleReport(request.out, weighted, int(tested.sum()), best_quality)
    _write(report, name, sections(report) if sections else ())
    return report


def _member(fields: dict[str, Any]) -> Member:
    try:
        return Member.model_validate(fields)
    except ValueError:
        problem = "a member has router, and optionally checkpoint, embedder, options and transform"
        raise ConfigError("option members", problem) from None


def _weights(
    rows: TrainingRows, z: Floats, seed: int, fixed: tuple[float, ...] | None
) -> tuple[tuple[float, ...], float]:
    """Return the fixed weights, or the best for z-scores [M, N] on the rows held out, and their quality."""
    way = next(iter(rounds(rows, seed)))
    best, best_quality = (1.0,) * len(z), math.nan
    for weights in [fixed] if fixed else product(WEIGHTS, repeat=len(z)):
        value = quality(rows, np.array(weights) @ z, way) if max(weights) == 1 or fixed else math.nan
        if value > best_quality or (math.isnan(best_quality) and math.isfinite(value)):
            best, best_quality = weights, value
    return (fixed or best), best_quality


def _write(report: EnsembleReport, name: str, sections: Sequence[str]) -> None:
    members = [m.model_dump(mode="json", exclude_defaults=True) for m in report.members]
    fields = {"format": FORMAT, "router": "ensemble", "name": name, "members": members}
    lines = ["| router | weight | mean | deviation |", "|---|---:|---:|---:|"]
    lines += [f"| {m.router} | {m.weight:g} | {m.mean:.4f} | {m.deviation:.4f} |" for m in report.members]
    method = f"""\
Weighted z-scores. Means and deviations are those on training prompts; weights that were not given beforehand were chosen
among {len(WEIGHTS)} values each on {report.rows:,} rows held out, by the part of the gain recovered there, averaged over
all strong shares. With them it is {report.quality:.3f} (random: .5). Members that were themselves trained on the rows look
better here than they are."""
    card = "\n\n".join([f"# {name}: an ensemble of routers", method, "\n".join(lines), *sections]) + "\n"
    manifest = json.dumps(fields, indent=2) + "\n"
    create_files(report.out, [(CARD, card.encode()), (MANIFEST, manifest.encode())])
