"""Cascades under evaluation: what they look at, what they cost, and what is refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.config.answers import parse_answer
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.evaluation import Tariff, evaluate, parse_prices

ROWS = 60
NUMERIC = parse_answer("numeric")


def write(path: Path, *, checks: bool = True, **columns: Any) -> str:
    """Write outcomes whose weak model is right on every third row, and whose check model always is.

    The prompt says nothing about which rows these are.
    """
    right = [n % 3 == 0 for n in range(ROWS)]
    table: dict[str, Any] = {
        "prompt_id": [f"p{n}" for n in range(ROWS)],
        "prompt": [f"What is {n % 10} + {n // 10}? Question {n}." for n in range(ROWS)],
        "strong_score": [1.0] * ROWS,
        "weak_score": [float(one) for one in right],
        "weak_response": ["The answer is 1" if one else "The answer is 2" for one in right],
        **({"check_response": ["1"] * ROWS} if checks else {}),
        **columns,
    }
    pq.write_table(pa.table(table), path)
    return str(path)


def measure(path: str, router: str = "cascade", **settings: Any) -> dict[str, Any]:
    """Evaluate one router with few resamples."""
    settings = {"answer": NUMERIC, "replicates": 20, **settings}
    return evaluate([path], [router], **settings)


def test_a_check_that_is_always_right_finds_every_wrong_answer(tmp_path: Path) -> None:
    """The curve is the oracle's, and the router of the prompts alone stands beside it as a baseline."""
    result = measure(write(tmp_path / "o.parquet"))
    assert result["router"] == "cascade"
    assert result["apgr_full"] == pytest.approx(result["baselines"]["oracle"]["apgr_full"])
    assert result["baselines"]["prompt"]["apgr_full"] < 0.7
    assert result["versus"]["prompt"]["difference_full"] > 0.1


@pytest.mark.parametrize(
    "columns",
    [
        {"weak_response": [["The answer is 1", "1"] if n % 3 == 0 else ["2", "1"] for n in range(ROWS)]},
        {"check_response": [["1", None] for _ in range(ROWS)]},
        {"weak_response": ["The answer is 1" if n % 3 == 0 else None for n in range(ROWS)]},
    ],
)
def test_samples_lists_and_missing_answers(tmp_path: Path, columns: dict[str, Any]) -> None:
    """Samples count as checks do; a null check is none; a null answer can't be used, so its row goes first."""
    result = measure(write(tmp_path / "o.parquet", **columns))
    assert result["apgr_full"] == pytest.approx(result["baselines"]["oracle"]["apgr_full"])


def test_without_checks_only_unusable_answers_stand_out(tmp_path: Path) -> None:
    """Readable answers are ordered by the prompt: the cascade is its router."""
    result = measure(write(tmp_path / "o.parquet", checks=False))
    assert result["apgr_full"] == pytest.approx(result["baselines"]["prompt"]["apgr_full"])


def test_texts_agree_by_their_embeddings(tmp_path: Path) -> None:
    """Free texts need no reader: the less alike, the sooner strong."""
    weak = ["The cat sat." if n % 3 == 0 else "Stocks fell sharply today." for n in range(ROWS)]
    columns = {"weak_response": weak, "check_response": ["A cat sat there."] * ROWS}
    result = measure(write(tmp_path / "o.parquet", **columns), answer=parse_answer("text"))
    assert result["apgr_full"] == pytest.approx(result["baselines"]["oracle"]["apgr_full"])


def test_a_pilot_fits_both_the_cascade_and_its_prompt_router(tmp_path: Path) -> None:
    """Too few labels leave the rule, and the note says so."""
    result = measure(write(tmp_path / "o.parquet"), pilot=20, seeds=2)
    assert result["per_seed"][0]["chosen"] == "order"
    assert "fell back in 2 of 2 seeds" in result["note"]
    assert result["apgr_full"] == pytest.approx(result["baselines"]["oracle"]["apgr_full"])


