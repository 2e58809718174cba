"""Fitting a router and a calibration on a pilot's graded rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.costs.expected_lengths import Lengths
from routellm_batch.budget.quality.calibration import LEAST_ROWS, fit_calibration
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.types import ROUTES
from routellm_batch.routers import get_router
from routellm_batch.routers.outcome.blend.fit import PilotFit, PilotRows, fit_pilot, save_pilot_router
from routellm_batch.storage.pilots import labelled

PRIOR = "outcome"
"""The router whose shipped weights are the prior of a pilot's fit."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What was fitted on a pilot's labels."""

    fit: PilotFit | None
    """The router; None where there are too few labels."""
    facts: PilotFacts | None
    """What a plan takes from the pilot; None where there are too few labels."""
    labelled: int
    """Number of rows with both grades."""
    note: str | None
    """A caveat for the user, where there is one."""


def fit(embedder: EmbedderConfig, uri: str, outcomes: pa.Table, seed: int) -> Fitted:
    """Return router and calibration, fitted on the rows with both models' grades.

    Args:
        embedder: of the job's router.
        uri: of the pilot.
        outcomes: the rows of ``outcomes.parquet``.
        seed: of folds and resamples.

    """
    known = labelled(outcomes)
    if known.num_rows < LEAST_ROWS:
        note = f"{known.num_rows} rows have both grades, and at least {LEAST_ROWS} are needed; the router stays as it was"
        return Fitted(None, None, known.num_rows, note)
    strong, weak, weight = (_numbers(known, name) for name in ("strong_score", "weak_score", "weight"))
    weight = weight / weight.mean()
    fitted = fit_pilot(
        PilotRows(known.column("prompt").to_pylist(), strong, weak, weight),
        prior=get_router(PRIOR, embedder="static"),
        embedder=embedder,
        seed=seed,
    )
    calibration = fit_calibration(fitted.out_of_fold, strong, weak, weight, seed=seed)
    return Fitted(fitted, PilotFacts(calibration, _lengths(known), uri), known.num_rows, calibration.note)


def save_router(uri: str, fitted: PilotFit, stated: Mapping[str, Any]) -> None:
    """Write the router's checkpoint with its card.

    Args:
        uri: folder of the checkpoint.
        fitted: the router.
        stated: the ``_SUCCESS`` of the pilot.

    """
    sampled = (
        f"{stated['labelled']:,} labelled rows of {stated['rows']:,} sampled, graded by `{stated['grader']}`"
    )
    # Without a date: another start after a crash writes the same bytes.
    card = f"# A router fitted on a pilot\n\n{fitted.reason}\n\n{sampled}. Pilot `{stated['id']}`.\n"
    save_pilot_router(uri, fitted, card)


def _lengths(known: pa.Table) -> Lengths | None:
    names = [f"{route}_{kind}_tokens" for route in ROUTES for kind in ("input", "output")]
    if any(known.column(name).null_count for name in names):
        return None  # labels without answers
    if not all(any(_counts(known, name)) for name in names):
        return None  # an endpoint that does not count tokens
    inputs = {route: _filled(_counts(known, f"{route}_input_tokens")) for route in ROUTES}
    outputs = {route: _filled(_counts(known, f"{route}_output_tokens")) for route in ROUTES}
    return Lengths(_counts(known, "estimated_tokens"), inputs, outputs)


def _filled(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return counts of tokens with the mean in place of those of answers that came without one."""
    known = [count for count in counts if count]
    return tuple(count or round(sum(known) / len(known)) for count in counts)


def _counts(table: pa.Table, name: str) -> tuple[int, ...]:
    return tuple(table.column(name).to_pylist())


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = table.column(name).to_numpy().astype(np.float64)
    return values
