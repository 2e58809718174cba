"""An evaluation as text: a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

HEADER = ("router", "n", "weak", "strong", "APGR", "95 % interval", "APGR full", "CPT50 %", "CPT80 %")


def to_json(result: Mapping[str, Any]) -> str:
    """Return the result as JSON; NaN, which JSON does not have, becomes null."""
    return json.dumps(_without_nan(result), indent=2, allow_nan=False, ensure_ascii=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def render_table(result: Mapping[str, Any]) -> str:
    """Return a table, one block for each router and file, with its baselines below it."""
    return "\n\n".join(_block(one) for one in result.get("results", [result]))


def _block(result: Mapping[str, Any]) -> str:
    lines = [HEADER, _row(result), *(_row(one) for one in result["baselines"].values())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = [_aligned(line, widths) for line in lines]
    notes = [str(result["outcomes"])] if "outcomes" in result else []
    if "sd" in result:
        seeds = len(result["per_seed"])
        spread = f", APGR sd {result['sd']['apgr']:.3f}" if seeds > 1 else ""
        notes.append(
            f"trained on a pilot of {result['pilot']} rows, tested on the rest; {seeds} seed(s){spread}"
        )
    notes += [str(result["note"])] if "note" in result else []
    return "\n".join([*notes, *text])


def _row(figures: Mapping[str, Any]) -> tuple[str, ...]:
    lo, hi = figures["apgr_ci"]
    return (
        str(figures["router"]),
        f"{figures['n']:,}",
        f"{figures['weak']:.4f}",
        f"{figures['strong']:.4f}",
        f"{figures['apgr']:.3f}",
        f"{lo:.3f} – {hi:.3f}",
        f"{figures['apgr_full']:.3f}",
        f"{figures['cpt50']:.1f}",
        f"{figures['cpt80']:.1f}",
    )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    pairs = list(zip(cells, widths, strict=True))
    return "  ".join(
        [pairs[0][0].ljust(pairs[0][1]), *(cell.rjust(width) for cell, width in pairs[1:])]
    ).rstrip()
