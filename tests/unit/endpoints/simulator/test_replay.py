"""Recorded answers served again."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.patience import patience

from routellm_batch.core.errors import DataError
from routellm_batch.core.types import Usage
from routellm_batch.endpoints.simulator.chat import ChatRequest, Decision
from routellm_batch.endpoints.simulator.faults import UNKNOWN_PROMPT
from routellm_batch.endpoints.simulator.process import start_server
from routellm_batch.endpoints.simulator.replay import load_replay
from routellm_batch.endpoints.simulator.spec import ReplaySpec


def _spec(folder: Path, settings: dict[str, Any] | None = None, **columns: Any) -> ReplaySpec:
    path = folder / "answers.parquet"
    pq.write_table(pa.table(columns), path)
    return ReplaySpec(uri=str(path), **(settings or {}))


def _decide(spec: ReplaySpec, prompt: str, max_tokens: int | None = None, model: str = "m") -> Decision:
    return load_replay(spec).decide(ChatRequest(model, prompt, 10, max_tokens), "key", 0, 0)


def _seen(decision: Decision) -> tuple[str, str, Usage]:
    return decision.answer, decision.finish_reason, decision.usage


def test_recorded_answer_is_given_with_counted_tokens(tmp_path: Path) -> None:
    """A known prompt gets its answer, with a token for every four characters."""
    spec = _spec(tmp_path, prompt=["a", "b"], answer=["Answer one", "Two"])
    assert _seen(_decide(spec, "a")) == ("Answer one", "stop", Usage(10, 0, 3, 0))


def test_first_of_equal_prompts_holds(tmp_path: Path) -> None:
    """Of several rows with one prompt the first one answers; rows without an answer do not count."""
    spec = _spec(tmp_path, prompt=["a", "a", "a"], answer=[None, "first", "second"])
    assert _decide(spec, "a").answer == "first"


@pytest.mark.parametrize("prompt", ["c", " a", "A"])
def test_unknown_prompt_is_refused(tmp_path: Path, prompt: str) -> None:
    """A prompt that was not recorded, to the letter, is a fault of its own."""
    spec = _spec(tmp_path, prompt=["a"], answer=["x"])
    assert _decide(spec, prompt).fault == UNKNOWN_PROMPT


def test_answer_is_cut_to_the_maximum(tmp_path: Path) -> None:
    """A recorded answer longer than the request allows is cut and says ``length``."""
    spec = _spec(tmp_path, prompt=["a"], answer=["x" * 40])
    assert _seen(_decide(spec, "a", 4)) == ("x" * 16, "length", Usage(10, 0, 4, 0))


def test_recorded_token_counts_are_used(tmp_path: Path) -> None:
    """Columns of token counts take the place of the estimate; a null falls back to it."""
    spec = _spec(
        tmp_path,
        {"input_tokens": "i", "output_tokens": "o"},
        prompt=["a", "b"],
        answer=["x" * 40, "y" * 8],
        i=[7, None],
        o=[20, None],
    )
    assert _decide(spec, "a").usage == Usage(7, 0, 20, 0)
    assert _decide(spec, "b").usage == Usage(10, 0, 2, 0)
    assert _seen(_decide(spec, "a", 5)) == ("x" * 10, "length", Usage(7, 0, 5, 0))


def test_model_column_tells_models_apart(tmp_path: Path) -> None:
    """With a model column the same prompt has an answer for each model, and none for others."""
    spec = _spec(tmp_path, {"model_column": "who"}, prompt=["a", "a"], answer=["x", "y"], who=["m", "n"])
    assert [_decide(spec, "a", model=name).answer for name in ("m", "n")] == ["x", "y"]
    assert _decide(spec, "a", model="o").fault == UNKNOWN_PROMPT


@pytest.mark.parametrize(
    ("columns", "column"),
    [({"prompt": ["a"]}, "answer"), ({"prompt": ["a"], "answer": [1]}, "answer")],
)
def test_bad_columns_are_named(tmp_path: Path, columns: dict[str, Any], column: str) -> None:
    """A column that is missing, or holds no text, is an error that names it."""
    spec = _spec(tmp_path, **columns)
    with pytest.raises(DataError) as caught:
        load_replay(spec)
    assert caught.value.column == column


def _post(base_url: str, model: str, prompt: str) -> tuple[int, dict[str, Any]]:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    headers = {"Content-Type": "application/json", "X-Request-Key": "row-1", "X-Attempt": "2"}
    request = urllib.request.Request(f"{base_url}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=patience(20)) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_server_replays_over_http_and_bills(tmp_path: Path) -> None:
    """The running server gives the recorded answer, refuses an unknown prompt with its code, and bills."""
    log = tmp_path / "log.jsonl"
    settings = {"price_input": "2", "price_output": "4", "log": str(log)}
    with start_server(_spec(tmp_path, settings, prompt=["What?"], answer=["That."])) as server:
        status, reply = _post(server.base_url, "gpt", "What?")
        refused, error = _post(server.base_url, "gpt", "Who?")
    found = (
        status,
        reply["model"],
        reply["choices"][0]["message"]["content"],
        refused,
        error["error"]["code"],
    )
    assert found == (200, "gpt", "That.", 400, "unknown_prompt")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    names = ("request_key", "attempt", "status", "input_tokens", "output_tokens", "usd")
    assert [[line[name] for name in names] for line in lines] == [
        ["row-1", 2, 200, 9, 2, "0.000026000"],
        ["row-1", 2, 400, 0, 0, "0.000000000"],
    ]


@pytest.mark.shared
def test_recorded_answers_of_real_models_come_back(shared: Callable[[str], Path]) -> None:
    """Every hundredth GSM8K prompt gets the recorded answer of GPT-4, and of Mixtral, to the letter."""
    path = shared("data/responses_gsm8k_gpt4-1106_vs_mixtral.parquet")
    rows = pq.read_table(path, columns=["prompt", "strong_response", "weak_response"]).to_pylist()[::100]
    for column in ("strong_response", "weak_response"):
        with start_server(ReplaySpec(uri=str(path), answer=column)) as server:
            answers = [
                _post(server.base_url, "gpt-4", row["prompt"])[1]["choices"][0]["message"]["content"]
                for row in rows
            ]
        assert answers == [row[column] for row in rows]
