"""Data frames of an evaluation: the rows behind the printed table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch import evaluation
from routellm_batch.evaluation import evaluate, results_frame


@pytest.fixture
def outcomes(tmp_path: Path) -> str:
    """Return a file of forty outcomes where long prompts defeat the weak model."""
    table = {
        "prompt_id": [f"q{n}" for n in range(40)],
        "prompt": ["word " * (n + 1) for n in range(40)],
        "strong_score": [1.0] * 40,
        "weak_score": [float(n < 20) for n in range(40)],
    }
    pq.write_table(pa.table(table), tmp_path / "outcomes.parquet")
    return str(tmp_path / "outcomes.parquet")


def test_every_router_and_baseline_has_a_row(outcomes: str) -> None:
    """The rows are those of the result, with interval ends in columns and the file named where there are several."""
    result = evaluate([outcomes, outcomes], ["length"], replicates=20)
    frame = results_frame(result)
    kinds = ["router", *["baseline"] * 4, *["constant"] * 2]
    assert (kinds * 2, {outcomes}) == (list(frame["kind"]), set(frame["outcomes"]))
    (first, _) = result["results"]
    row = frame.iloc[0]
    expected = [first["apgr"], *first["apgr_ci"], first["cpt50"]]
    assert expected == [row["apgr"], row["apgr_lo"], row["apgr_hi"], row["cpt50"]]
    assert [first["quality_at"]["50"], 1.0, 0.5] == list(frame["half"].iloc[[0, 5, 6]])


def test_one_result_is_a_frame_too(outcomes: str) -> None:
    """A flat result has rows without a file; what it does not know is missing."""
    frame = results_frame(evaluate([outcomes], ["length"], replicates=20))
    assert (7, {""}) == (len(frame), set(frame["outcomes"]))
    assert frame[["apgr_sd", "apgr_usd", "usd_cpt50"]].isna().all(axis=None)


def test_grades_need_neither_pandas_nor_routers() -> None:
    """A job that grades its answers imports neither pandas nor the evaluation of routers."""
    code = (
        "import sys, routellm_batch.evaluation.graders.grade; "
        "print(sorted({'pandas', 'matplotlib', 'routellm_batch.evaluation.trials'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ("[]", 0) == (done.stdout.strip(), done.returncode), done.stderr


def test_unknown_public_name_is_an_attribute_error() -> None:
    """A name that the package does not offer is refused, as it is elsewhere."""
    assert not hasattr(evaluation, "guess")
    assert all(hasattr(evaluation, name) for name in evaluation.__all__)
