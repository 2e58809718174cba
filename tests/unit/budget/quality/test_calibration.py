"""The map from score to gain: against scikit-learn, and on labels that say little."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.labelled import calibration, facts, labels
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from routellm_batch.budget.quality.calibration import GRID, Calibration, fit_calibration
from routellm_batch.budget.quality.calibration_maps import choose_kind, fit_map, isotonic, positions
from routellm_batch.budget.quality.pilot_facts import PilotFacts, load_pilot_facts
from routellm_batch.core.errors import DataError


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 5)), min_size=1, max_size=40))
def test_isotonic_agrees_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Pooling adjacent violators gives what scikit-learn's isotonic regression gives."""
    values, weight = np.array(pairs, dtype=float).T
    expected = IsotonicRegression().fit_transform(np.arange(len(values)), values, sample_weight=weight)
    assert isotonic(values, weight) == pytest.approx(expected)


def test_positions_count_weight_below_and_half_beside() -> None:
    """A row lies where the weight below it and half of that of its equals end."""
    scores, weight = np.array([0.5, 0.1, 0.5, 0.9]), np.array([1.0, 2.0, 3.0, 4.0])
    assert [0.4, 0.1, 0.4, 0.8] == pytest.approx(positions(scores, weight))


@pytest.mark.parametrize("kind", ["isotonic", "platt"])
def test_a_rising_gain_is_found(kind: Any) -> None:
    """On many rows both maps come near the gain that the rows were drawn by, and never fall."""
    scores, strong, weak = labels(20_000)
    gains = fit_map(kind, positions(scores, np.ones(20_000)), strong - weak, np.ones(20_000), GRID)
    truth = 0.9 - (0.95 - 0.7 * GRID)
    assert 0.06 > float(np.abs(gains - truth)[5:-5].max())
    assert (np.diff(gains) >= 0).all()


def test_falling_gains_give_a_level_map() -> None:
    """A ranking that runs backwards says nothing: the map is the mean gain."""
    where = np.linspace(0, 1, 50)
    gains = fit_map("platt", where, (where < 0.5).astype(float), np.ones(50), GRID)
    assert [0.5] * len(GRID) == pytest.approx(gains)


def test_few_labels_get_a_sigmoid_and_steps_are_found_where_they_are() -> None:
    """Below 100 rows there is no free shape; a thousand rows of one sharp step are fitted by steps."""
    where = np.linspace(0, 1, 1000)
    step = np.where(where > 0.7, 1.0, 0.0)
    few = slice(None, None, 20)
    kinds = [
        choose_kind(where[few], step[few], np.ones(50), seed=0),
        choose_kind(where, step, np.ones(1000), seed=0),
        choose_kind(np.full(200, 0.5), np.ones(200), np.ones(200), seed=0),
    ]
    assert ["platt", "isotonic", "constant"] == kinds


def test_weights_count_as_copies() -> None:
    """A row of weight two moves the mean gain as two rows do, whatever the weights' unit."""
    scores, strong, weak = labels(40)
    twice = fit_calibration(scores, strong, weak, np.where(np.arange(40) < 20, 2.0, 1.0), seed=0)
    gain = np.concatenate([strong - weak, (strong - weak)[:20]])
    assert (pytest.approx(gain.mean()), pytest.approx(1.0)) == (twice.gap, np.mean(twice.weight))


def test_gain_reads_the_scale_of_the_pilots_scores() -> None:
    """Scores are placed among the pilot's own before the map is read; beyond them it is level."""
    made = calibration(500)
    low, middle, high = made.gain(np.array([-5.0, 0.5, 5.0]))
    assert low <= middle <= high
    assert made.gains[50] == pytest.approx(middle, abs=0.06)


def test_the_band_holds_the_map() -> None:
    """The interval lies about the map at every position, and narrows with more labels."""
    few, many = calibration(60), calibration(2000)
    for made in (few, many):
        assert (np.array(made.gains_lo) <= made.gains).all()
        assert (np.array(made.gains) <= made.gains_hi).all()
    assert np.mean(np.subtract(few.gains_hi, few.gains_lo)) > np.mean(
        np.subtract(many.gains_hi, many.gains_lo)
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"strong": np.nan}, "column 'strong_score', row 3: is not a number; leave rows without a label out"),
        ({"scores": np.inf}, "column 'score', row 3: is not a number"),
        ({"weight": 0.0}, "column 'weight', row 3: is not a positive number"),
    ],
)
def test_rows_that_cannot_be_used_are_named(change: dict[str, float], expected: str) -> None:
    """A NaN, an infinity or a weight of zero is refused with its column and row."""
    scores, strong, weak = labels(50)
    columns = {"scores": scores, "strong": strong, "weak": weak, "weight": np.ones(50)}
    for name, value in change.items():
        columns[name][3] = value
    with pytest.raises(DataError, match=expected):
        fit_calibration(**columns, seed=0)


def test_too_few_labels_are_refused() -> None:
    """Nineteen rows predict nothing."""
    with pytest.raises(DataError, match="19 labelled rows can't be calibrated on; at least 20 are needed"):
        fit_calibration(*labels(19), seed=0)


def test_columns_of_different_lengths_are_refused() -> None:
    """Every row has a score and two grades."""
    scores, strong, weak = labels(30)
    with pytest.raises(DataError, match="columns of a pilot differ in length"):
        fit_calibration(scores[:-1], strong, weak, seed=0)


def test_what_is_wrong_with_labels_is_noted() -> None:
    """Constant scores, a strong model that is not better and few rows are said, and nothing else is."""
    scores, strong, weak = labels(200)
    notes = [
        fit_calibration(np.full(200, 0.3), strong, weak, seed=0).note,
        fit_calibration(scores, weak, strong, seed=0).note,
        fit_calibration(scores, strong, strong, seed=0).note,
        calibration(30).note,
        calibration(200).note,
    ]
    words = ["all scores are equal", "strong model is not better", "nothing to recover", "only 30 rows"]
    assert all(word in (note or "") for word, note in zip(words, notes, strict=False))
    assert notes[-1] is None


def test_facts_survive_their_file() -> None:
    """``calibration.json`` gives back what was written, with token counts and without."""
    made = facts(40)
    bare = PilotFacts(made.calibration, None, "s3://bucket/pilots/night")
    assert [made, bare] == [load_pilot_facts(one.to_json()) for one in (made, bare)]


def test_the_same_labels_give_the_same_file() -> None:
    """Folds and resamples are seeded."""
    assert facts(60).to_json() == facts(60).to_json()


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": 1, "calibration": {}, "lengths": 3}']
)
def test_a_damaged_file_says_so(data: bytes) -> None:
    """What is no calibration is refused with what to do."""
    with pytest.raises(DataError, match="is damaged .*make a new pilot"):
        load_pilot_facts(data)


def test_another_format_says_so() -> None:
    """A file of a later version is not guessed at."""
    fields = {**json.loads(facts(20).to_json()), "format": 9}
    with pytest.raises(DataError, match="format 9, this version reads 1"):
        load_pilot_facts(json.dumps(fields).encode())


def test_token_counts_of_other_rows_are_refused() -> None:
    """Grades and token counts are of the same rows."""
    with pytest.raises(DataError, match="40 rows of token counts, 30 of grades"):
        replace(facts(40), calibration=calibration(30))


def test_calibration_is_plain_data() -> None:
    """Fields go through JSON and come back equal."""
    made = calibration(50)
    assert made == Calibration.from_fields(json.loads(json.dumps(made.to_fields())))
