"""How limits are split over the processes that call. Pure."""

from __future__ import annotations

from collections.abc import Mapping

FLOOR = 0.1
"""Part of the limits that is split evenly, so that a process that was idle can begin."""


def split_shares(demands: Mapping[str, int]) -> Mapping[str, float]:
    """Split an endpoint's limits by demand.

    Args:
        demands: worker → its calls open and waiting.

    Returns:
        worker → its part of the limits; together 1, or nothing without workers. Without demand all get the same.

    """
    total = sum(max(0, demand) for demand in demands.values())
    if total == 0:
        return dict.fromkeys(demands, 1 / len(demands)) if demands else {}
    even = FLOOR / len(demands)
    return {worker: even + (1 - FLOOR) * max(0, demand) / total for worker, demand in demands.items()}
