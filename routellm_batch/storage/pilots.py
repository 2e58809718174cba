"""Which pilot a run takes, and what the runs in a pilot's folder spent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.storage.run import SUCCESS, Run
from routellm_batch.storage.store import FsStore, read_json
from routellm_batch.storage.tables import from_parquet

PINNED = "pilot.json"
"""Object of a run: which pilot it takes, and whether it made that pilot itself."""
OUTCOMES = "outcomes.parquet"
"""Object of a pilot: its sampled prompts with the grades of both answers."""


@dataclass(frozen=True, slots=True)
class PilotUse:
    """What a pilot's runs spent so far."""

    spent_nano: int = 0
    """Settled cost."""
    presumed_nano: int = 0
    """Cost of what may have been billed."""

    @property
    def paid_nano(self) -> int:
        """What counts against a cap: settled and presumed cost."""
        return self.spent_nano + self.presumed_nano


def read_success(uri: str) -> dict[str, Any] | None:
    """Return the ``_SUCCESS`` of a pilot, or None where it is not finished."""
    return read_json(FsStore(uri), SUCCESS)


def pilot_use(uri: str) -> PilotUse:
    """Return what the runs of a pilot spent, by their own reports."""
    store = FsStore(uri)
    spent = presumed = 0
    for name in store.folders("runs"):
        cost = read_json(store, f"runs/{name}/report/cost.json")
        if cost is None:  # the run that only scored, or one that has not ended yet
            continue
        spent += usd_to_nano(Decimal(cost["spent_usd"]))
        presumed += usd_to_nano(Decimal(cost["presumed_usd"]))
    return PilotUse(spent, presumed)


def labelled(outcomes: pa.Table) -> pa.Table:
    """Return the rows of outcomes with both grades, in their order."""
    return outcomes.filter(pc.and_(outcomes["strong_score"].is_valid(), outcomes["weak_score"].is_valid()))


def labelled_prompts(run: Run) -> frozenset[str]:
    """Return the prompts with both grades in the pilot that a run took: the pilot's router was fitted on them."""
    pinned = run.read_json(PINNED)
    try:
        table = from_parquet(FsStore(str(pinned["uri"])).read(OUTCOMES)) if pinned else None
    except FileNotFoundError:  # not finished, or moved away since
        table = None
    return frozenset() if table is None else frozenset(labelled(table)["prompt"].to_pylist())


def own_pilot_use(run: Run) -> PilotUse | None:
    """Return what a run's own pilot spent; None where the run took an earlier pilot, or none."""
    pinned = run.read_json(PINNED)
    return pilot_use(str(pinned["uri"])) if pinned and pinned["here"] else None
