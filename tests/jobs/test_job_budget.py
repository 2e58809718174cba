"""Money: plans within the budget, a hard cap that holds at every line of the endpoints' own bills, and what is left."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.jobs import (
    PRICES,
    Finished,
    billing,
    job_config,
    nano,
    plan_job,
    prompts,
    run_job,
    write_prompts,
)
from helpers.models import bills, highest_bill, two_models
from helpers.stub import Answer, answering, interrupting, stub_server

from routellm_batch.budget.pricing import Price, nano_to_usd
from routellm_batch.budget.tokens import chat_tokens
from routellm_batch.endpoints.simulator.spec import Faults
from routellm_batch.stages.plan.files import load_plan
from routellm_batch.storage.prompts import tie_hash
from routellm_batch.storage.run import open_existing

HERE = "http://127.0.0.1:9/v1"
EXPECTED = {
    "endpoints__strong__estimate": {"output_tokens": 4},
    "endpoints__weak__estimate": {"output_tokens": 4},
    "budget__on_overrun": "stop",
}
"""Plans that expect far less than the simulated models answer, so that caps bite while running."""


def expected_cost(route: str, text: str, output: int = 16) -> int:
    """Return the expected nano-dollars of one call, written out once more."""
    price = Price.from_usd(PRICES[route]["input"], PRICES[route]["output"])
    total = chat_tokens(text, 1) * price.input_nano + output * price.output_nano
    return (2 * total + 10**6) // (2 * 10**6)


def longest_prefix(texts: Sequence[str], budget_nano: int) -> tuple[int, int]:
    """Return rows and cost of the longest prefix of the ranking that the budget pays for, by walking it."""
    ranked = sorted(
        range(len(texts)),
        key=lambda n: (np.float32(len(texts[n]) / 2**21), tie_hash(f"r{n:04d}", 0)),
        reverse=True,
    )
    cost, count = sum(expected_cost("weak", text) for text in texts), 0
    for n in ranked:
        more = expected_cost("strong", texts[n]) - expected_cost("weak", texts[n])
        if cost + more > budget_nano:
            break
        cost, count = cost + more, count + 1
    return count, cost


TEXTS = [f"{n:02d}" + "x" * (37 * n % 23) * 9 for n in range(40)]
BASE = sum(expected_cost("weak", text) for text in TEXTS)
FIRST = longest_prefix(TEXTS, 10**15)[1] - longest_prefix(TEXTS, longest_prefix(TEXTS, 10**15)[1] - 1)[1]


@pytest.mark.parametrize(
    "budget_nano", [BASE, BASE + 1, BASE + 500_000, 2 * BASE, 5 * BASE, 9 * BASE + 12_345, 10**12]
)
def test_dollars_buy_the_longest_prefix(tmp_path: Path, budget_nano: int) -> None:
    """With ``usd`` as many of the highest rows go strong as the sum pays for, and the plan never costs more."""
    write_prompts(tmp_path / "in.parquet", TEXTS)
    planned = plan_job(job_config(tmp_path, budget={"usd": nano_to_usd(budget_nano)}))
    plan = load_plan(planned.run)
    assert plan is not None
    assert longest_prefix(TEXTS, budget_nano) == (plan.strong, plan.planned_nano)
    assert (True, BASE) == (plan.planned_nano <= budget_nano, plan.all_weak_nano)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dollars_hold_with_identical_prompts(tmp_path: Path, part: float) -> None:
    """Where prompts repeat, a plan still costs at most the sum, and as much as the calls that it makes."""
    texts = [f"{n % 7}" + "x" * (n % 7) * 30 for n in range(40)]
    write_prompts(tmp_path / "in.parquet", texts)
    distinct = sorted(set(texts))
    low, high = (sum(expected_cost(route, text) for text in distinct) for route in ("weak", "strong"))
    budget_nano = low + int((high - low) * part)
    with stub_server() as stub:
        settings = {
            "strong": stub.base_url,
            "weak": stub.base_url,
            "budget": {"usd": nano_to_usd(budget_nano)},
        }
        result = run_job(job_config(tmp_path, **settings))
    calls = sum(expected_cost(call.body["model"].removesuffix("-model"), call.prompt) for call in stub.calls)
    assert (calls, True) == (nano(result.cost["planned_usd"]), calls <= budget_nano)
    assert (part == 0) <= (result.cost["rows"]["strong"] == 0)


def test_a_cap_lowers_the_share_and_says_so(tmp_path: Path) -> None:
    """With ``on_overrun: degrade`` a plan above the cap takes the longest prefix that fits, and tells what it took."""
    write_prompts(tmp_path / "in.parquet", TEXTS)
    cap = BASE * 5
    with stub_server(answering(output_tokens=1)) as stub:
        settings = {"budget": {"strong_share": 1, "hard_cap_usd": nano_to_usd(cap)}}
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    count, planned = longest_prefix(TEXTS, cap)
    assert (0, count, planned) == (
        result.exit_code,
        result.cost["rows"]["strong"],
        nano(result.cost["planned_usd"]),
    )
    assert (1.0, count / 40) == (result.cost["share"]["asked"], result.cost["share"]["achieved"])
    assert (cap, "40") == (nano(result.cost["cap_usd"]), result.cost["degraded"]["strong_rows"])
    assert "lowered to fit the hard cap" in " ".join(result.lines)


FAULTS = {
    "none": Faults(),
    "transient": Faults(
        server_error=0.15, rate_limit=0.1, truncated=0.1, html=0.1, bad_json=0.05, no_usage=0.05
    ),
    "hang": Faults(hang=0.1),
}


@pytest.mark.parametrize("on_overrun", ["degrade", "stop"])
@pytest.mark.parametrize("faults", FAULTS)
def test_the_cap_holds_at_every_bill(tmp_path: Path, faults: str, on_overrun: str) -> None:
    """Whatever the endpoints do, all that they bill stays within the cap; what nothing is left for is unfunded."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    cap = 2_000_000
    settings = {**EXPECTED, "budget__hard_cap_usd": nano_to_usd(cap), "budget__on_overrun": on_overrun}
    quick = {
        "endpoints__strong__timeout_s": 0.3,
        "endpoints__weak__timeout_s": 0.3,
        "retry__max_error_rate": 1,
    }
    with two_models(tmp_path, faults=FAULTS[faults]) as urls:
        result = run_job(job_config(tmp_path, **urls, **settings, **quick))
    cost, rows = result.cost, result.cost["rows"]
    billed = highest_bill(tmp_path)
    spent, presumed = nano(cost["spent_usd"]), nano(cost["presumed_usd"])
    assert (True, 60) == (spent + presumed <= cap, rows["ok"] + rows["failed"] + rows["unfunded"])
    assert spent <= billed <= min(cap, spent + presumed)
    assert rows["ok"] + rows["failed"] == len(result.by_id)
    left_out = rows["unfunded"] > 0
    assert left_out or on_overrun == "degrade"
    assert (left_out, not left_out) == (result.exit_code == 4, "_SUCCESS" in result.objects())
    assert sum(int(row["cost_usd"] * 10**9) for row in result.rows) == spent


