"""Identical prompts are paid for once per endpoint: the lowest id pays, its copies cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Finished, job_config, nano, prompts, run_job, write_prompts
from helpers.stub import Answer, Stub, interrupting, stub_server


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Both models; each answer is new, so that a copied one shows."""
    with stub_server(lambda call: Answer(f"Answer {call.number}.")) as server:
        yield server


def job(folder: Path, stub: Stub, **settings: Any) -> Finished:
    return run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, **settings))


def write_twice(folder: Path) -> None:
    """Two files of 12 rows over 4 prompts each; ids fall where positions rise, so that the lowest id comes late."""
    for part in range(2):
        ids = [f"id{99 - 12 * part - n}" for n in range(12)]
        write_prompts(
            folder / "in" / f"{part}.parquet", [f"{n % 4}" * (n % 4 + 1) for n in range(12)], ids=ids
        )


@pytest.mark.parametrize("shard_rows", [2, 5, 100])
def test_each_request_is_made_once(tmp_path: Path, stub: Stub, shard_rows: int) -> None:
    """Over shards and files one call answers all rows with its prompt; cost and attempts are on the lowest id."""
    write_twice(tmp_path)
    result = job(tmp_path, stub, source="in", input__shard_rows=shard_rows, budget={"strong_share": 0})
    assert (0, 4, 24) == (result.exit_code, len(stub.calls), len(result.rows))
    for text in ("0", "11", "222", "3333"):
        answer = next(f"Answer {call.number}." for call in stub.calls if call.prompt == text)
        rows = sorted(
            (row for row in result.rows if row["score"] == len(text) / 2**21), key=lambda row: row["id"]
        )
        assert [answer] * 6 == [row["answer"] for row in rows]
        assert 1 == len({row["request_key"] for row in rows})
        assert [(1, True), *[(0, False)] * 5] == [(row["attempts"], row["cost_usd"] > 0) for row in rows]
        assert [10, *[0] * 5] == [row["input_tokens"] for row in rows]
    cost = result.cost
    assert (4, 4, 20, 24) == (
        cost["endpoints"]["weak"]["calls"],
        cost["endpoints"]["weak"]["attempts"],
        cost["rows"]["copies"],
        cost["rows"]["ok"],
    )
    assert nano(cost["spent_usd"]) == sum(int(row["cost_usd"] * 10**9) for row in result.rows)


def test_integer_ids_are_compared_as_numbers(tmp_path: Path, stub: Stub) -> None:
    """Of the ids 10, 9 and -2 the lowest is -2."""
    write_prompts(tmp_path / "in.parquet", ["same"] * 3, ids=[10, 9, -2])
    result = job(tmp_path, stub, budget={"strong_share": 0})
    assert {10: False, 9: False, -2: True} == {row["id"]: row["cost_usd"] > 0 for row in result.rows}


@pytest.mark.parametrize("router", ["random", "length"])
def test_a_cut_may_split_identical_prompts(tmp_path: Path, stub: Stub, router: str) -> None:
    """Ten rows with one prompt at share 0.3: three go strong, seven weak, with one call to each model."""
    write_prompts(tmp_path / "in.parquet", ["same"] * 10)
    result = job(
        tmp_path, stub, router={"name": router}, budget={"strong_share": Decimal("0.3")}, input__shard_rows=4
    )
    assert ["strong-model", "weak-model"] == sorted(call.body["model"] for call in stub.calls)
    strong = [row for row in result.rows if row["route"] == "strong"]
    weak = [row for row in result.rows if row["route"] == "weak"]
    assert (3, 7) == (len(strong), len(weak))
    for rows in (strong, weak):
        assert 1 == len({row["answer"] for row in rows})
        paid = [row["id"] for row in rows if row["cost_usd"] > 0]
        assert [min(row["id"] for row in rows)] == paid


def test_another_system_turn_is_another_request(tmp_path: Path, stub: Stub) -> None:
    """Rows are identical only if the whole chat is."""
    write_prompts(tmp_path / "in.parquet", ["same"] * 4, s=["a", "b", "a", None])
    job(tmp_path, stub, input__columns__system="s", budget={"strong_share": 0})
    assert 3 == len(stub.calls)


def test_copies_share_a_failure_and_its_mending(tmp_path: Path, stub: Stub) -> None:
    """A failed call fails all its rows; called again and answered, it answers all of them."""
    write_prompts(tmp_path / "in.parquet", [*prompts(20), "bad", "bad", "bad"])
    stub.script = lambda call: Answer(status=400 if call.prompt == "bad" else 200)
    failed = job(tmp_path, stub, input__shard_rows=2)
    assert (3, {"bad_request": 3}, 3) == (
        failed.exit_code,
        failed.cost["errors"],
        failed.cost["rows"]["failed"],
    )
    assert 21 == len(stub.calls)
    stub.script = lambda _: Answer("Mended.")
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, input__shard_rows=2)
    mended = run_job(config, retry_failed=True)
    assert (0, 22, 23) == (mended.exit_code, len(stub.calls), mended.cost["rows"]["ok"])
    assert ["Mended."] * 3 == [mended.by_id[f"r{n:04d}"]["answer"] for n in (20, 21, 22)]


def test_copies_survive_an_interruption(tmp_path: Path, stub: Stub) -> None:
    """Stopped after every fifth call and run again until it ends, a job of copies calls each prompt once."""
    texts = [f"{n % 15:02d}" + "x" * (n % 15) for n in range(60)]
    write_prompts(tmp_path / "in.parquet", texts)
    script = stub.script
    settings = {
        "endpoints__strong__limits": {"concurrency": 1},
        "endpoints__weak__limits": {"concurrency": 1},
    }
    for _ in range(10):
        stub.script = interrupting(script, len(stub.calls) + 4)
        result = job(tmp_path, stub, **settings)
        if result.exit_code == 0:
            break
        assert result.exit_code == 75
    calls = [(call.body["model"], call.prompt) for call in stub.calls]
    assert (0, 60, len(calls)) == (result.exit_code, len(result.by_id), len(set(calls)))
    assert nano(result.cost["spent_usd"]) == sum(int(row["cost_usd"] * 10**9) for row in result.rows)


def test_the_plan_counts_distinct_requests(tmp_path: Path, stub: Stub) -> None:
    """Planned cost is of the calls that are made, and so is what was spent."""
    write_prompts(tmp_path / "in.parquet", ["same"] * 50)
    cost = job(tmp_path, stub, budget={"strong_share": 1}).cost
    write_prompts(tmp_path / "one.parquet", ["same"])
    one = job(tmp_path, stub, budget={"strong_share": 1}, run__id="one", source="one.parquet").cost
    assert (one["planned_usd"], one["spent_usd"]) == (cost["planned_usd"], cost["spent_usd"])
