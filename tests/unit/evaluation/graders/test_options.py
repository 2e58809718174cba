"""How a reference names an option, and how a whole data set tells in which way."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.graders import grader_config

from routellm_batch.config.graders import ChoiceConfig
from routellm_batch.evaluation.graders.options import NamingTally, option_named, option_texts

FOUR = ["Lyon", "Nice", "Paris", "Lille"]


def choice(**settings: Any) -> ChoiceConfig:
    """Return a config of the grader."""
    config = grader_config("choice", **settings)
    assert isinstance(config, ChoiceConfig)
    return config


def tally(references: list[Any], options: Any = None, **settings: Any) -> NamingTally:
    """Return the tally of some references that have the same options."""
    one = NamingTally(choice(**settings))
    for reference in references:
        one.add([] if reference is None else [reference], options)
    return one


@pytest.mark.parametrize(
    ("references", "options", "settings", "best"),
    [
        (["A", "B", "(c)", None], None, {}, "letter"),
        ([0, 1, 2, 3], None, {}, "from_0"),
        (["0", "3", None], None, {}, "from_0"),
        ([0.0, 3.0], None, {}, "from_0"),
        ([1, 2, 3, 4], None, {"letters": "ABCD"}, "from_1"),
        ([1, 2, 4], FOUR, {}, "from_1"),
        ([0, 3], FOUR, {}, "from_0"),
        (["Paris", " lille "], FOUR, {}, "text"),
        ([1, 2], None, {"reference_is": "from_0"}, "from_0"),
        (["A", "B"], FOUR, {}, "letter"),
        ([], None, {}, "letter"),
    ],
)
def test_all_references_tell_how_they_name(
    references: list[Any], options: Any, settings: dict[str, Any], best: str
) -> None:
    """Where only one way fits all references, or all that fit agree, it is taken."""
    found = tally(references, options, **settings)
    assert (best, None) == (found.best, found.doubt)


@pytest.mark.parametrize(
    ("references", "options", "settings"),
    [
        ([1, 2, 3], None, {"letters": "ABCD"}),  # 0 and 4 are absent
        ([1, 2, 3, 4], None, {}),  # there may be ten options
        ([1, 2], FOUR, {}),
        ([0, 4], FOUR, {}),  # 0 and the last number: both ways fail on a row
        (["3", "1"], ["3", "1", "2"], {}),  # "1" is an option's text, and another one's number
    ],
)
def test_doubt_is_said(references: list[Any], options: Any, settings: dict[str, Any]) -> None:
    """References that can be meant in two ways are in doubt."""
    assert tally(references, options, **settings).doubt is not None


@pytest.mark.parametrize(
    ("value", "named", "letter"),
    [
        (0, "from_0", "A"),
        (4, "from_0", None),
        (4, "from_1", "D"),
        (0, "from_1", None),
        (True, "from_1", None),
        (1.5, "from_0", None),
        (float("inf"), "from_0", None),
        ("²", "from_0", None),
        ("Nice", "text", "B"),
        ("Rome", "text", None),
        ("C) Paris", "letter", "C"),
        (2, "letter", None),
    ],
)
def test_one_reference(value: Any, named: Any, letter: str | None) -> None:
    """A number counts among the row's own options, and a text must be one of them."""
    assert letter == option_named(value, FOUR, choice(), named)


def test_a_text_that_two_options_share_names_neither() -> None:
    """Two equal options can't be told apart by their text."""
    assert option_named("Paris", ["Paris", "paris"], choice(), "text") is None


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (FOUR, FOUR),
        ('["Lyon", "Nice"]', ["Lyon", "Nice"]),
        ({"A": "Lyon", "B": "Nice", "C": None}, ["Lyon", "Nice"]),
        ({"text": ["Lyon", "Nice"], "label": ["A", "B"]}, ["Lyon", "Nice"]),
        ([1, 2.5], ["1", "2.5"]),
        (["Lyon", None], None),
        ("Lyon, Nice", None),
        ([], None),
        (None, None),
    ],
)
def test_options(options: Any, texts: list[str] | None) -> None:
    """Options are a list, such a list as JSON text, or a struct of them."""
    assert texts == option_texts(options)