def test_without_faults_every_cent_is_accounted_for(tmp_path: Path) -> None:
    """What cost.json says was spent is what the endpoints billed, by endpoint, to the nano-dollar."""
    write_prompts(tmp_path / "in.parquet", prompts(40))
    with two_models(tmp_path, cached_share=0.3, reasoning_share=0.2) as urls:
        cost = run_job(job_config(tmp_path, **urls)).cost
    for route in ("strong", "weak"):
        lines, end = billing(tmp_path / f"{route}.log"), cost["endpoints"][route]
        assert (len(lines), len(lines)) == (end["calls"], end["attempts"])
        assert sum(line["nano"] for line in lines) == nano(end["spent_usd"])
        assert sum(line["input_tokens"] for line in lines) == end["input_tokens"]
        assert sum(line["output_tokens"] for line in lines) == end["output_tokens"]
        assert end["cached_input_tokens"] > 0
    assert "0.000000000" == cost["presumed_usd"]


def test_cached_tokens_cost_their_own_price(tmp_path: Path) -> None:
    """Under a cap too, cached input is billed and booked at the cached price, and reasoning is not counted twice."""
    write_prompts(tmp_path / "in.parquet", prompts(20))
    price = {**PRICES["strong"], "cached_input": Decimal("0.25")}
    settings = {
        "endpoints__strong__price": price,
        "budget__strong_share": 1,
        "budget__hard_cap_usd": Decimal(1),
    }
    with two_models(tmp_path, cached_share=0.5, reasoning_share=0.5, price_cached="0.25") as urls:
        result = run_job(job_config(tmp_path, **urls, **settings))
    end, lines = result.cost["endpoints"]["strong"], billing(tmp_path / "strong.log")
    fresh = end["input_tokens"] - end["cached_input_tokens"]
    exact = fresh * 2_500 + end["cached_input_tokens"] * 250 + end["output_tokens"] * 10_000
    assert (0, True) == (result.exit_code, end["cached_input_tokens"] > 0)
    assert (exact, exact) == (nano(end["spent_usd"]), sum(line["nano"] for line in lines))
    assert sum(row["reasoning_tokens"] for row in result.rows) > 0


