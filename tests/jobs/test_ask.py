"""``ask``: one endpoint answers a table by an ordinary run."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import billing, job_config, prompts, quick_waits, write_prompts
from helpers.stub import Answer, Call, interrupting, stub_server

from routellm_batch.config.job import ColumnsConfig, Config
from routellm_batch.core.errors import BudgetError, ConfigError
from routellm_batch.core.types import RowId
from routellm_batch.endpoints.servers import base_urls
from routellm_batch.pipeline.ask import Ask, AskResult, ask, ask_config, plan_ask

ROWS = 12


def asking(folder: Path, config: Config, route: Any = "strong", **settings: Any) -> Ask:
    """Return an ask of the table in a folder."""
    given: dict[str, Any] = {"run_id": route, "cap_usd": Decimal(1), **settings}
    return Ask(config, str(folder / "in.parquet"), route, str(folder / "asked"), **given)


def go(asked: Ask) -> AskResult:
    """Ask, without long waits."""
    with quick_waits():
        return ask(asked, lambda _: None)


def answers(result: AskResult) -> dict[RowId, str]:
    """Return what was answered, by id."""
    assert result.rows is not None
    return {row["id"]: row["answer"] for row in result.rows.to_pylist()}


def echo(call: Call) -> Answer:
    """Answer with the model and the prompt's number."""
    return Answer(f"{call.body['model']} {call.prompt.split(':')[0]}")


@pytest.mark.parametrize("route", ["strong", "weak"])
def test_every_row_is_answered_by_the_asked_endpoint(tmp_path: Path, route: str) -> None:
    """All prompts go to the endpoint that is asked, whatever the job's share is; the other need not even be there."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with stub_server(echo) as stub:
        result = go(asking(tmp_path, job_config(tmp_path, **{route: stub.base_url}), route))
    assert {f"r{n:04d}": f"{route}-model Prompt {n}" for n in range(ROWS)} == answers(result)
    assert (ROWS, 0, True) == (len(stub.calls), result.exit_code, result.finished)


def test_a_refused_key_is_named_by_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked can say which endpoint refused which key, whatever route the ask's own run put it on."""
    monkeypatch.setenv("THEIR_KEY", "secret-key")
    write_prompts(tmp_path / "in.parquet", ["x"])
    refusal = Answer(status=401, body=b'{"error": {"message": "no", "code": "invalid_api_key"}}')
    with stub_server(lambda _: refusal) as stub:
        ends = {
            "kind": "openai",
            "base_url": stub.base_url,
            "model": "judge",
            "price": {"input": 1, "output": 1},
        }
        judge = {**ends, "params": {"max_completion_tokens": 9}, "api_key": "env:THEIR_KEY"}
        result = go(asking(tmp_path, job_config(tmp_path, endpoints__judge=judge), "judge"))
    refused = "judge: 401 invalid_api_key, auth; it refused the key of env:THEIR_KEY"
    assert (5, [refused]) == (result.exit_code, result.halts)


def test_the_judge_reads_its_own_columns(tmp_path: Path) -> None:
    """A judge's prompts may have other columns than the job's, and columns to keep."""
    write_prompts(tmp_path / "in.parquet", ["x"], ids=["a"], text=["Which?"], pair=[7])
    columns = ColumnsConfig(id="id", prompt="text")
    with stub_server(echo) as stub:
        judge = {
            "kind": "openai",
            "base_url": stub.base_url,
            "model": "judge",
            "price": {"input": 1, "output": 1},
        }
        judge["params"] = {"max_completion_tokens": 9}
        config = job_config(tmp_path, endpoints__judge=judge, label={"values": ["yes"]})
        result = go(asking(tmp_path, config, "judge", columns=columns, keep=["pair"]))
    assert result.rows is not None
    assert [("judge Which?", 7)] == [(row["answer"], row["pair"]) for row in result.rows.to_pylist()]


def test_spent_is_what_was_billed(tmp_path: Path) -> None:
    """What an ask says it spent is what the endpoint's own log adds up to, and asking again costs nothing."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    log = tmp_path / "bill.jsonl"
    end = {
        "kind": "simulated",
        "model": "m",
        "price": {"input": 1, "output": 2},
        "params": {"max_completion_tokens": 64},
        "simulate": {"latency_ms": 0, "log": str(log)},
    }
    asked = asking(tmp_path, job_config(tmp_path, endpoints__weak=end), "weak")
    planned = plan_ask(asked, lambda _: None)
    first, again = go(asked), go(asked)
    billed = billing(log)
    assert (ROWS, sum(line["nano"] for line in billed)) == (len(billed), first.spent_nano)
    assert (first.spent_nano, answers(first)) == (again.spent_nano, answers(again))
    assert first.spent_nano < 2 * planned


def test_one_endpoint_on_both_routes_has_one_server(tmp_path: Path) -> None:
    """A simulated endpoint that answers both routes is started once, so that its limit and log are one."""
    simulated = {
        "kind": "simulated",
        "model": "m",
        "price": {"input": 1, "output": 2},
        "params": {"max_completion_tokens": 64},
    }
    config = ask_config(asking(tmp_path, job_config(tmp_path, endpoints__weak=simulated), "weak"))
    with base_urls(config.endpoints, config.cluster.address) as urls:
        assert urls["strong"] == urls["weak"]


def test_an_interrupted_ask_goes_on(tmp_path: Path) -> None:
    """What was answered before a Ctrl-C is not asked again by the same ask."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with stub_server(interrupting(echo, 3)) as stub:
        limits = {"concurrency": 1}
        config = job_config(tmp_path, strong=stub.base_url, endpoints__strong__limits=limits)
        stopped = go(asking(tmp_path, config))
        finished = go(asking(tmp_path, config))
    assert (75, False, 0) == (stopped.exit_code, stopped.finished, finished.exit_code)
    assert (ROWS, ROWS) == (len(answers(finished)), len({call.prompt for call in stub.calls}))
    assert ROWS == len(stub.calls)


def test_a_plan_above_the_cap_is_refused(tmp_path: Path) -> None:
    """Nothing is sent where the cap is below the planned cost."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with stub_server(echo) as stub, pytest.raises(BudgetError):
        go(asking(tmp_path, job_config(tmp_path, strong=stub.base_url), cap_usd=Decimal("0.000001")))
    assert [] == stub.calls


def test_an_endpoint_without_bound_is_refused(tmp_path: Path) -> None:
    """An ask has a cap, so its endpoint needs a longest answer, and must be there."""
    open_ended = job_config(tmp_path, endpoints__strong__params={})
    with pytest.raises(ConfigError, match=r"endpoints\.strong\.params\.max_completion_tokens"):
        ask_config(asking(tmp_path, open_ended))
    with pytest.raises(ConfigError, match=r"endpoints\.judge: is missing"):
        ask_config(asking(tmp_path, open_ended, "judge"))
