"""Replies as providers really give them: what was answered is kept, what was paid is booked, and why rows failed is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from helpers.jobs import Finished, job_config, nano, prompts, run_job, write_prompts
from helpers.stub import Answer, Call, Stub, stub_server

from routellm_batch.answers.labels import LabelReading
from routellm_batch.config.job import LabelConfig
from routellm_batch.stages.call.answers import read_label

WORST = 10**9
"""More than any call here can cost."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Both models."""
    with stub_server() as server:
        yield server


def job(folder: Path, stub: Stub, texts: list[str], **settings: Any) -> Finished:
    write_prompts(folder / "in.parquet", texts, key=["B"] * len(texts))
    settings = {"budget__strong_share": 0, "retry__max_error_rate": 1, **settings}
    return run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, **settings))


def body(message: dict[str, Any], finish: str = "stop", **changes: Any) -> Answer:
    """Return an answer with a message of any shape; ``changes`` replace whole keys, ... takes one away."""
    reply = {
        "model": "stub-model",
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        **changes,
    }
    return Answer(body=json.dumps({k: v for k, v in reply.items() if v is not ...}).encode())


def error(status: int, **fields: Any) -> Answer:
    """Return an error whose message quotes the prompt."""
    return Answer(
        status=status, body=json.dumps({"error": {"message": "You said: Prompt", **fields}}).encode()
    )


@pytest.mark.parametrize("usage", [..., None, {}, {"prompt_tokens": 10.0, "completion_tokens": 5.0}])
def test_answers_without_a_count_of_tokens_are_kept(tmp_path: Path, stub: Stub, usage: Any) -> None:
    """Each is sent once and booked at its worst case, and the run says so once on the terminal and once on the page."""
    stub.script = lambda _: body({"content": "Good."}, usage=usage)
    result = job(tmp_path, stub, prompts(4))
    assert [("ok", "Good.", 0, 1)] * 4 == [
        (row["status"], row["answer"], row["output_tokens"], row["attempts"]) for row in result.rows
    ]
    weak = result.cost["endpoints"]["weak"]
    assert (0, 4, 4, 0) == (result.exit_code, len(stub.calls), weak["uncounted"], nano(weak["spent_usd"]))
    each = 32 * 400 + 10 * 100  # the most output that was asked for, and some input
    assert 4 * each < nano(weak["presumed_usd"]) < 4 * WORST
    assert 1 == "\n".join(result.lines).count("without a count of their tokens: 4 of the weak endpoint")


def test_a_cap_holds_where_no_tokens_are_counted(tmp_path: Path, stub: Stub) -> None:
    """Worst cases add up against it: the run stops at the cap with the answers that it paid for."""
    stub.script = lambda _: body({"content": "Good."}, usage=None)
    result = job(
        tmp_path, stub, prompts(40), budget__hard_cap_usd=Decimal("0.0005"), budget__on_overrun="stop"
    )
    rows = result.cost["rows"]
    assert (4, 0) == (result.exit_code, rows["failed"])
    assert 0 < rows["ok"] == len(stub.calls) < 40
    assert rows["ok"] + rows["unfunded"] == 40
    assert 0 < nano(result.cost["presumed_usd"]) <= 500_000


def test_an_error_in_a_200_is_that_error(tmp_path: Path, stub: Stub) -> None:
    """A 429 waits and a 502 is tried again, as under their own status; neither is presumed billed."""
    seen: list[str] = []

    def script(call: Call) -> Answer:
        seen.append(call.prompt)
        if seen.count(call.prompt) > 1:
            return Answer("Good.")
        code = 429 if "Prompt 0" in call.prompt else 502
        return Answer(body=json.dumps({"error": {"message": "later", "code": code}}).encode())

    stub.script = script
    result = job(tmp_path, stub, prompts(2), retry__attempts=2)
    assert (0, 0, 4) == (result.exit_code, nano(result.cost["presumed_usd"]), len(stub.calls))


