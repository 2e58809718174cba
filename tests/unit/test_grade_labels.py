"""Scores that people gave, as a grader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.config.graders import LabelsConfig
from routellm_batch.core.errors import DataError
from routellm_batch.evaluation.graders import Grade, Problem, Question, make_graders, unlabelled


def labels(path: Path, **columns: Any) -> LabelsConfig:
    """Write labels and return their config."""
    pq.write_table(pa.table(columns), path)
    return LabelsConfig(kind="labels", uri=str(path))


def test_each_route_has_its_scores(tmp_path: Path) -> None:
    """A label grades by id and route, whatever the answer is; a null or absent one leaves it unlabelled."""
    config = labels(tmp_path / "l.parquet", id=["a", "b"], strong_score=[7, None], weak_score=[3.5, 1.0])
    graders = make_graders(config)
    found = [[graders[r].grade(Question(i, ""), None) for i in "abc"] for r in ("strong", "weak")]
    missing = unlabelled(Problem.NO_LABEL)
    assert [[Grade(7), missing, missing], [Grade(3.5), Grade(1), missing]] == found


def test_number_ids_match(tmp_path: Path) -> None:
    """Ids may be whole numbers, as those of the input."""
    config = labels(tmp_path / "l.parquet", id=[7], strong_score=[1], weak_score=[0])
    assert Grade(0) == make_graders(config)["weak"].grade(Question(7, ""), "x")


def test_equal_labels_may_repeat(tmp_path: Path) -> None:
    """The same label twice is no contradiction."""
    config = labels(tmp_path / "l.parquet", id=["a", "a"], strong_score=[1, 1], weak_score=[0, 0])
    assert Grade(1) == make_graders(config)["strong"].grade(Question("a", ""), None)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"strong_score": [1, 0, 0]}, "column 'id', row 2: its labels contradict those of row 0"),
        ({"weak_score": [0, float("nan"), 0]}, "column 'weak_score', row 1: is not a finite number"),
        ({"weak_score": ["x", "y", "z"]}, "column 'weak_score': is string; it must be a number"),
        ({"id": ["a", None, "b"]}, "column 'id', row 1: is null"),
        ({"weak": [0, 0, 0], "weak_score": None}, "column 'weak_score': no such column"),
    ],
)
def test_bad_labels_are_refused(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    """Labels that contradict, are no numbers or lack a column are refused, naming the place."""
    good: dict[str, Any] = {
        "id": ["a", "b", "a"],
        "strong_score": [1, 1, 1],
        "weak_score": [0, 0, 0],
        **columns,
    }
    config = labels(tmp_path / "l.parquet", **{k: v for k, v in good.items() if v is not None})
    with pytest.raises(DataError) as caught:
        make_graders(config)
    assert words in str(caught.value)
