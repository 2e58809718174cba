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
from routellm_batch.core.types import CHECK, ROUTES, STRONG, WEAK, Usage
from routellm_batch.evaluation.answers import Answers
from routellm_batch.storage.labelled import labels, numbers, read_table, require

Nano = NDArray[np.int64]
ESTIMATED_CHECK = ("prompt_tokens_est", f"{CHECK}_response_tokens_est")
"""Columns of estimated token counts of check answers."""
Counts = Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Route → (input tokens, output tokens), [N] each."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """Known prices, and where to look for token counts."""

    prices: Mapping[str, Price] = field(default_factory=dict)
    """Endpoint → price: of both routes or of none, and of the check models beside them."""
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
    check: Nano | None = None
    """[N], nano-dollars of all check answers; None where that is unknown."""

    @property
    def extra(self) -> Nano:
        """[N], nano-dollars that the strong model costs more."""
        return self.strong - self.weak

    def take(self, rows: NDArray[np.int64]) -> Costs:
        """Return the costs of some of the rows."""
        check = None if self.check is None else self.check[rows]
        return Costs(self.strong[rows], self.weak[rows], self.estimated, check)


@dataclass(frozen=True, slots=True, eq=False)
class Spending:
    """What a contender's rows cost: a sum before the first strong call, and what each strong call adds."""

    start: int
    """Nano-dollars where no row is strong."""
    added: Nano
    """[N], nano-dollars that a row adds where it is strong."""

    @classmethod
    def routed(cls, costs: Costs) -> Spending:
        """Return the spending of a router: each row is answered once."""
        return cls(int(costs.weak.sum()), costs.extra)

    @classmethod
    def looked_at(cls, costs: Costs, answers: Answers) -> Spending | None:
        """Return the spending of a cascade, which asks the weak and check models about every row.

        Args:
            costs: of the rows.
            answers: to them; each further sample of the weak model costs as much as its answer.

        Returns:
            None where there are check answers of unknown cost.

        """
        if answers.checks and costs.check is None:
            return None
        checks = int(costs.check.sum()) if answers.checks and costs.check is not None else 0
        return cls(int((1 + answers.samples) * costs.weak.sum()) + checks, costs.strong)


def parse_prices(pairs: Sequence[str]) -> dict[str, Price]:
    """Return prices from ``strong=10,30`` and ``weak=0.24,0.24``: USD per million input and output tokens.

    A price of ``check`` may stand beside them, for cascades.

    Raises:
        ConfigError: a pair has another form, or one of the routes is missing.

    """
    prices: dict[str, Price] = {}
    for pair in pairs:
        route, _, numbers_text = pair.partition("=")
        price = _price(numbers_text)
        if route not in (*ROUTES, CHECK) or price is None or route in prices:
            example = "strong=10,30 and weak=0.24,0.24: USD per million input and output tokens, each once"
            raise ConfigError("--price", f"{pair!r} is not of the form {example}")
        prices[route] = price
    if prices and not set(ROUTES) <= set(prices):
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
    source, places, file = table, rows, uri
    known = _token_counts(source, places, file)
    ids = labels(table, "prompt_id")
    for other in tariff.tokens if known is None else ():
        found = _joined([ids[row] for row in rows], other)
        if found is not None:
            known, source, places, file = *found, other
            break
    if known is None:
        return None
    counts, estimated = known
    nano = {route: _priced(tariff.prices[route], *counts[route]) for route in ROUTES}
    check = _check_costs(source, places, file, tariff.prices.get(CHECK))
    return Costs(nano[STRONG], nano[WEAK], estimated, check)


def _check_costs(table: pa.Table, rows: NDArray[np.int64], uri: str, price: Price | None) -> Nano | None:
    """Return what the check answers of some rows cost, or None where price or token counts are not known.

    Raises:
        DataError: a count is not a number of tokens, or a cell has more answers than inputs.

    """
    for entry, out in ((f"{CHECK}_input_tokens", f"{CHECK}_output_tokens"), ESTIMATED_CHECK):
        if price is not None and {entry, out} <= set(table.column_names):
            entries, outs = (table.column(name).take(pa.array(rows)).to_pylist() for name in (entry, out))
            cells = zip(entries, outs, strict=True)
            nano = [_check_cost(price, one, other) for one, other in cells]
            if None in nano:
                row = int(rows[nano.index(None)])
                raise DataError("is not a count of tokens, or a list of them", file=uri, column=out, row=row)
            return np.array(nano, dtype=np.int64)
    return None


def _check_cost(price: Price, entry: Any, out: Any) -> int | None:
    """Return nano-dollars of the check answers to one prompt; None where a count can't be used."""
    outs = out if isinstance(out, list) else [out]
    entries = entry if isinstance(entry, list) else [entry] * len(outs)
    pairs = [pair for pair in zip(entries, outs, strict=False) if pair[1] is not None]
    if len(entries) < len(outs) or not all(map(_is_count, (count for pair in pairs for count in pair))):
        return None
    return sum(cost_nano(price, Usage(int(i), 0, int(o), 0)) for i, o in pairs)


def _is_count(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and value >= 0 and float(value).is_integer()


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


def _joined(ids: Sequence[str], file: str) -> tuple[tuple[Counts, bool], pa.Table, NDArray[np.int64]] | None:
    """Return the token counts of these prompts in a file of answers, its table and their rows; None where it has none."""
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
    rows = np.array(known, dtype=np.int64)
    counts = _token_counts(table, rows, file)
    if counts is None:
        wanted = "strong_input_tokens, strong_output_tokens, weak_input_tokens, weak_output_tokens"
        raise DataError(f"has no token counts; they are columns {wanted}", file=file)
    return counts, table, rows


def _priced(price: Price, entry: NDArray[np.int64], out: NDArray[np.int64]) -> Nano:
    pairs = zip(entry.tolist(), out.tolist(), strict=True)
    return np.array([cost_nano(price, Usage(i, 0, o, 0)) for i, o in pairs], dtype=np.int64)