def test_a_raised_cap_finishes_the_job(tmp_path: Path) -> None:
    """Raised step by step, the cap is never passed; every id comes out once, first answers stay, new ones are added."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    seen: dict[str, Any] = {}
    with two_models(tmp_path) as urls:
        for cap in (1_700_000, 2_000_000, 2_100_000, 50_000_000):
            result = run_job(job_config(tmp_path, **urls, **EXPECTED, budget__hard_cap_usd=nano_to_usd(cap)))
            assert (highest_bill(tmp_path), True) == (
                nano(result.cost["spent_usd"]),
                highest_bill(tmp_path) <= cap,
            )
            assert seen.items() <= result.by_id.items()
            assert len(seen) <= len(result.by_id)
            seen = result.by_id
    assert (0, 60, 60) == (result.exit_code, len(seen), len(bills(tmp_path)))
    assert [name for name in result.objects() if name.startswith("responses/") and ".r1." in name]
    assert (0, 60) == (result.cost["rows"]["unfunded"], result.cost["rows"]["ok"])
    assert 15 == result.cost["rows"]["strong"]


def test_a_cap_that_is_taken_away_finishes_the_job(tmp_path: Path) -> None:
    """Without the cap the unfunded rows are called; none is forgotten."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    with two_models(tmp_path) as urls:
        stopped = run_job(
            job_config(tmp_path, **urls, **EXPECTED, budget__hard_cap_usd=nano_to_usd(1_700_000))
        )
        result = run_job(job_config(tmp_path, **urls, **EXPECTED))
    assert (4, 0, 60, 60) == (stopped.exit_code, result.exit_code, len(result.by_id), len(bills(tmp_path)))


def test_the_same_cap_again_calls_nothing(tmp_path: Path) -> None:
    """Resumed with the same cap, a job that the budget stopped makes no call and stops as before."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    config: dict[str, Any] = {**EXPECTED, "budget__hard_cap_usd": nano_to_usd(1_700_000)}
    with two_models(tmp_path) as urls:
        first = run_job(job_config(tmp_path, **urls, **config))
        sent = len(bills(tmp_path))
        again = run_job(job_config(tmp_path, **urls, **config))
    assert (4, 4, sent) == (first.exit_code, again.exit_code, len(bills(tmp_path)))
    assert first.cost["rows"] == again.cost["rows"]


def test_a_cap_holds_over_interruptions(tmp_path: Path) -> None:
    """Stopped by the budget, raised, interrupted again and again: what was spent is known at each start."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    script, tokens = answering(output_tokens=32), 10 * 2_500 + 32 * 10_000
    slow = {f"endpoints__{route}__limits": {"concurrency": 2} for route in ("strong", "weak")}
    settings = {"budget__strong_share": 1, "endpoints__strong__estimate": {"output_tokens": 1}, **slow}
    settings["budget__on_overrun"] = "stop"
    with stub_server(script) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        for start, cap in enumerate((4_000_000, 12_000_000, 12_000_000, 12_000_000, 12_000_000, 12_000_000)):
            stub.script = interrupting(script, len(stub.calls) + 5) if start else script
            result = run_job(job_config(tmp_path, **urls, **settings, budget__hard_cap_usd=nano_to_usd(cap)))
            assert len(stub.calls) * tokens <= cap
            assert len(stub.calls) * tokens == nano(result.cost["spent_usd"])
    assert result.exit_code in {4, 75}
    assert 25 < len(stub.calls) < 60


