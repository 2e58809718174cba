"""Money at its edges: caps that change between starts, tasks that are lost, and what can't be paid for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from helpers.jobs import job_config, nano, prompts, run_job, write_prompts
from helpers.models import bills, highest_bill, two_models
from helpers.stub import Answer, Call, answering, interrupting, stub_server

from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.core.errors import (
    ConfigError,
    DataError,
    EndpointStopError,
    FencedError,
    SchedulerLostError,
)
from routellm_batch.pipeline.jobs import report_job
from routellm_batch.stages.call import task as call
from routellm_batch.storage.ledger.shard import ShardLedger

CHEAP: dict[str, Any] = {
    f"endpoints__{route}__{key}": value
    for route in ("strong", "weak")
    for key, value in (("estimate", {"output_tokens": 4}), ("limits", {"concurrency": 4}))
}
"""Plans that expect far less than the models answer."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("share", [Decimal(0), Decimal("0.1")])
def test_a_run_too_dear_with_nothing_to_degrade_ends(tmp_path: Path, share: Decimal) -> None:
    """Weak answers alone pass the cap, and no strong row is left to move: the run ends with exit 4 within the cap."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    cap = 420_000
    settings = {**CHEAP, "budget__strong_share": share, "budget__hard_cap_usd": nano_to_usd(cap)}
    with two_models(tmp_path) as urls:
        result = run_job(job_config(tmp_path, **urls, **settings))
    assert (4, True) == (result.exit_code, highest_bill(tmp_path) <= cap)
    assert 0 < result.cost["rows"]["unfunded"] < 60


def test_a_cap_that_is_lowered_again_and_again_is_todays(tmp_path: Path) -> None:
    """Before any call each start plans anew under the cap of its own day, not under an earlier, higher one."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    with two_models(tmp_path) as urls:
        for cap in (100_000_000, 9_000_000, 5_000_000):
            config = job_config(
                tmp_path, **urls, budget__strong_share=1, budget__hard_cap_usd=nano_to_usd(cap)
            )
            away = EndpointStopError("nothing listens there") if cap > 5_000_000 else None
            with patch("routellm_batch.pipeline.run.check_reachable", side_effect=away):
                if away is None:
                    result = run_job(config)
                else:
                    with pytest.raises(EndpointStopError):
                        run_job(config)
    assert (5_000_000, True) == (nano(result.cost["cap_usd"]), highest_bill(tmp_path) <= 5_000_000)
    assert (0, 60) == (result.exit_code, result.cost["rows"]["ok"])


def test_prompts_that_can_not_be_paid_leave_the_others_alone(tmp_path: Path) -> None:
    """Many long prompts whose worst case is above what is left are unfunded by themselves; short ones are answered."""
    texts = [f"{n:03d}" + "y" * 1_200 for n in range(400)]
    write_prompts(tmp_path / "in.parquet", [*texts, *prompts(10)])
    settings = {
        "budget__strong_share": 0,
        "budget__hard_cap_usd": nano_to_usd(15_300_000),
        "budget__on_overrun": "stop",
        "input__shard_rows": 500,
        "endpoints__weak__limits": {"concurrency": 8},
    }

    def script(call: Call) -> Answer:
        return Answer(input_tokens=900 if call.prompt.endswith("y") else 10)

    with stub_server(script) as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    short = [row["id"] for row in result.rows if row["id"] >= "r0400"]
    assert (4, True, 10) == (result.exit_code, result.cost["rows"]["unfunded"] > 200, len(short))