def test_an_answer_that_broke_off_is_no_answer(tmp_path: Path, stub: Stub) -> None:
    """It is tried again, what was counted is paid for, and a filtered text has failed for good."""
    message = {"content": "The way to"}
    stub.script = lambda call: body(message, "content_filter" if "Prompt 0" in call.prompt else "error")
    result = job(tmp_path, stub, prompts(2), retry__attempts=2)
    assert [("failed", "content_filter", "The way to", 1), ("failed", "server_error", None, 2)] == [
        (row["status"], row["error_kind"], row["answer"], row["attempts"]) for row in result.rows
    ]
    assert (3 * 3000, 0) == (nano(result.cost["spent_usd"]), nano(result.cost["presumed_usd"]))


def test_tool_calls_are_the_answer(tmp_path: Path, stub: Stub) -> None:
    """They stand in the answer as JSON, whatever the finish reason, and a refusal as a failure with its text."""
    calls = [{"id": "c1", "type": "function", "function": {"name": "label", "arguments": '{"tone": "good"}'}}]
    stub.script = lambda call: (
        body({"content": None, "tool_calls": calls}, "tool_calls")
        if "Prompt 0" in call.prompt
        else body({"content": None, "refusal": "I can't."})
    )
    rows = job(tmp_path, stub, prompts(2)).rows
    assert ("ok", calls) == (rows[0]["status"], json.loads(rows[0]["answer"]))
    assert ("failed", "refusal", "I can't.") == tuple(
        rows[1][name] for name in ("status", "error_kind", "answer")
    )


def test_no_grader_reads_what_was_thought(tmp_path: Path, stub: Stub) -> None:
    """Thoughts are in no column, and their tokens are paid for."""
    texts = {
        "Prompt 0": {"content": "<think>\nAt first it is A.\n</think>\n\nB"},
        "Prompt 1": {"content": "At first it is A.\n</think>\n\nB"},
        "Prompt 2": {"content": "B", "reasoning_content": "At first it is A."},
        "Prompt 3": {"content": [{"type": "text", "text": "B"}], "reasoning": "At first it is A."},
    }
    stub.script = lambda call: body(texts[call.prompt.partition(":")[0]])
    grade = {"kind": "choice", "reference": "key", "letters": "AB"}
    result = job(tmp_path, stub, prompts(4), grade=grade)
    assert ["B"] * 4 == [row["answer"] for row in result.rows]
    assert (1.0, 4 * 3000) == (result.cost["quality"]["achieved"]["mean"], nano(result.cost["spent_usd"]))
    assert not any("At first" in str(row) for row in result.rows)


def test_no_label_is_read_from_what_was_thought(tmp_path: Path, stub: Stub) -> None:
    """The label is the answer's; a thought that was cut off is no answer, and is counted as cut off."""
    stub.script = lambda call: (
        Answer("<think>ham?</think>spam")
        if "Prompt 0" in call.prompt
        else Answer("<think>ham", finish_reason="length")
    )
    result = job(tmp_path, stub, prompts(2), label={"values": ["spam", "ham"], "reask": 0})
    assert [("ok", "spam"), ("failed", None)] == [(row["status"], row["label"]) for row in result.rows]
    assert ({"empty_answer": 1}, 1) == (result.cost["errors"], result.cost["rows"]["truncated"])
    assert any("1 answer was cut off at the limit of tokens" in line for line in result.lines)


def test_why_rows_failed_is_said_by_endpoint(tmp_path: Path, stub: Stub) -> None:
    """Status, code and param of the provider's error stand on the terminal and in cost.json; its message is nowhere."""

    def script(call: Call) -> Answer:
        if call.body["model"] == "strong-model":
            return error(400, code="unsupported_parameter", type="invalid_request_error", param="max_tokens")
        return (
            error(400, code="Prompt", type="x y", param=None)
            if "Prompt 0" in call.prompt
            else Answer("Good.")
        )

    stub.script = script
    result = job(tmp_path, stub, prompts(8), budget__strong_share=Decimal("0.25"))
    assert (
        "  errors  strong: 400 unsupported_parameter (max_tokens), bad_request: 2 rows failed" in result.lines
    )
    assert "          weak: 400, bad_request: 1 row failed" in result.lines
    ends = result.cost["endpoints"]
    said = {
        "status": 400,
        "code": "unsupported_parameter",
        "type": "invalid_request_error",
        "param": "max_tokens",
    }
    assert [{"kind": "bad_request", **said, "rows": 2}] == ends["strong"]["errors"]
    written = b"".join(result.run.store.read(path) for path in result.objects())
    assert b"You said" not in written


