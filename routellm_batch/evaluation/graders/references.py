"""Right answers as an input column has them: which types and values can be one, and how a grader reads them. Pure.

A reference is text or a number. A list holds several right answers, and an answer is right if it says any of them; for
the grader ``json`` a list is one JSON value, as a struct is. Null, NaN, an empty text, an empty list and a list of nulls
say that the row has no reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from routellm_batch.answers.numbers import NumericReader
from routellm_batch.answers.readers import make_reader
from routellm_batch.config.graders import (
    ChoiceConfig,
    ExactConfig,
    JsonConfig,
    NumericConfig,
    RegexConfig,
)
from routellm_batch.core.errors import DataError
from routellm_batch.evaluation.graders.options import NamedOption, option_named
from routellm_batch.storage.arrow_types import value_type
from routellm_batch.storage.labelled import require

ReferenceConfig = ExactConfig | NumericConfig | ChoiceConfig | RegexConfig | JsonConfig
SHOWN_CHARS = 40
"""How much of a reference an error shows."""
_BAD_TEXT = object()
"""Stands for a value that is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A reference that is there and can't be used."""

    shown: str
    """The value, cut short."""
    problem: str
    """Words that follow it, such as "holds no number"."""

    def __str__(self) -> str:
        return f"the reference {self.shown} {self.problem}"


def type_problem(kind: pa.DataType, grader: str) -> str | None:
    """Return why a column of a type can't hold a grader's references, in words that follow the column; None if it can.

    Args:
        kind: of the column.
        grader: its kind, such as ``exact``.

    """
    kind, t = value_type(kind), pa.types
    if grader == "json":
        return _json_problem(kind)
    one = value_type(kind.value_type) if _is_list(kind) else kind
    if _is_plain_text(one) or _is_number(one) or t.is_null(one):
        return None
    if grader in {"exact", "regex", "judge"} and (t.is_boolean(one) or t.is_date(one)):
        return None
    if t.is_binary(one) or t.is_large_binary(one) or t.is_fixed_size_binary(one) or t.is_binary_view(one):
        return f"is {kind}; cast it to text"
    return f"is {_shown(kind)}; a reference is text or a number, or a list of them"


def _json_problem(kind: pa.DataType) -> str | None:
    kind, t = value_type(kind), pa.types
    if _is_list(kind):
        return _json_problem(kind.value_type)
    if t.is_struct(kind):
        return next(filter(None, (_json_problem(field.type) for field in kind)), None)
    if _is_plain_text(kind) or _is_number(kind) or t.is_boolean(kind) or t.is_null(kind):
        return None
    return f"holds {_shown(kind)}, which JSON lacks; write the references as JSON text"


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    views = t.is_list_view(kind) or t.is_large_list_view(kind)
    return bool(views or t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))


def _is_plain_text(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    t = pa.types
    return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))


def values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; what can't be decoded is a value that every reader calls unusable."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return _BAD_TEXT


def right_answers(value: object) -> list[Any]:
    """Return the right answers that a value holds: those of a list, else the value; none where there is none."""
    return [one for one in (value if isinstance(value, list) else [value]) if not _missing(one)]


def shown_to_judge(value: object) -> str | None:
    """Return a reference as a judge is shown it, several right answers on a line each; None where there is none."""
    answers = [str(one) for one in right_answers(value) if one is not _BAD_TEXT]
    return "\n".join(answers) or None


def _missing(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float | Decimal) and math.isnan(value))


def spellings(value: object) -> list[str]:
    """Return a value as texts that mean it: a column of floating-point numbers writes 18 as 18.0."""
    if isinstance(value, float | Decimal) and math.isfinite(value):
        plain = f"{Decimal(str(value)):f}"
        short = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return list(dict.fromkeys((plain, short, str(value))))
    return [value.isoformat() if isinstance(value, date) else str(value)]