def test_a_cap_below_one_worst_case_sends_nothing(tmp_path: Path) -> None:
    """A cap that pays for the expected cost and for no worst case ends with exit 4 and every row unfunded."""
    write_prompts(tmp_path / "in.parquet", ["a"])
    settings = {"budget__hard_cap_usd": nano_to_usd(3_000), **EXPECTED}
    with stub_server() as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    assert (4, [], 1) == (result.exit_code, stub.calls, result.cost["rows"]["unfunded"])
    assert "pays for no further call" in " ".join(result.lines)


@pytest.mark.parametrize("cap", [None, Decimal("0.05")])
def test_a_model_that_ignores_its_maximum(tmp_path: Path, cap: Decimal | None) -> None:
    """Usage above what was reserved stops a capped run with exit 5, and is a warning without a cap."""
    write_prompts(tmp_path / "in.parquet", prompts(40))
    slow = {"endpoints__weak__limits": {"concurrency": 1}, "endpoints__strong__limits": {"concurrency": 1}}
    with stub_server(answering(output_tokens=4000)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        result = run_job(job_config(tmp_path, **urls, **slow, budget__hard_cap_usd=cap))
    assert (0 if cap is None else 5, 40 if cap is None else True) == (
        result.exit_code,
        len(stub.calls) if cap is None else len(stub.calls) <= 4,
    )
    if cap is not None:
        assert "counted more tokens than the request allowed" in " ".join(result.lines)
        assert nano(result.cost["spent_usd"]) == sum(int(row.cost_nano) for row in ledger_records(result))


def ledger_records(result: Finished) -> list[Any]:
    from routellm_batch.storage.ledger.shard import ShardLedger

    run = open_existing(result.run_uri)[0]
    return [
        record
        for shard in run.shards
        for record in ShardLedger(run.store, shard.name).load().records.values()
    ]


def test_the_simulated_overrun_stops_a_capped_run(tmp_path: Path) -> None:
    """The simulator's fault ``overrun`` is seen, whatever its usage is billed at."""
    write_prompts(tmp_path / "in.parquet", prompts(40))
    with two_models(tmp_path, faults=Faults(overrun=1)) as urls:
        params = {
            f"endpoints__{route}__params": {"max_completion_tokens": 300} for route in ("strong", "weak")
        }
        result = run_job(job_config(tmp_path, **urls, **params, budget__hard_cap_usd=Decimal(1)))
    assert 5 == result.exit_code


def test_without_a_maximum_a_long_answer_is_nobodys_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the request sets no limit, an answer longer than expected is no reason to warn."""
    write_prompts(tmp_path / "in.parquet", prompts(10))
    free = {f"endpoints__{route}__params": {} for route in ("strong", "weak")}
    with stub_server(answering(output_tokens=5000)) as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **free))
    assert (0, []) == (result.exit_code, caplog.records)


def test_tools_and_formats_count_as_input(tmp_path: Path) -> None:
    """The worst case covers every byte that is sent, a long tool description as well."""
    write_prompts(tmp_path / "in.parquet", ["a"])
    tools = [{"type": "function", "function": {"name": "f", "description": "word " * 2000}}]
    params = {"endpoints__weak__params": {"max_completion_tokens": 1, "tools": tools}}
    settings = {"budget__strong_share": 0, "budget__hard_cap_usd": Decimal("0.0005"), **params}
    with stub_server(answering(input_tokens=9000, output_tokens=1)) as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    assert (4, []) == (result.exit_code, stub.calls)


def test_a_row_that_the_cap_stopped_between_attempts_is_unfunded(tmp_path: Path) -> None:
    """A row whose first attempt may have been billed, and that nothing is left for, is called later, not failed."""
    write_prompts(tmp_path / "in.parquet", ["a"])
    settings = {"budget__strong_share": 1, "budget__hard_cap_usd": Decimal("0.0012"), **EXPECTED}
    with stub_server(lambda call: Answer(status=500 if call.number == 0 else 200)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        first = run_job(job_config(tmp_path, **urls, **settings))
        settings["budget__hard_cap_usd"] = Decimal("0.01")
        second = run_job(job_config(tmp_path, **urls, **settings))
    assert (4, 1, 0) == (first.exit_code, first.cost["rows"]["unfunded"], first.cost["rows"]["failed"])
    assert nano(first.cost["presumed_usd"]) > 0
    row = second.rows[0]
    assert (0, "ok", 2) == (second.exit_code, row["status"], row["attempts"])
    assert first.cost["presumed_usd"] == second.cost["presumed_usd"]
