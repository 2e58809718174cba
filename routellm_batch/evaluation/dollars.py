"""What answers cost: from prices and token counts to nano-dollars per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from routellm_batch.budget.pricing import NANO, Price, cost_nano
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Usage
from routellm_batch.storage.labelled import labels, numbers, read_table, require

Nano = NDArray[np.int64]
Counts = Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Route → (input tokens, output tokens), [N] each."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """Known prices, and where to look for token counts."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    """Route → price, of both routes or of none."""
    tokens: Sequence[str] = ()
    """Parquet files with ``prompt_id`` and token counts, for outcomes that have none themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """The cost of each of N prompts with either model."""

    strong: Nano
    """[N], nano-dollars with the strong model."""
    weak: Nano
    """[N], nano-dollars with the weak model."""
    estimated: bool
    """Whether token counts are estimates."""

    @property
    def extra(self) -> Nano:
        """[N], nano-dollars that the strong model costs more."""
        return self.strong - self.weak

    def take(self, rows: NDArray[np.int64]) -> Costs:
        """Return the costs of some of the rows."""
        return Costs(self.strong[rows], self.weak[rows], self.estimated)


def parse_prices(pairs: Sequence[str]) -> dict[str, Price]:
    """Return prices from ``strong=10,30`` and ``weak=0.24,0.24``: USD per million input and output tokens.

    Raises:
        ConfigError: a pair has another form, or one of the routes is missing.

    """
    prices: dict[str, Price] = {}
    for pair in pairs:
        route, _, numbers_text = pair.partition("=")
        price = _price(numbers_text)
        if route not in ROUTES or price is None or route in prices:
            example = "strong=10,30 and weak=0.24,0.24: USD per million input and output tokens, each once"
            raise ConfigError("--price", f"{pair!r} is not of the form {example}")
        prices[route] = price
    if len(prices) == 1:
        raise ConfigError("--price", "prices of both strong and weak are needed")
    return prices


def _price(text: str) -> Price | None:
    try:
        entry, out = (Decimal(number) for number in text.split(","))
        return Price.from_usd(entry, out)
    except (ValueError, InvalidOperation):
        return None


def find_costs(table: pa.Table, rows: NDArray[np.int64], uri: str, tariff: Tariff) -> Costs | None:
    """Return what some rows of a table of outcomes cost, or None where that is unknown.

    With prices, the token counts of the outcomes themselves are used, or those of the first of the tariff's files that has
    these prompts. Without prices, the columns ``strong_cost_usd`` and ``weak_cost_usd`` are used (a pilot writes them).

    Raises:
        DataError: a count or cost is null, negative or not a number, or a file has only some of the prompts.

    """
    if not tariff.prices:
        return _recorded(table, rows, uri)
    known = _token_counts(table, rows, uri)
    ids = labels(table, "prompt_id")
    for file in tariff.tokens if known is None else ():
        known = _joined([ids[row] for row in rows], file)
        if known is not None:
            break
    if known is None:
        return None
    counts, estimated = known
    nano = {route: _priced(tariff.prices[route], *counts[route]) for route in ROUTES}
    return Costs(nano[STRONG], nano[WEAK], estimated)


def _recorded(table: pa.Table, rows: NDArray[np.int64], uri: str) -> Costs | None:
    names = [f"{route}_cost_usd" for route in (STRONG, WEAK)]
    if not set(names) <= set(table.column_names):
        return None
    nano: list[Nano] = []
    for name in names:
        values = [_nano(value) for value in table.column(name).take(pa.array(rows)).to_pylist()]
        if None in values:
            row = int(rows[values.index(None)])
            raise DataError("is null or not a sum of dollars", file=uri, column=name, row=row)
        nano.append(np.array(values, dtype=np.int64))
    return Costs(nano[0], nano[1], estimated=False)


def _nano(value: Any) -> int | None:
    """Return the dollars in a cell as nano-dollars; None where they are missing or invalid."""
    try:
        usd = Decimal(value)
    except (TypeError, InvalidOperation):
        return None
    return round(usd * NANO) if usd.is_finite() and usd >= 0 else None


def _token_counts(table: pa.Table, rows: NDArray[np.int64], uri: str) -> tuple[Counts, bool] | None:
    """Return token counts of some rows and whether they are estimates; None where the columns are missing."""
    exact = {route: (f"{route}_input_tokens", f"{route}_output_tokens") for route in ROUTES}
    estimates = {route: ("prompt_tokens_est", f"{route}_response_tokens_est") for route in ROUTES}
    for names, estimated in ((exact, False), (estimates, True)):
        if {name for pair in names.values() for name in pair} <= set(table.column_names):
            counts: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {
                route: (_whole(table, pair[0], rows, uri), _whole(table, pair[1], rows, uri))
                for route, pair in names.items()
            }
            return counts, estimated
    return None


def _whole(table: pa.Table, name: str, rows: NDArray[np.int64], uri: str) -> NDArray[np.int64]:
    values = numbers(table, name, uri)[rows]
    bad = np.flatnonzero((values < 0) | (values != np.floor(values)))
    if len(bad):
        raise DataError("is not a count of tokens", file=uri, column=name, row=int(rows[bad[0]]))
    return values.astype(np.int64)


def _joined(ids: Sequence[str], file: str) -> tuple[Counts, bool] | None:
    """Return the token counts of these prompts in a file of answers; None where it has none of them."""
    table = read_table(file)
    require(table, ["prompt_id"], file)
    place: dict[str, int] = {}
    for row, name in enumerate(labels(table, "prompt_id")):
        if place.setdefault(name, row) != row:
            raise DataError("is in two rows; each id must be in one", file=file, column="prompt_id", row=row)
    known = [place[name] for name in ids if name in place]
    if not known:
        return None
    if len(known) < len(ids):
        missing = next(name for name in ids if name not in place)
        problem = (
            f"has token counts of {len(known):,} of {len(ids):,} prompts; the first without is {missing!r}"
        )
        raise DataError(problem, file=file, column="prompt_id")
    counts = _token_counts(table, np.array(known), file)
    if counts is None:
        wanted = "strong_input_tokens, strong_output_tokens, weak_input_tokens, weak_output_tokens"
        raise DataError(f"has no token counts; they are columns {wanted}", file=file)
    return counts


def _priced(price: Price, entry: NDArray[np.int64], out: NDArray[np.int64]) -> Nano:
    pairs = zip(entry.tolist(), out.tolist(), strict=True)
    return np.array([cost_nano(price, Usage(i, 0, o, 0)) for i, o in pairs], dtype=np.int64)
