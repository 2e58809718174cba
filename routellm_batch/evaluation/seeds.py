"""Figures of several seeds of a pilot combined: their means and their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

SPREAD = ("apgr", "apgr_full", "cpt20", "cpt50", "cpt80")
"""Figures whose standard deviation over the seeds is reported."""
BILLIONTH = Decimal("1e-9")


def over_seeds(per_seed: Sequence[Mapping[str, Any]], pilot: int) -> dict[str, Any]:
    """Return the mean of every figure over the seeds, and with it ``pilot``, ``per_seed`` and ``sd``.

    Args:
        per_seed: results of the seeds 0, 1, …
        pilot: number of rows that each was trained on.

    """
    means: dict[str, Any] = _mean(per_seed)
    ddof = min(1, len(per_seed) - 1)
    spread = {name: float(np.std([one[name] for one in per_seed], ddof=ddof)) for name in SPREAD}
    numbered = [{"seed": seed, **one} for seed, one in enumerate(per_seed)]
    return {**means, "pilot": pilot, "per_seed": numbered, "sd": spread}


def _mean(values: Sequence[Any]) -> Any:
    """Return the mean of numbers, element by element within lists and mappings; other values are the same in all.

    A mean of whole numbers is rounded, as test sets differ in size by duplicated prompts. One None makes the mean None.
    """
    first = values[0]
    if isinstance(first, Mapping):
        return {name: _mean([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_mean(items) for items in zip(*values, strict=True)]
    if any(value is None for value in values):
        return None
    if isinstance(first, Decimal):
        return (sum(values, Decimal(0)) / len(values)).quantize(BILLIONTH)
    if isinstance(first, int) and not isinstance(first, bool):
        return round(float(np.mean(values)))
    return float(np.mean(values)) if isinstance(first, float) else first
