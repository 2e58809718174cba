"""YAML: numbers as written, no key twice, and every fault a ConfigError that says where."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.config.reading import parse_yaml
from routellm_batch.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.26", Decimal("0.26")),
        ("0.10", Decimal("0.10")),
        ("-2.5", Decimal("-2.5")),
        (".5", Decimal("0.5")),
        ("1e-3", Decimal("0.001")),
        ("1.5e3", Decimal(1500)),
        ("1_000.5", Decimal("1000.5")),
        ("1_000", 1000),
        ("7", 7),
        ("true", True),
        ("null", None),
        ("2026-11-23", "2026-11-23"),
        ('"0.5"', "0.5"),
    ],
)
def test_scalars_keep_what_is_written(text: str, expected: Any) -> None:
    """A fraction is the very Decimal that was written, a whole number an int, a date text."""
    found = parse_yaml(text, source="a.yaml")
    assert (expected, type(expected)) == (found, type(found))


@pytest.mark.parametrize("text", [".inf", "-.Inf", ".NaN", ".INF"])
def test_infinities_are_read(text: str) -> None:
    """Every spelling of infinity and NaN is read as a float, to be refused where it does not fit."""
    assert isinstance(parse_yaml(text, source="a.yaml"), float)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "line"),
        ("a: b: c", "line 1"),
        ("x: 1\na: *nobody", "line 2"),
        ("\tx: 1", "line 1"),
        ("a: !!python/object:os.system {}", "line 1"),
        ("a: !!float pie", "a.yaml"),
        ("a: !!int pie", "a.yaml"),
        ("a: 1:30:15.5", "a.yaml"),
        ("? [x, y]\n: 1", "a.yaml"),
        ("a: \x00", "a.yaml"),
    ],
)
def test_bad_yaml_is_a_config_error_that_says_where(text: str, words: str) -> None:
    """What cannot be read names its source, and the line where there is one."""
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, source="a.yaml")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["x: 1\ny: 2\nx: 3", "a:\n  x: 1\n  x: 1"])
def test_a_key_written_twice_is_refused(text: str) -> None:
    """The second of two equal keys would win in silence; instead it is named with its line."""
    with pytest.raises(ConfigError, match=r"x: is written twice \(line 3\)"):
        parse_yaml(text, source="a.yaml")


def test_merge_keys_work() -> None:
    """An anchor with ``<<`` is merged, and what stands beside it wins."""
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", source="s")["b"] == {"x": 1, "y": 3}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-?[]{}&*!|>'\"% \n\t.,0123e+_#<"), max_size=25))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever is written, the outcome is a value or a ConfigError."""
    try:
        parse_yaml(text, source="a.yaml")
    except ConfigError as error:
        assert error.key or error.source