def test_dollars_count_weak_and_check_calls_of_every_row(tmp_path: Path) -> None:
    """Nothing is recovered before all weak and check answers are paid; then each strong call adds its price."""
    tokens = {
        "prompt_tokens_est": [0] * ROWS,
        "strong_response_tokens_est": [1_000_000] * ROWS,
        "weak_response_tokens_est": [1_000_000] * ROWS,
        "check_response_tokens_est": [1_000_000] * ROWS,
    }
    path = write(tmp_path / "o.parquet", **tokens)
    prices = parse_prices(["strong=0,10", "weak=0,1", "check=0,2"])
    dollars = measure(path, tariff=Tariff(prices))["dollars"]
    # 40 of 60 rows are wrong; half of the gap takes 20 strong calls.
    assert dollars["at_cpt50"] == Decimal(60 * 3 + 20 * 10)
    # Between 60 and 600 dollars: nothing up to 180, then a straight line to 580, then all of it.
    assert dollars["apgr_usd"] == pytest.approx((400 / 2 + 20) / 540)


def test_a_curve_is_cut_at_all_strong(tmp_path: Path) -> None:
    """Where weak and check calls cost nearly as much as strong ones, little is left to gain by dollar."""
    tokens = {
        f"{name}_tokens": [1_000_000] * ROWS
        for name in (
            "strong_input",
            "strong_output",
            "weak_input",
            "weak_output",
            "check_input",
            "check_output",
        )
    }
    path = write(tmp_path / "o.parquet", **tokens)
    prices = parse_prices(["strong=0,10", "weak=0,5", "check=0,4"])
    # 300 to 600 dollars: the curve begins at 540 and has recovered 6 of 40 rows at 600.
    assert measure(path, tariff=Tariff(prices))["dollars"]["apgr_usd"] == pytest.approx(60 * 0.15 / 2 / 300)


def test_check_answers_without_a_price_leave_dollars_out(tmp_path: Path) -> None:
    """A note says why."""
    tokens = {
        f"{name}_tokens": [1] * ROWS
        for name in ("strong_input", "strong_output", "weak_input", "weak_output")
    }
    result = measure(
        write(tmp_path / "o.parquet", **tokens), tariff=Tariff(parse_prices(["strong=1,1", "weak=1,1"]))
    )
    assert "dollars" not in result
    assert "check=IN,OUT" in result["note"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [(None, "--answer: is missing"), ("label", "label goes with label jobs")],
)
def test_a_cascade_needs_to_know_how_answers_are_compared(
    tmp_path: Path, answer: str | None, message: str
) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError, match=message):
        measure(write(tmp_path / "o.parquet"), answer=answer and parse_answer(answer))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "--answer"),
        ("{kind: choice, letters: abc}", "--answer.*letters"),
        ("{kind: numeric, colour: red}", "--answer.*colour"),
        ("{kind: regex}", "--answer.*pattern"),
        ("{kind: exact, pattern: '(a)(b)'}", "one group"),
    ],
)
def test_bad_options_of_an_answer_are_named(text: str, message: str) -> None:
    """The error names the key."""
    with pytest.raises(ConfigError, match=message):
        parse_answer(text)


@pytest.mark.parametrize("name", ["weak_response", "check_response"])
def test_answers_of_another_type_are_refused(tmp_path: Path, name: str) -> None:
    """The error names file and column."""
    with pytest.raises(DataError, match=f"{name}.*must be text"):
        measure(write(tmp_path / "o.parquet", **{name: [1] * ROWS}))


def test_outcomes_without_answers_are_refused(tmp_path: Path) -> None:
    """A cascade can't look at answers that are not there."""
    table = pq.read_table(write(tmp_path / "o.parquet")).drop_columns(["weak_response"])
    pq.write_table(table, tmp_path / "o.parquet")
    with pytest.raises(DataError, match="weak_response"):
        measure(str(tmp_path / "o.parquet"))


def test_the_router_of_the_prompts_may_be_named(tmp_path: Path) -> None:
    """``cascade:length`` breaks ties by prompt length."""
    result = measure(write(tmp_path / "o.parquet", checks=False), "cascade:length")
    assert result["router"] == "cascade:length"
    length = result["baselines"]["length"]["apgr_full"]
    assert np.isclose(result["apgr_full"], length)
