"""How often a job gave each label, and why answers gave none: counted from its responses."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from routellm_batch.answers.labels import read_label
from routellm_batch.config.job import Config, LabelConfig
from routellm_batch.core.types import ErrorKind
from routellm_batch.reporting.run.facts import LabelFacts
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import Run

MAX_LABELS = 100
"""Labels that a report counts, the commonest; the others are counted together."""


def label_facts(config: Config, run: Run, reasked: int) -> LabelFacts | None:
    """Return what a label job's responses hold so far; None for another job.

    Args:
        config: the job.
        run: its run.
        reasked: rows whose model was asked again.

    """
    label = config.label
    if label is None:
        return None
    given: Counter[str] = Counter(dict.fromkeys(label.values, 0))
    invalid: Counter[str] = Counter()
    labelled = 0
    for row in _rows(run, label.column):
        if row[label.column] is not None:
            labelled += 1
            given.update(_countable(label, row[label.column]))
        elif row["error_kind"] == ErrorKind.INVALID_LABEL:
            invalid[str(read_label(label, row["answer"] or "").kind or "unknown")] += 1
    common = given.most_common(MAX_LABELS)
    rest = sum(given.values()) - sum(number for _, number in common)
    return LabelFacts(label.column, labelled, dict(common), rest, reasked, dict(sorted(invalid.items())))


def _rows(run: Run, column: str) -> Iterator[dict[str, Any]]:
    for shard in run.shards:
        table = read_shard_responses(run, shard.name, [column, "error_kind", "answer"])
        if table is not None:
            yield from table.to_pylist()


def _countable(label: LabelConfig, text: str) -> list[str]:
    """Return what of a label can be counted: a value, or the fields of an object whose schema lists their values.

    Other fields may quote the prompt, which no report does.
    """
    if label.values:
        return [text]
    value, schema = json.loads(text), label.schema_ or {}
    if not isinstance(value, dict):
        return [json.dumps(value, ensure_ascii=False)] if "enum" in schema else []
    properties = schema.get("properties", {})
    listed = [
        name
        for name, part in properties.items()
        if isinstance(part, dict) and ("enum" in part or part.get("type") == "boolean")
    ]
    return [
        f"{name}: {one if isinstance(one, str) else json.dumps(one)}"
        for name in listed
        if (one := value.get(name)) is not None
    ]
