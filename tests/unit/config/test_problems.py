"""What is wrong with a config, in the words of whoever wrote it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import job_tree

from routellm_batch.config.job import check_config
from routellm_batch.config.reading import apply_override, parse_yaml
from routellm_batch.core.errors import ConfigError

OURS = (
    "instance of",
    "dictionary",
    "tuple",
    "decimal input",
    "should be",
    "unable",
    "parse",
    "Config",
    "None",
    "True",
    "False",
)
"""Words of the library that checks, and of Python."""
SHAPES = {
    "text": "some text",
    "number": 26,
    "below": -1,
    "fraction": 0.5,
    "truth": True,
    "nothing": None,
    "list": [1, True],
    "mapping": {"x": 1},
    "nested": {"x": {"y": [1]}},
    "list of mappings": [{"x": 1}],
}
MORE: dict[str, Any] = {
    "label": {"column": "label", "values": ["spam", "ham"], "reask": 1, "instruction": "Label it."},
    "pilot": {"rows": 50, "usd": 5, "grader": {"kind": "numeric", "reference": "r"}, "max_age_days": 3},
    "retry__deadline_s": 5,
    "run__date": "2026-11-23",
    "run__seed": 1,
    "run__single_writer": False,
    "budget__hard_cap_usd": 5,
    "input__keep": ["a"],
    "endpoints__strong__limits": {"rpm": 5},
    "endpoints__strong__estimate": {"output_tokens": 5, "lengths_from": "latest"},
    "endpoints__weak__simulate": {"latency_ms": 5, "faults": {"hang": 0}, "replies": {"a": 1}},
    "cluster__tls": {"ca": "a", "cert": "b", "key": "c"},
}


def problem(tree: dict[str, Any]) -> str:
    """Return what a config is refused with; empty where it is accepted."""
    try:
        check_config(tree, source="job.yaml")
    except ConfigError as error:
        return str(error)
    return ""


def keys(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each key."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from keys(value, (*above, key))


def set_at(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy of a tree with one value changed."""
    changed = copy.deepcopy(tree)
    at = changed
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return changed


@pytest.mark.parametrize("shape", SHAPES)
def test_every_key_refuses_a_wrong_shape_in_plain_words(shape: str, tmp_path: Path) -> None:
    """Whatever the value of any key is, the error has its key and none of the words of a library, and no text of a value."""
    whole = job_tree(tmp_path, **MORE)
    for path in keys(whole):
        said = problem(set_at(whole, path, SHAPES[shape]))
        assert not [word for word in OURS if word in said], said
        assert "some text" not in said or path[-1] in {"kind", "on_overrun"}, said
        for line in filter(None, said.split("\n")):
            assert line.startswith("job.yaml: "), said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            "budget.strong_share=26",
            "budget.strong_share: must be at most 1; it is 26; if 26% is meant, write 0.26",
        ),
        ("budget.strong_share=2.5", "it is 2.5; if 2.5% is meant, write 0.025"),
        ("budget.strong_share=260", "must be at most 1; it is 260"),
        ("budget.strong_share=26%", "must be a number; it is text; write 0.26 for 26%"),
        (
            "retry.max_error_rate=50",
            "retry.max_error_rate: must be at most 1; it is 50; if 50% is meant, write 0.5",
        ),
        ("budget={recover: 90}", "budget.recover: must be at most 1; it is 90; if 90% is meant, write 0.9"),
        ("budget={recover: 0.9, confidence: 95}", "must be below 1; it is 95; if 95% is meant, write 0.95"),
        (
            "budget.hard_cap_usd=$5",
            "budget.hard_cap_usd: must be a number; it is text; write it without quotes, units",
        ),
        (
            "label.values=[yes, no]",
            "label.values: item 1 must be text; it is true: YAML reads yes, no, on, off, true",
        ),
        ("label.values=[spam, off]", "label.values: item 2 must be text; it is false: YAML reads"),
        (
            "label.values=[a, 1.0]",
            "label.values: item 2 must be text; it is the number 1.0, so put quotes around it",
        ),
        (
            "label.values=[1, 2]",
            "label.values: item 1 must be text; it is the number 1, so put quotes around it",
        ),
        (
            "label.values=[a, null]",
            "item 2 must be text; it is empty (null); if the word itself is meant, put it in quotes",
        ),
        ("label.values=[a, ~]", "item 2 must be text; it is empty (null)"),
        ("label.values=[a, [b]]", "item 2 must be text; it is a list"),
        ("label.values=a", "label.values: must be a list, written [a, b]; it is text"),
        (
            "label.schema={enum: [yes, no, maybe]}",
            "label.schema: has true or false among the words at $.enum",
        ),
        (
            "label.schema={properties: {a: {type: string, enum: [yes, no]}}}",
            "has true or false among the words at $.properties.a.enum",
        ),
        (
            "endpoints.strong.model=4",
            "endpoints.strong.model: must be text; it is the number 4, so put quotes around it",
        ),
        (
            "endpoints.strong.price=2.5",
            "endpoints.strong.price: must be a mapping of input, output, cached_input; it is",
        ),
        (
            "endpoints.strong.params={1: 2}",
            "endpoints.strong.params: has the key 1, which is no text; put quotes around it",
        ),
        (
            "endpoints.strong.kind=opnai",
            "must be one of openai, simulated, replay; it is 'opnai'; did you mean openai?",
        ),
        ("input.keep=lang", "input.keep: must be a list, written [a, b]; it is text"),
        ("input.shard_rows=1.5", "input.shard_rows: must be a whole number; it is the number 1.5"),
        ("run.date=today", "run.date: must be a date, YYYY-MM-DD"),
        (
            "retry=3",
            "retry: must be a mapping of attempts, deadline_s, budget, max_error_rate; it is the number 3",
        ),
        ("grade=exact", "grade: must be a mapping; it is text"),
    ],
)
def test_what_to_write_instead_is_said(changes: str, words: str, tmp_path: Path) -> None:
    """A share in percent, a word that YAML takes for something else, a value without its list: each with the fix."""
    tree = job_tree(tmp_path)
    apply_override(tree, changes)
    assert words in problem(tree)


def test_words_in_quotes_are_words(tmp_path: Path) -> None:
    """What was refused is accepted in quotes, and truth values that are meant are no words."""
    for text in ('{values: ["yes", "no", "1.0", "null"]}', "{schema: {enum: [true, false]}}"):
        tree = job_tree(tmp_path, label=parse_yaml(text, source="a"))
        assert problem(tree) == ""


def test_an_override_may_be_written_as_an_option(tmp_path: Path) -> None:
    """Dashes before an override are no part of its key."""
    tree = job_tree(tmp_path)
    apply_override(tree, "--run.id=other")
    assert tree["run"]["id"] == "other"