def test_a_refused_key_is_named(tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run stops and says which endpoint refused which key, by the key's reference; the key itself is nowhere."""
    monkeypatch.setenv("WEAK_KEY", "a-secret-key")
    stub.script = lambda _: error(401, code="invalid_api_key", type="a-secret-key")
    result = job(tmp_path, stub, prompts(4), endpoints__weak__api_key="env:WEAK_KEY")
    line = "  errors  weak: 401 invalid_api_key, auth; it refused the key of env:WEAK_KEY"
    assert (5, True) == (result.exit_code, line in result.lines)
    halt = {"kind": "auth", "status": 401, "code": "invalid_api_key", "type": None, "param": None}
    assert [{**halt, "api_key": "env:WEAK_KEY"}] == result.cost["endpoints"]["weak"]["halts"]
    written = b"".join(result.run.store.read(path) for path in result.objects())
    assert b"a-secret-key" not in written


def test_a_reader_that_fails_loses_no_answer(tmp_path: Path, stub: Stub) -> None:
    """The row is an invalid label with its answer, its neighbours are answered, and nothing is paid for again."""

    def reader(label: LabelConfig, answer: str) -> LabelReading:
        if answer == "broken":
            raise RecursionError
        return read_label(label, answer)

    stub.script = lambda call: Answer("broken" if "Prompt 2" in call.prompt else "spam")
    with patch("routellm_batch.stages.call.answers.read_label", reader):
        result = job(tmp_path, stub, prompts(5), label={"values": ["spam", "ham"]})
    assert (3, 5, {"invalid_label": 1}) == (result.exit_code, len(stub.calls), result.cost["errors"])
    assert ("failed", "broken") == tuple(result.by_id["r0002"][name] for name in ("status", "answer"))
    assert 5 * 3000 == nano(result.cost["spent_usd"])


def test_text_that_no_file_can_hold_ends_in_the_ledger_all_the_same(tmp_path: Path, stub: Stub) -> None:
    """Lone surrogates in keys and values of an answer's JSON are cleaned; keys that are equal then are no label."""
    answers = ['{"a": "cut \\ud83d"}', '{"k\\ud83d": 1}', '{"k\\ud83d": 1, "k\\ud83e": 2}', '{"n": NaN}']
    stub.script = lambda call: Answer(answers[int(call.body["messages"][-1]["content"][7])])
    label = {"schema": {"type": "object"}, "reask": 0}
    result = job(tmp_path, stub, prompts(4), label=label)
    assert ['{"a": "cut ?"}', '{"k?": 1}', None, None] == [row["label"] for row in result.rows]
    assert (3, 4) == (result.exit_code, len(stub.calls))


def test_cached_tokens_cost_what_cached_tokens_do(tmp_path: Path, stub: Stub) -> None:
    """In another spelling, too; and a total above prompt and completion that counts of input explain is input."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "total_tokens": 140,
        "prompt_cache_hit_tokens": 60,
    }
    stub.script = lambda _: body({"content": "Good."}, usage={**usage, "tool_use_prompt_tokens": 30})
    price = {"input": Decimal("0.1"), "cached_input": Decimal("0.05"), "output": Decimal("0.4")}
    result = job(tmp_path, stub, prompts(1), endpoints__weak__price=price)
    assert (130, 60, 10) == tuple(
        result.rows[0][name] for name in ("input_tokens", "cached_input_tokens", "output_tokens")
    )
    assert 70 * 100 + 60 * 50 + 10 * 400 == nano(result.cost["spent_usd"])
