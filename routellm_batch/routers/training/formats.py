"""Battles as others publish them, as a table with ``prompt, model_a, model_b, preference``.

RouteLLM's own files (``lmsys-arena-human-preference-55k``, ``gpt4_judge_battles``) have a prompt that is a JSON list of
turns, of which RouteLLM takes the first, and a winner in three columns of 0 and 1. The Arena's conversations have no
prompt: it is the user's first turn of ``conversation_a``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from routellm_batch.core.arrays import Floats
from routellm_batch.core.errors import DataError
from routellm_batch.storage.arrow_types import is_text, plain_table, value_type
from routellm_batch.storage.labelled import numbers, read_table, texts

MODELS = ("model_a", "model_b")
OUTCOME = frozenset(("strong_score", "weak_score"))
WINNERS = {
    "model_a": 1.0,
    "model_b": 0.0,
    "tie": 0.5,
    "tie (bothbad)": 0.5,
    "both_bad": 0.5,
    "bothbad": 0.5,
    "both_good": 0.5,
}
"""Value of the column ``winner`` → support for model_a; the name of either model counts too."""
VOTES = ("winner_model_a", "winner_model_b", "winner_tie")
"""Columns that share 1 among the outcomes of a battle; the last may be absent."""
CONVERSATIONS = ("conversation_a", "conversation_b")


def read_training_table(uri: str) -> pa.Table:
    """Return the rows of a labelled file; battles in any form that is known as ``prompt, model_a, model_b, preference``.

    Raises:
        DataError: the file can't be read, or is of battles of which a column or row can't be used.

    """
    table = plain_table(read_table(uri))
    names = set(table.column_names)
    if not names.issuperset(MODELS) or names.issuperset(OUTCOME):
        return table
    if "preference" not in names and (support := _support(table, uri)) is not None:
        table = table.append_column("preference", pa.array(support, pa.float64()))
    return _with_first_turns(table)


def _support(table: pa.Table, uri: str) -> Sequence[float] | Floats | None:
    """Return the support for model_a, in [0, 1], of each row; None where no column says who won."""
    names = table.column_names
    if set(VOTES[:2]) <= set(names):
        return _votes(table, uri)
    return _winners(table, uri) if "winner" in names else None


def _winners(table: pa.Table, uri: str) -> list[float]:
    given, models = texts(table, "winner", uri), [table.column(name).to_pylist() for name in MODELS]
    found: list[float] = []
    for row, winner in enumerate(given):
        a, b = models[0][row], models[1][row]
        support = WINNERS.get(" ".join(winner.lower().split()))
        if support is None and a != b and winner in {a, b}:
            support = float(winner == a)
        if support is None:
            problem = (
                f"is none of {', '.join(WINNERS)}, nor a model of the row; give the winner or a preference"
            )
            raise DataError(problem, file=uri, column="winner", row=row)
        found.append(support)
    return found


def _votes(table: pa.Table, uri: str) -> Floats:
    has_tie = VOTES[2] in table.column_names
    a, b = (numbers(table, name, uri) for name in VOTES[:2])
    tie = numbers(table, VOTES[2], uri) if has_tie else np.maximum(1 - a - b, 0)
    total = a + b + tie
    # Without a column of ties, neither winner is a tie, as in RouteLLM's code.
    bad = np.flatnonzero((np.minimum(np.minimum(a, b), tie) < 0) | (np.abs(total - 1) > 0.01))
    if len(bad):
        columns = ", ".join(VOTES if has_tie else VOTES[:2])
        problem = f"{columns} don't share 1 among the winner: they add up to {total[bad[0]]:g}"
        raise DataError(problem, file=uri, column=VOTES[0], row=int(bad[0]))
    support: Floats = (a + tie / 2) / total
    return support


def _with_first_turns(table: pa.Table) -> pa.Table:
    """Return the table with a column ``prompt`` of texts: the user's first turns; rows without one are left out."""
    name = "prompt" if "prompt" in table.column_names else CONVERSATIONS[0]
    if name not in table.column_names:
        return table
    turns = _turns(table.column(name))
    if turns is None:
        return table
    prompts = pa.array([_first_text(one) for one in turns], pa.string())
    table = table.drop_columns(["prompt"]) if name == "prompt" else table
    table = table.append_column("prompt", prompts)
    return table.filter(prompts.is_valid())


def _turns(column: pa.ChunkedArray) -> list[Any] | None:
    """Return each row's turns; None where the column holds plain texts."""
    if not is_text(value_type(column.type)):
        return list(column.to_pylist())
    parsed = [_list(value) for value in column.to_pylist()]
    # One prompt may look like a list; a column in which all do is one of turns.
    return None if any(one is None for one in parsed) else parsed


def _list(text: Any) -> list[Any] | None:
    if not (isinstance(text, str) and text.lstrip().startswith("[")):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _first_text(turns: Any) -> str | None:
    """Return the text of the user's first turn; None where there is none."""
    for turn in turns if isinstance(turns, list) else [turns]:
        if isinstance(turn, Mapping) and turn.get("role", "user") not in {"user", "human"}:
            continue
        text = _text(turn.get("content") if isinstance(turn, Mapping) else turn)
        return text.encode("utf-8", "replace").decode("utf-8") if text and text.strip() else None
    return None


def _text(content: Any) -> str | None:
    """Return a turn's text: the text, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    parts = (
        [part.get("text") for part in content if isinstance(part, Mapping)]
        if isinstance(content, list)
        else []
    )
    return "\n".join(part for part in parts if isinstance(part, str)) or None