def test_a_cap_below_what_is_spent_changes_no_route(tmp_path: Path) -> None:
    """Lowered below what is spent a run calls nothing; raised again it goes on as planned."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    slow = {f"endpoints__{route}__limits": {"concurrency": 2} for route in ("strong", "weak")}
    script = answering(output_tokens=8)
    with stub_server(interrupting(script, 12)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url, **slow}
        first = run_job(job_config(tmp_path, **urls, budget__hard_cap_usd=nano_to_usd(10**8)))
        stub.script, sent = script, len(stub.calls)
        second = run_job(job_config(tmp_path, **urls, budget__hard_cap_usd=nano_to_usd(1_000)))
        assert (4, sent) == (second.exit_code, len(stub.calls))
        third = run_job(job_config(tmp_path, **urls, budget__hard_cap_usd=nano_to_usd(10**8)))
    assert (75, 0, 15) == (first.exit_code, third.exit_code, len(third.strong_ids()))


def test_what_a_lost_task_spent_is_granted_to_nobody(tmp_path: Path) -> None:
    """Shards that are given up after they were called, one after another, leave less for the others: the cap holds."""
    write_prompts(tmp_path / "in.parquet", prompts(120))
    cap = 800_000
    settings = {
        **CHEAP,
        "budget__strong_share": 0,
        "budget__hard_cap_usd": nano_to_usd(cap),
        "budget__on_overrun": "stop",
    }
    gone = DataError("can't be read any more")
    with two_models(tmp_path) as urls, patch.object(call, "deliver", side_effect=gone):
        result = run_job(job_config(tmp_path, **urls, **settings))
    assert (True, True) == (highest_bill(tmp_path) <= cap, len(bills(tmp_path)) > 30)
    assert (True, nano(result.cost["spent_usd"])) == (result.exit_code in {4, 5}, highest_bill(tmp_path))


def test_a_runner_at_work_on_a_committed_shard_is_shut_out_before_money_is_granted(tmp_path: Path) -> None:
    """An earlier start's runner that tries failed rows again can spend nothing once a new start has begun to call."""
    write_prompts(tmp_path / "in.parquet", prompts(32))
    plain = {"budget__hard_cap_usd": Decimal(1), "retry": {"attempts": 1, "max_error_rate": 1}}
    plain |= {f"endpoints__{route}__limits": {"concurrency": 1} for route in ("strong", "weak")}
    tried: list[type[Exception] | None] = []

    def script(_: Call) -> Answer:
        if not tried:
            try:
                zombie.write_intent("weak", [(0, 5)])
            except FencedError:
                tried.append(FencedError)
            else:
                tried.append(None)
        return Answer()

    with stub_server(answering(status=400)) as stub:
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **plain)
        first = run_job(config)
        zombie = ShardLedger(first.run.store, "000003", epoch=1, turn=1)  # of its next task
        zombie.claim()
        (tmp_path / "root/runs/job/epoch/000001.end").unlink()  # it did not end: it was killed
        stub.script = script
        second = run_job(config, retry_failed=True)
    assert (3, 0, [FencedError]) == (first.exit_code, second.exit_code, tried)


@pytest.mark.parametrize(("error", "clean"), [(SchedulerLostError(), False), (FencedError(), True)])
def test_a_start_whose_tasks_may_run_on_has_not_ended(
    tmp_path: Path, error: Exception, *, clean: bool
) -> None:
    """A start that lost sight of its tasks leaves its epoch open, so that the next one shuts them out first."""
    write_prompts(tmp_path / "in.parquet", prompts(8))
    with stub_server() as stub, patch("routellm_batch.stages.call.loop.call_shard", side_effect=error):
        patched = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)
        result = run_job(patched)
    assert (75, clean) == (result.exit_code, "epoch/000001.end" in result.objects())


@pytest.mark.parametrize("cap", [None, Decimal(1)])
def test_a_task_that_lost_its_shard_to_a_copy_is_handed_out_again(
    tmp_path: Path, cap: Decimal | None
) -> None:
    """A shard that a copy of its task took over and left is finished by this very start, and paid for once."""
    write_prompts(tmp_path / "in.parquet", prompts(16))
    real, lost = call.call_shard, []

    def losing(task: call.CallTask) -> call.CallReceipt:
        receipt = real(task)
        if task.shard.index not in lost:
            lost.append(task.shard.index)
            raise FencedError
        return receipt

    with stub_server() as stub, patch("routellm_batch.stages.call.loop.call_shard", losing):
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, budget__hard_cap_usd=cap)
        result = run_job(config)
    assert (0, 16, 16, [0, 1]) == (result.exit_code, len(result.rows), len(stub.calls), sorted(lost))


def test_a_key_that_is_missing_on_one_worker_is_told_with_what_was_spent(tmp_path: Path) -> None:
    """Where calls were paid for, a worker without the key stops the run with exit 5 and a report, not with exit 2."""
    write_prompts(tmp_path / "in.parquet", prompts(32))
    real, begun = call.call_shard, []

    def without_a_key(task: call.CallTask) -> call.CallReceipt:
        begun.append(task.shard.index)
        if len(begun) > 2:
            raise ConfigError("api_key", "environment variable K is not set")
        return real(task)

    with stub_server() as stub, patch("routellm_batch.stages.call.loop.call_shard", without_a_key):
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url))
    assert (5, True) == (result.exit_code, nano(result.cost["spent_usd"]) > 0)
    assert "environment variable K is not set" in result.cost["stop_reason"]


def test_a_report_keeps_the_cap_of_the_last_start(tmp_path: Path) -> None:
    """Written anew, a report has the cap under which the run went last, not the one that it was planned under."""
    write_prompts(tmp_path / "in.parquet", prompts(8))
    with stub_server() as stub:
        settings = {"strong": stub.base_url, "weak": stub.base_url, **CHEAP, "budget__on_overrun": "stop"}
        first = run_job(job_config(tmp_path, **settings, budget__hard_cap_usd=nano_to_usd(200_000)))
        last = run_job(job_config(tmp_path, **settings, budget__hard_cap_usd=Decimal(1)))
    assert (4, 0, 10**9) == (first.exit_code, last.exit_code, nano(last.cost["cap_usd"]))
    report_job(last.run_uri)
    again = last.run.read_json("report/cost.json") or {}
    assert "1.000000000" == again["cap_usd"]
