"""An evaluation as text: tables for people and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.frames import results_frame
from routellm_batch.reporting.text import usd

BEYOND_CHANCE = 0.05
"""A difference with a smaller p counts as shown."""
NOTHING = "–"


def to_json(result: Mapping[str, Any]) -> str:
    """Return the result as JSON; NaN, which JSON lacks, becomes null, and dollars become decimal strings."""
    return json.dumps(_plain(result), indent=2, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def show(result: Mapping[str, Any]) -> None:
    """Print tables for people on stdout. They fit 80 columns, and have colours on a terminal only."""
    Console(highlight=False, markup=False).print(tables(result), soft_wrap=False)


def render_table(result: Mapping[str, Any], width: int = 80) -> str:
    """Return the tables as plain text, wrapped to a width in columns."""
    console = Console(width=width, highlight=False, markup=False, color_system=None)
    with console.capture() as capture:
        console.print(tables(result))
    return capture.get()


def tables(result: Mapping[str, Any]) -> Group:
    """Return a table of routers and baselines and one of paired tests for each set of outcomes."""
    results = result.get("results", [result])
    parts: list[RenderableType] = []
    for uri, same in groupby(results, key=lambda one: one.get("outcomes", "")):
        routers = list(same)
        pairs = [pair for pair in result.get("pairs", ()) if pair["outcomes"] == uri]
        parts += [Text(""), *_block(uri, routers, pairs)] if parts else _block(uri, routers, pairs)
    return Group(*parts)


def _block(
    uri: str, routers: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> list[RenderableType]:
    first = routers[0]
    head = [Text(uri, style="bold", overflow="fold")] if uri else []
    facts = f"{first['n']:,} prompts; mean quality: always weak {first[WEAK]:.4f}, always strong {first[STRONG]:.4f}"
    head.append(Text(facts))
    if "pilot" in first:
        seeds = len(first["per_seed"])
        head.append(
            Text(
                f"trained on a pilot of {first['pilot']:,} rows, tested on the rest; means of {seeds} seed(s)"
            )
        )
    table = _table()
    table.add_column("router", overflow="fold", min_width=9)
    for name in ("APGR (95 %)", "full", "CPT20", "CPT50 (95 %)", "CPT80 (95 %)", "at 50 %"):
        table.add_column(name, justify="right", no_wrap=True)
    frame = results_frame({"results": routers})
    tested = frame[frame["kind"] == "router"]
    others = frame[frame["kind"] != "router"].drop_duplicates("router")  # The same for each router.
    for row in tested.itertuples():
        table.add_row(*_cells(row), style="bold")
    table.add_row("baselines:", style="dim")
    for row in others.itertuples():
        table.add_row(*_cells(row), style="dim" if row.kind == "constant" else None)
    spread = [
        f"{row.router}: APGR sd over seeds {row.apgr_sd:.3f}" for row in tested.itertuples() if "sd" in first
    ]
    tests: list[RenderableType] = []
    if first[STRONG] > first[WEAK]:
        tests = [Text(""), _tests(routers, pairs)]
    return [
        *head,
        table,
        *_dollars(first, [*tested.itertuples(), *others.itertuples()]),
        *tests,
        *(Text(line) for line in (*spread, *_notes(routers))),
    ]


def _notes(routers: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the routers' notes; one that all share comes once, without a name."""
    notes = {one.get("note") for one in routers}
    if len(notes) == 1:
        return [note for note in notes if note]
    return [f"{one['router']}: {one['note']}" for one in routers if "note" in one]


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


def _cells(row: Any) -> tuple[str, ...]:
    """Return the cells of one row of ``results_frame``."""
    return (
        row.router.replace("_", " ") if row.kind == "constant" else row.router,
        _with_ends(row.apgr, row.apgr_lo, row.apgr_hi, 3),
        _number(row.apgr_full, 3),
        _number(row.cpt20, 1),
        _with_ends(row.cpt50, row.cpt50_lo, row.cpt50_hi, 1),
        _with_ends(row.cpt80, row.cpt80_lo, row.cpt80_hi, 1),
        f"{row.half:.4f}" if row.half < 10 else f"{row.half:.2f}",
    )


def _tests(routers: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Return the paired differences of each router from the baselines and from the other routers."""
    table = _table()
    table.add_column("paired difference of APGR", overflow="fold")
    for name in ("", "95 %", "p"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, other, test in _comparisons(routers, pairs):
        verdict, style = _verdict(test)
        lo, hi = test["ci"]
        ends = NOTHING if math.isnan(lo) else f"{_signed(lo)} to {_signed(hi)}"
        p = NOTHING if math.isnan(test["p"]) else f"{test['p']:.3f}"
        table.add_row(f"{name} − {other}", _signed(test["difference"]), ends, p, Text(verdict, style=style))
    return table


def _comparisons(
    routers: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    names = {one["router"] for one in routers}
    for one in routers:
        yield from (
            (one["router"], other, test) for other, test in one["versus"].items() if other not in names
        )
    yield from ((pair["a"], pair["b"], pair) for pair in pairs)


def _verdict(test: Mapping[str, Any]) -> tuple[str, str]:
    if not test["p"] < BEYOND_CHANCE:
        return "no difference shown", "dim"
    return ("better", "green") if test["difference"] > 0 else ("worse", "red")


def _dollars(first: Mapping[str, Any], rows: Sequence[Any]) -> list[RenderableType]:
    """Return what it costs to recover half and four fifths of the gap, where costs are known.

    Args:
        first: one router's figures; what always the one model costs is the same in all.
        rows: of ``results_frame``.

    """
    if "dollars" not in first:
        return []
    extremes = first["dollars"]
    estimated = ", by estimated token counts" if extremes["estimated"] else ""
    table = _table()
    table.add_column(f"cost of these prompts{estimated}", overflow="fold")
    for name in ("50 % of gap", "80 % of gap", "APGR by dollar"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.kind != "constant":
            cells = (_usd(row.usd_cpt50), _usd(row.usd_cpt80), _number(row.apgr_usd, 3))
            table.add_row(row.router, *cells, style="bold" if row.kind == "router" else None)
    ends = f"always weak {_usd(extremes['all_weak'])}, always strong {_usd(extremes['all_strong'])}"
    return [Text(""), table, Text(ends)]


def _usd(dollars: Decimal | None) -> str:
    return NOTHING if dollars is None else usd(usd_to_nano(dollars))


def _number(value: float, places: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{places}f}"


def _with_ends(value: float, lo: float, hi: float, places: int) -> str:
    if math.isnan(value):
        return NOTHING
    span = f"{lo:.{places}f}–{hi:.{places}f}" if places > 1 else f"{lo:.0f}–{hi:.0f}"
    return f"{value:.{places}f} {span}"


def _signed(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:+.3f}".replace("-", "−")
