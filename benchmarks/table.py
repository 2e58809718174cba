"""A benchmark's result, printed as a Markdown table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Table:
    """Figures under their headings."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = field(default_factory=list)
    """One line each, printed below."""

    def __str__(self) -> str:
        """Return Markdown with aligned columns: the first to the left, figures to the right."""
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
        lines = [self.headings, rule, *self.rows]
        body = [f"| {' | '.join(_padded(line, widths))} |" for line in lines]
        return "\n".join([f"### {self.title}", "", *body, *([""] if self.notes else []), *self.notes])


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    pad = (str.ljust, *[str.rjust] * len(cells))
    return [put(cell, width) for put, cell, width in zip(pad, cells, widths, strict=False)]


def machine() -> str:
    """Return one line on where the figures were taken."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    system = f"{platform.system()} {platform.machine()}"
    return f"{cores} cores, Python {platform.python_version()}, {system}; load before the first run: {load}"
