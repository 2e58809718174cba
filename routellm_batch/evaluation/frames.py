"""An evaluation as data frames: the figures behind the printed table, and the points of the curves.

pandas takes a third of a second to import, so it is imported by the functions that return frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.curves import FIELDS, Drawing

if TYPE_CHECKING:
    import pandas as pd

CURVE_SCHEMA = pa.schema(
    [
        ("outcomes", pa.string()),
        ("router", pa.string()),
        ("kind", pa.string()),  # router or baseline
        ("strong_share", pa.float64()),
        *((name, pa.float64()) for name in FIELDS),
        ("usd", pa.decimal128(18, 9)),  # null where costs are not known
    ]
)
"""Columns of ``curves.parquet``."""
INTERVALS = ("apgr", "apgr_full", "cpt20", "cpt50", "cpt80")
"""Figures with a 95 % interval, whose ends are in columns with the endings ``_lo`` and ``_hi``."""


def results_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """Return the figures of an evaluation, a row for each router and each baseline on each set of outcomes.

    The columns are ``outcomes`` (the file; empty where there is one result), ``router``, ``kind`` (router, baseline or
    constant, which is always the one model), ``n``, ``weak`` and ``strong`` (mean grades), ``apgr``, ``apgr_full``,
    ``cpt20``, ``cpt50`` and ``cpt80`` (percent of calls) with the ends of their intervals in ``*_lo`` and ``*_hi``,
    ``half`` (mean grade with half of the calls strong; of a constant, its own), ``apgr_sd`` (over seeds of a pilot), and in
    dollars ``usd_cpt50``, ``usd_cpt80`` and ``apgr_usd``. What is not known is NaN, or None in dollars.

    Args:
        result: as ``evaluate`` returns it.

    """
    import pandas as pd

    return pd.DataFrame([row for one in result.get("results", [result]) for row in _result_rows(one)])


def _result_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    uri = result.get("outcomes", "")
    yield _row(uri, "router", result)
    for baseline in result["baselines"].values():
        yield _row(uri, "constant" if "share" in baseline else "baseline", baseline)


def _row(uri: str, kind: str, one: Mapping[str, Any]) -> dict[str, Any]:
    dollars = one.get("dollars", {})
    return {
        "outcomes": uri,
        "router": one["router"],
        "kind": kind,
        **{name: one[name] for name in ("n", WEAK, STRONG)},
        **{name: one[name] for name in INTERVALS},
        **{
            f"{name}_{end}": value
            for name in INTERVALS
            for end, value in zip(("lo", "hi"), one[f"{name}_ci"], strict=True)
        },
        "half": one["quality"] if kind == "constant" else one["quality_at"]["50"],
        "apgr_sd": one["sd"]["apgr"] if "sd" in one else float("nan"),
        "usd_cpt50": dollars.get("at_cpt50"),
        "usd_cpt80": dollars.get("at_cpt80"),
        "apgr_usd": dollars.get("apgr_usd", float("nan")),
    }


def curves_frame(drawings: Sequence[Drawing]) -> pd.DataFrame:
    """Return every point of every curve, in the columns of ``CURVE_SCHEMA``; ``usd`` holds decimals, or None."""
    import pandas as pd

    parts: list[pd.DataFrame] = []
    for drawing in drawings:
        for line in drawing.lines:
            points = line.points
            columns = {
                "outcomes": drawing.outcomes,
                "router": line.name,
                "kind": "router" if line.router else "baseline",
                "strong_share": points.share,
                **{name: getattr(points, name) for name in FIELDS},
                "usd": None if points.nano is None else [nano_to_usd(int(nano)) for nano in points.nano],
            }
            parts.append(pd.DataFrame(columns, dtype=None).astype({"usd": object}))
    return pd.concat(parts, ignore_index=True)


def curve_table(drawings: Sequence[Drawing]) -> pa.Table:
    """Return the points of the curves as ``curves.parquet`` has them; NaN stays NaN where there is no gap."""
    frame = curves_frame(drawings)
    columns = [pa.array(frame[field.name].to_numpy(), field.type) for field in CURVE_SCHEMA]
    return pa.Table.from_arrays(columns, schema=CURVE_SCHEMA)
