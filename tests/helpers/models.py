"""A strong and a weak simulated model that bill what they do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.jobs import PRICES, billing
from helpers.stub import simulated

from routellm_batch.endpoints.simulator.spec import SimulateSpec


@contextmanager
def two_models(folder: Path, **settings: Any) -> Iterator[dict[str, str]]:
    """Serve a strong and a weak simulated model that bill what they do; yield their URLs."""
    specs = [
        SimulateSpec(
            model=f"{route}-model",
            latency_ms=2,
            **{"output_tokens": 24, **settings},
            log=str(folder / f"{route}.log"),
            price_input=str(PRICES[route]["input"]),
            price_output=str(PRICES[route]["output"]),
        )
        for route in ("strong", "weak")
    ]
    with simulated(specs[0]) as strong, simulated(specs[1]) as weak:
        yield {"strong": strong, "weak": weak}


def bills(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of both billing logs, in order of time."""
    return billing(folder / "strong.log", folder / "weak.log")


def highest_bill(folder: Path) -> int:
    """Return the most that had been billed at any line; bills only grow."""
    return sum(line["nano"] for line in bills(folder))