class ReferenceReader:
    """Reads the references of one grader.

    Args:
        config: of the grader.
        named: how the column names an option, for ``choice``; None: as the config says, or by its letter.

    """

    def __init__(self, config: ReferenceConfig, named: NamedOption | None = None) -> None:
        self.answers = make_reader(config)
        """Reads the answers that are compared with the references."""
        self._config = config
        self._named: NamedOption = named or "letter"
        if isinstance(config, ChoiceConfig) and named is None and config.reference_is != "auto":
            self._named = config.reference_is
        self._read: Callable[[Any, Any], list[Any]] = self._plain
        if isinstance(config, ChoiceConfig):
            self._read = self._chosen
        elif isinstance(config, NumericConfig):
            # A reference that is the number alone needs no marker, whatever the answers have.
            self._bare = NumericReader(config.model_copy(update={"read": "auto"}))
            self._read = self._number

    def read(self, value: object, options: object = None) -> tuple[Any, ...] | Unusable | None:
        """Return the right answers as the grader compares them; None where the row has no reference.

        Args:
            value: the reference, as the input has it.
            options: the row's options, as the input has them; None where no column of options is named.

        """
        if isinstance(self._config, JsonConfig):
            return self._json(value)
        given = right_answers(value)
        if not given:
            return None
        wanted = [one for each in given if each is not _BAD_TEXT for one in self._read(each, options)]
        return tuple(wanted) if wanted else Unusable(_shown(value), self._problem(value))

    def _json(self, value: object) -> tuple[Any, ...] | Unusable | None:
        if _missing(value):
            return None
        wanted = None if value is _BAD_TEXT else self.answers.reference(_json_value(value))
        return Unusable(_shown(value), self._problem(value)) if wanted is None else (wanted,)

    def _plain(self, value: object, _options: object) -> list[Any]:
        return _known(self.answers.reference(text) for text in spellings(value))

    def _number(self, value: object, _options: object) -> list[Any]:
        if isinstance(value, bool):
            return []
        text = spellings(value)[0]
        return _known([self.answers.reference(text)]) or _known([self._bare.reference(text)])

    def _chosen(self, value: object, options: object) -> list[Any]:
        config = self._config
        return _known(
            [option_named(value, options, config, self._named)] if isinstance(config, ChoiceConfig) else []
        )

    def _problem(self, value: object) -> str:
        if value is _BAD_TEXT:
            return "is not UTF-8"
        if isinstance(self._config, ChoiceConfig):
            return CHOICE_PROBLEMS[self._named].format(letters=self._config.letters)
        return _PROBLEMS[self._config.kind]


_PROBLEMS = {
    "numeric": "holds no number",
    "json": "is not valid JSON",
    "exact": "holds nothing to compare",
    "regex": "holds nothing to compare",
}
CHOICE_PROBLEMS: Mapping[NamedOption, str] = {
    "letter": "is no letter of {letters}",
    "from_0": "is no number of an option, counted from 0",
    "from_1": "is no number of an option, counted from 1",
    "text": "is not the text of one of the row's options",
}


def _known(found: Iterable[Any]) -> list[Any]:
    return [one for one in found if one is not None]


def _json_value(value: object) -> Any:
    """Return a value with JSON's own types: a decimal is a number."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {name: _json_value(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_json_value(one) for one in value]
    return value


def _shown(value: object) -> str:
    text = "…" if value is _BAD_TEXT else repr(value) if not isinstance(value, pa.DataType) else str(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def check_reference(table: pa.Table, column: str, uri: str, *, grader: str = "judge") -> None:
    """Check that a table has a column of references that a grader can use, and that it is not all null.

    Args:
        table: the rows.
        column: name of the column.
        uri: of the table, for errors.
        grader: kind of the grader.

    Raises:
        DataError: it has not; the error names file, column and, of a type that can't be used, row and value.

    """
    require(table, [column], uri)
    problem = type_problem(table.schema.field(column).type, grader)
    first = first_shown(table.column(column)) if problem else None
    if first is not None:
        row, shown = first
        raise DataError(f"{problem} (the first: {shown})", file=uri, column=column, row=row)
    if not any(map(right_answers, values(table.column(column)))):
        raise DataError("every reference is null, so no answer can be graded", file=uri, column=column)


def first_shown(column: pa.ChunkedArray) -> tuple[int, str] | None:
    """Return the first row of a column that is not null, with its value cut short; None where all are null."""
    for row, value in enumerate(values(column)):
        if value is not None:
            return row, _shown(value)
    return None


__all__: Sequence[str] = (
    "CHOICE_PROBLEMS",
    "ReferenceConfig",
    "ReferenceReader",
    "Unusable",
    "check_reference",
    "first_shown",
    "right_answers",
    "shown_to_judge",
    "spellings",
    "type_problem",
    "values",
)
