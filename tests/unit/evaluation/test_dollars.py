"""Quality per dollar: prices, token counts from the outcomes or beside them, recorded costs, and what is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.evaluation import Tariff, evaluate, parse_prices, render_table, to_json

PRICES = parse_prices(["strong=10,30", "weak=1,2"])
TOKENS = ("strong_input_tokens", "strong_output_tokens", "weak_input_tokens", "weak_output_tokens")


def write(path: Path, **columns: list[Any]) -> str:
    """Write four outcomes, of which the two longest need the strong model, with further columns."""
    table: dict[str, Any] = {
        "prompt_id": ["a", "b", "c", "d"],
        "prompt": ["p", "pp", "ppp", "pppp"],
        "strong_score": [1.0, 1.0, 1.0, 1.0],
        "weak_score": [1.0, 1.0, 0.0, 0.0],
        **columns,
    }
    pq.write_table(pa.table(table), path)
    return str(path)


def counts(values: list[int]) -> dict[str, list[Any]]:
    """Return token columns that all hold these values."""
    return {name: list(values) for name in TOKENS}


def measure(outcomes: list[str], **settings: Any) -> dict[str, Any]:
    """Evaluate prompt length with few replicates."""
    return evaluate(outcomes, ["length"], replicates=20, **settings)


def test_dollars_by_hand(tmp_path: Path) -> None:
    """All rows weak, all strong, and each CPT cost what prices and tokens say, to the nano-dollar."""
    file = write(tmp_path / "o.parquet", **counts([1000, 1000, 1000, 2000]))
    dollars = measure([file], tariff=Tariff(PRICES))["dollars"]
    # A row of 1,000 + 1,000 tokens costs $0.04 or $0.003; the longest prompt twice that.
    expected = {"all_weak": "0.015", "all_strong": "0.200", "at_cpt50": "0.089", "at_cpt80": "0.126"}
    assert expected == {name: f"{dollars[name]:.3f}" for name in expected}
    assert not dollars["estimated"]
    # By share the area is 3/4; the first half of the gap takes two fifths of the extra dollars, the second one fifth.
    assert 0.5 * 0.4 / 2 + 0.75 * 0.2 + 0.4 == pytest.approx(dollars["apgr_usd"])
    assert "0.200000000" == json.loads(to_json({"usd": dollars["all_strong"]}))["usd"]


def test_always_one_model_costs_all_of_it(tmp_path: Path) -> None:
    """The baselines that send all rows to one model say what that costs."""
    file = write(tmp_path / "o.parquet", **counts([1000] * 4))
    baselines = measure([file], tariff=Tariff(PRICES))["baselines"]
    assert Decimal("0.160") == baselines["always_strong"]["usd"]
    assert Decimal("0.012") == baselines["always_weak"]["usd"]


def test_token_counts_beside_the_outcomes(tmp_path: Path) -> None:
    """A file of answers is joined by prompt_id, whatever its order; estimates are called so."""
    answers = {
        "prompt_id": ["d", "c", "b", "a"],
        "prompt_tokens_est": [2000, 1000, 1000, 1000],
        "strong_response_tokens_est": [2000, 1000, 1000, 1000],
        "weak_response_tokens_est": [2000, 1000, 1000, 1000],
    }
    pq.write_table(pa.table(answers), tmp_path / "answers.parquet")
    outcomes = write(tmp_path / "o.parquet")
    result = measure([outcomes], tariff=Tariff(PRICES, [str(tmp_path / "answers.parquet")]))
    assert (True, "0.089") == (result["dollars"]["estimated"], f"{result['dollars']['at_cpt50']:.3f}")
    assert "estimated token counts" in " ".join(render_table(result).split())


def test_recorded_costs_need_no_price(tmp_path: Path) -> None:
    """Outcomes that say what each answer cost are enough."""
    costs = {
        name: [Decimal(usd)] * 4 for name, usd in (("strong_cost_usd", "0.04"), ("weak_cost_usd", "0.003"))
    }
    dollars = measure([write(tmp_path / "o.parquet", **costs)])["dollars"]
    assert (Decimal("0.012"), Decimal("0.16")) == (dollars["all_weak"], dollars["all_strong"])


def test_a_set_without_counts_has_no_dollars(tmp_path: Path) -> None:
    """Of two sets only the one whose token counts are known has dollars."""
    known = write(tmp_path / "known.parquet", **counts([1000] * 4))
    results = measure([known, write(tmp_path / "bare.parquet")], tariff=Tariff(PRICES))["results"]
    assert [True, False] == ["dollars" in one for one in results]


def test_pilot_means_are_dollars_too(tmp_path: Path) -> None:
    """With a pilot, dollars are a mean over the seeds, to the nano-dollar."""
    file = write(tmp_path / "o.parquet", **counts([1000] * 4))
    result = measure([file], tariff=Tariff(PRICES), pilot=1, seeds=3)
    assert Decimal("0.12") == result["dollars"]["all_strong"]
    assert {Decimal("0.12")} == {one["dollars"]["all_strong"] for one in result["per_seed"]}


@pytest.mark.parametrize(
    "pairs",
    [
        ["strong=10"],
        ["strong=10,30,5", "weak=1,1"],
        ["strong=-1,30", "weak=1,1"],
        ["strong=ten,30", "weak=1,1"],
        ["best=1,1", "weak=1,1"],
        ["weak=1,1", "weak=1,1"],
        ["strong=10,30"],
        ["strong=nan,1", "weak=1,1"],
    ],
)
def test_bad_prices_are_refused(pairs: list[str]) -> None:
    """A price is two sums of dollars, and both routes have one."""
    with pytest.raises(ConfigError, match="--price: "):
        parse_prices(pairs)


def test_prices_without_counts_are_refused(tmp_path: Path) -> None:
    """Prices that no outcomes can use are an error that says what is missing."""
    with pytest.raises(
        ConfigError, match="no token counts for any of the outcomes; name a file with --tokens"
    ):
        measure([write(tmp_path / "o.parquet")], tariff=Tariff(PRICES))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("strong_output_tokens", [1, None, 1, 1], "column 'strong_output_tokens', row 1: is null"),
        ("weak_input_tokens", [1, 1, -1, 1], "column 'weak_input_tokens', row 2: is not a count of tokens"),
        ("weak_input_tokens", [1, 1, 1, 1.5], "column 'weak_input_tokens', row 3: is not a count of tokens"),
    ],
)
def test_bad_counts_are_named(tmp_path: Path, column: str, values: list[Any], message: str) -> None:
    """A count that is null, negative or broken is named by file, column and row."""
    file = write(tmp_path / "o.parquet", **{**counts([1] * 4), column: values})
    with pytest.raises(DataError, match=f"o.parquet, {message}"):
        measure([file], tariff=Tariff(PRICES))


@pytest.mark.parametrize("bad", [None, -1.0, float("nan"), float("inf")])
def test_bad_costs_are_named(tmp_path: Path, bad: float | None) -> None:
    """A recorded cost that is no sum of dollars is named by file, column and row."""
    file = write(tmp_path / "o.parquet", strong_cost_usd=[0.1, 0.1, bad, 0.1], weak_cost_usd=[0.1] * 4)
    with pytest.raises(DataError, match="o.parquet, column 'strong_cost_usd', row 2: is null or not a sum"):
        measure([file])


@pytest.mark.parametrize(
    ("ids", "columns", "message"),
    [
        (["a", "b"], TOKENS, "has token counts of 2 of 4 prompts; the first without is 'c'"),
        (["a", "b", "c", "c"], TOKENS, "column 'prompt_id', row 3: is in two rows; each id must be in one"),
        (["a", "b", "c", "d"], ("words",), "has no token counts; they are columns strong_input_tokens"),
    ],
)
def test_bad_answers_are_named(
    tmp_path: Path, ids: list[str], columns: tuple[str, ...], message: str
) -> None:
    """A file of answers that knows some prompts only, or twice, or without counts, is refused."""
    answers = tmp_path / "answers.parquet"
    pq.write_table(pa.table({"prompt_id": ids, **{name: [1] * len(ids) for name in columns}}), answers)
    with pytest.raises(DataError, match=f"answers.parquet.*{message}"):
        measure([write(tmp_path / "o.parquet")], tariff=Tariff(PRICES, [str(answers)]))
