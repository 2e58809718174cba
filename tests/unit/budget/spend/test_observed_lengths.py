"""Observed lengths: quantiles from bins that add up, and a coverage that is measured, not assumed."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.budget.spend.observed_lengths import (
    LEAST_SEEN,
    ObservedLengths,
    OutputModel,
    observe_lengths,
)

LENGTHS = st.lists(st.integers(1, 100_000), max_size=80)


def observed(lengths: list[int]) -> ObservedLengths:
    """Return the lengths that answers like these show, to prompts of 40 characters in 10 tokens."""
    return observe_lengths((40, 10, length) for length in lengths)


@given(LENGTHS, LENGTHS)
def test_observed_lengths_add_up(one: list[int], other: list[int]) -> None:
    """The histogram of two shards is the histogram of their answers; sums add."""
    both, whole = observed(one) + observed(other), observed([*one, *other])
    assert (whole.bins, whole.chars, whole.input_tokens) == (both.bins, both.chars, both.input_tokens)
    assert observed(one) + ObservedLengths() == observed(one)


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=80), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_quantile_is_near_an_answer(lengths: list[int], quantile: float) -> None:
    """A quantile is right to half a bin, or to a token."""
    found = observed(lengths).output_tokens(quantile)
    exact = sorted(lengths)[max(0, -(-round(quantile * 10) * len(lengths) // 10) - 1)]
    assert found is not None
    assert abs(found - exact) <= max(1, 0.05 * exact)


def test_coverage_is_that_of_later_answers() -> None:
    """Of lengths drawn alike about four in five fall inside; of a sudden change hardly any."""
    drawn = random.Random(1)
    alike = observed([round(drawn.lognormvariate(5, 0.7)) for _ in range(2000)])
    changed = observed([100 + n % 7 for n in range(LEAST_SEEN)] + [1000] * 3)
    assert (2000 - LEAST_SEEN, True) == (alike.judged, 0.78 <= (alike.coverage or 0) <= 0.9)
    assert (3, 0.0) == (changed.judged, changed.coverage)


def test_without_answers_nothing_is_known() -> None:
    """Without answers there is neither a ratio, nor a quantile, nor a coverage."""
    assert (None, None, None) == (
        ObservedLengths().tokens_per_char,
        ObservedLengths().output_tokens(0.5),
        ObservedLengths().coverage,
    )
    model = OutputModel()
    for _ in range(LEAST_SEEN):
        model.observe(5)
    assert 0 == model.judged


def test_tokens_per_character() -> None:
    """Ten tokens counted in forty characters are a quarter."""
    assert 0.25 == observed([1]).tokens_per_char
