"""Functions in straight lines between points: how a plan keeps what it learned. Pure.

Only sums, products, quotients and comparisons are used to read one, which IEEE 754 rounds alike on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.arrays import Floats


@dataclass(frozen=True, slots=True)
class Table:
    """A function in straight lines between points; level before the first and after the last."""

    at: tuple[float, ...]
    """Where the points are, rising."""
    value: tuple[float, ...]
    """The function there."""

    def read(self, x: NDArray[Any]) -> Floats:
        """Return the values [B] at ``x`` [B]; NaN reads as the first."""
        at, value = np.array(self.at), np.array(self.value)
        if len(at) == 1:
            return np.full(len(x), value[0])
        inside = np.clip(np.nan_to_num(np.asarray(x, dtype=np.float64), nan=at[0]), at[0], at[-1])
        low = np.clip(np.searchsorted(at, inside, side="right") - 1, 0, len(at) - 2)
        part = (inside - at[low]) / (at[low + 1] - at[low])
        rise = (value[low + 1] - value[low]) * part
        read: Floats = value[low] + rise
        return read

    @classmethod
    def of(cls, at: NDArray[Any], value: NDArray[Any]) -> Table:
        """Table the values [P] at rising points [P]."""
        return cls(plain(at), plain(value))

    @classmethod
    def constant(cls, value: float) -> Table:
        """Table one value that holds everywhere."""
        return cls((0.0,), (value,))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Table:
        """Read a table back from plain data."""
        return cls(tuple(fields["at"]), tuple(fields["value"]))


def plain(values: NDArray[Any]) -> tuple[float, ...]:
    """Return numbers as a plan keeps them."""
    return tuple(np.asarray(values, dtype=np.float64).tolist())
