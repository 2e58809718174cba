"""Label jobs: valid labels in a column, a bad first answer asked again with what was wrong, a bad last one failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, job_config, nano, prompts, run_job, write_prompts
from helpers.stub import Answer, Call, Stub, answering, stub_server

from routellm_batch.core.errors import ConfigError

VALUES = {"values": ["spam", "ham"]}
SCHEMA = {
    "schema": {
        "type": "object",
        "properties": {"sentiment": {"enum": ["good", "bad"]}, "score": {"type": "number", "maximum": 1}},
        "required": ["sentiment"],
        "additionalProperties": False,
    }
}


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Both models."""
    with stub_server(answering("spam")) as server:
        yield server


def job(folder: Path, stub: Stub, *, label: dict[str, Any], **settings: Any) -> Finished:
    settings = {"budget": {"strong_share": 0}, "retry": {"max_error_rate": 1}, **settings}
    return run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, label=label, **settings))


def first_then(first: str, then: str) -> Any:
    """Answer a chat's first question with one text and every later one with another."""

    def script(call: Call) -> Answer:
        asked = sum(turn["role"] == "assistant" for turn in call.body["messages"])
        return Answer(then if asked else first)

    return script


def test_labels_stand_in_their_column(tmp_path: Path, stub: Stub) -> None:
    """Each row has its label beside the answer, in a text column of the configured name."""
    write_prompts(tmp_path / "in.parquet", prompts(6))
    stub.script = lambda call: Answer("ham" if "Prompt 2:" in call.prompt else " Spam.\n")
    result = job(tmp_path, stub, label={"column": "verdict", **VALUES})
    assert ["spam", "spam", "ham", "spam", "spam", "spam"] == [row["verdict"] for row in result.rows]
    assert (0, " Spam.\n", 6) == (result.exit_code, result.rows[0]["answer"], len(stub.calls))
    schema = pq.read_schema(pa.BufferReader(result.run.store.read("responses/000000.parquet")))
    assert pa.string() == schema.field("verdict").type


def test_without_a_label_there_is_no_label_column(tmp_path: Path, stub: Stub) -> None:
    """A plain job has the columns of the contract only."""
    write_prompts(tmp_path / "in.parquet", prompts(2))
    result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url))
    assert "label" not in result.rows[0]


def test_a_bad_first_answer_is_asked_again_with_the_error(tmp_path: Path, stub: Stub) -> None:
    """The model sees its answer and what was wrong with it; the second answer counts, both are paid for."""
    write_prompts(tmp_path / "in.parquet", ["A prompt."])
    stub.script = first_then("I think it is eggs", "spam")
    result = job(tmp_path, stub, label=VALUES)
    first, second = (call.body["messages"] for call in stub.calls)
    assert first == second[: len(first)]
    assert [{"role": "assistant", "content": "I think it is eggs"}] == second[len(first) : -1]
    assert ("user", True) == (second[-1]["role"], "not one of the labels" in second[-1]["content"])
    assert "exactly one of: spam, ham" in second[-1]["content"]
    row = result.rows[0]
    assert ("ok", "spam", "spam", 2, 20, 10) == tuple(
        row[name] for name in ("status", "label", "answer", "attempts", "input_tokens", "output_tokens")
    )
    assert stub.calls[0].key == row["request_key"]
    assert stub.calls[0].key != stub.calls[1].key
    assert (2 * (10 * 100 + 5 * 400), 2) == (
        nano(result.cost["spent_usd"]),
        result.cost["endpoints"]["weak"]["attempts"],
    )


@pytest.mark.parametrize(("reask", "calls"), [(0, 1), (1, 2), (3, 4)])
def test_a_row_that_stays_bad_is_failed(tmp_path: Path, stub: Stub, reask: int, calls: int) -> None:
    """After ``reask`` more questions the row is failed as an invalid label, with its last answer and no label."""
    write_prompts(tmp_path / "in.parquet", ["A prompt."])
    stub.script = answering("eggs")
    result = job(tmp_path, stub, label={**VALUES, "reask": reask})
    row = result.rows[0]
    assert (3, "failed", "invalid_label", None, "eggs", calls) == (
        result.exit_code,
        row["status"],
        row["error_kind"],
        row["label"],
        row["answer"],
        row["attempts"],
    )
    assert (calls, {"invalid_label": 1}) == (len(stub.calls), result.cost["errors"])


def test_json_labels_hold_to_their_schema(tmp_path: Path, stub: Stub) -> None:
    """JSON, bare or in a fence, is the label in one canonical form; what breaks the schema is asked again with where."""
    write_prompts(tmp_path / "in.parquet", ["plain", "fenced", "broken", "text"])
    answers = {
        "plain": '{"score": 0.5, "sentiment": "good"}',
        "fenced": '```json\n{"sentiment": "bad"}\n```',
        "broken": '{"sentiment": "good", "score": 7}',
        "text": "good",
    }

    def script(call: Call) -> Answer:
        return Answer(answers.get(call.prompt, '{"sentiment": "bad"}'))

    stub.script = script
    result = job(tmp_path, stub, label=SCHEMA)
    labels = {row["id"]: json.loads(row["label"]) for row in result.rows}
    assert [{"sentiment": "good", "score": 0.5}, *[{"sentiment": "bad"}] * 3] == list(labels.values())
    asked = " ".join(call.prompt for call in stub.calls if call.prompt not in answers)
    assert ["$.score" in asked, "it is not JSON" in asked, len(stub.calls)] == [True, True, 6]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (VALUES, "exactly one of these labels and nothing else: spam, ham"),
        (SCHEMA, '"enum": ["good", "bad"]'),
        ({**VALUES, "instruction": "Say spam or ham."}, "Say spam or ham."),
    ],
)
def test_the_model_is_told_what_is_wanted(
    tmp_path: Path, stub: Stub, label: dict[str, Any], words: str
) -> None:
    """A system turn asks for the label, after the row's own system text where there is one."""
    write_prompts(tmp_path / "in.parquet", ["A prompt."], sys=["Be kind."])
    stub.script = answering("spam" if label.get("values") else '{"sentiment": "bad"}')
    job(tmp_path, stub, label=label, input__columns__system="sys")
    system = stub.calls[0].body["messages"][0]
    assert ("system", True, True) == (
        system["role"],
        system["content"].startswith("Be kind."),
        words in system["content"],
    )


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        ("You moderate.", "You moderate.\n\nSay spam or ham."),
        ([{"type": "text", "text": "You moderate."}], None),
    ],
)
def test_a_chats_own_system_turn_takes_the_instruction(
    tmp_path: Path, stub: Stub, opening: Any, expected: str | None
) -> None:
    """One system turn is sent, as many servers refuse a second one: the chat's own text, then the instruction."""
    chat = [{"role": "system", "content": opening}, {"role": "user", "content": "A post."}]
    write_prompts(tmp_path / "in.parquet", ["unused"], chat=[json.dumps(chat)])
    columns = {"id": "id", "messages": "chat"}
    job(tmp_path, stub, label={**VALUES, "instruction": "Say spam or ham."}, input__columns=columns)
    parts = [*opening, {"type": "text", "text": "Say spam or ham."}] if expected is None else expected
    assert [{"role": "system", "content": parts}, chat[1]] == stub.calls[0].body["messages"]


def test_an_empty_instruction_adds_nothing(tmp_path: Path, stub: Stub) -> None:
    """Prompts that ask for the label themselves are sent as they are."""
    write_prompts(tmp_path / "in.parquet", ["Spam or ham?"])
    job(tmp_path, stub, label={**VALUES, "instruction": ""})
    assert [{"role": "user", "content": "Spam or ham?"}] == stub.calls[0].body["messages"]


def test_an_empty_answer_is_not_asked_again(tmp_path: Path, stub: Stub) -> None:
    """A model that says nothing has failed the row; there is no answer to show it."""
    write_prompts(tmp_path / "in.parquet", ["A prompt."])
    stub.script = answering("")
    result = job(tmp_path, stub, label=VALUES)
    assert ("empty_answer", 1) == (result.rows[0]["error_kind"], len(stub.calls))


def test_a_second_question_that_fails_keeps_what_the_first_cost(tmp_path: Path, stub: Stub) -> None:
    """If asking again meets an error, the row is failed with that error and the cost of both."""
    write_prompts(tmp_path / "in.parquet", ["A prompt."])
    stub.script = lambda call: Answer("eggs", status=200 if len(call.body["messages"]) == 2 else 400)
    result = job(tmp_path, stub, label=VALUES)
    row = result.rows[0]
    assert ("failed", "bad_request", 2, True) == (
        row["status"],
        row["error_kind"],
        row["attempts"],
        row["cost_usd"] > 0,
    )


def test_asking_again_is_paid_from_the_cap(tmp_path: Path, stub: Stub) -> None:
    """Under a hard cap the follow-up is reserved like any call; what can't be paid for is unfunded and not lost."""
    write_prompts(tmp_path / "in.parquet", prompts(6))
    stub.script = first_then("eggs", "spam")
    cap = {"budget": {"strong_share": 0, "hard_cap_usd": Decimal("0.00007")}}
    small = {
        "endpoints__weak__estimate": {"output_tokens": 1},
        "endpoints__weak__params": {"max_completion_tokens": 5},
    }
    stopped = job(tmp_path, stub, label=VALUES, **cap, **small)
    sent = len(stub.calls)
    assert (4, True) == (stopped.exit_code, sent * (10 * 100 + 5 * 400) <= 70_000)
    done = job(tmp_path, stub, label=VALUES, budget={"strong_share": 0, "hard_cap_usd": Decimal(1)}, **small)
    assert (0, ["spam"] * 6) == (done.exit_code, [row["label"] for row in done.rows])


@pytest.mark.parametrize("column", ["answer", "lang"])
def test_a_label_column_may_not_hide_another(tmp_path: Path, stub: Stub, column: str) -> None:
    """A label column with the name of an output or kept column is refused before anything is sent."""
    write_prompts(tmp_path / "in.parquet", prompts(2), lang=["de", "fr"])
    with pytest.raises(ConfigError, match=column):
        job(tmp_path, stub, label={"column": column, **VALUES}, input__keep=["lang"])
    assert [] == stub.calls


FLAT = {
    "schema": {
        "type": "object",
        "properties": {
            "tone": {"enum": ["good", "bad"]},
            "stars": {"type": "integer"},
            "weight": {"type": ["number", "null"]},
            "sure": {"type": "boolean"},
        },
        "required": ["tone"],
    },
    "columns": True,
}


def test_the_fields_of_a_flat_schema_are_columns(tmp_path: Path, stub: Stub) -> None:
    """Each field stands in a column of its own type beside the whole label; one that is missing or too large is null."""
    write_prompts(tmp_path / "in.parquet", ["full", "short", "bad"])
    answers = {
        "full": '{"tone": "good", "stars": 5, "weight": 1, "sure": true}',
        "short": '{"tone": "bad", "weight": null, "stars": 1' + "0" * 30 + "}",
    }
    stub.script = lambda call: Answer(answers.get(call.prompt, "eggs"))
    result = job(tmp_path, stub, label=FLAT)
    names = ("tone", "stars", "weight", "sure")
    assert [("good", 5, 1.0, True), ("bad", None, None, None), (None,) * 4] == [
        tuple(row[name] for name in names) for row in result.rows
    ]
    schema = pq.read_schema(pa.BufferReader(result.run.store.read("responses/000000.parquet")))
    assert [pa.string(), pa.int64(), pa.float64(), pa.bool_()] == [schema.field(name).type for name in names]
    assert ("label", *names) == tuple(schema.names[-5:])


@pytest.mark.parametrize("field", ["answer", "label", "lang"])
def test_a_field_may_not_hide_another_column(tmp_path: Path, stub: Stub, field: str) -> None:
    """A field with the name of an output, label or kept column is refused before anything is sent."""
    write_prompts(tmp_path / "in.parquet", prompts(2), lang=["de", "fr"])
    schema = {"type": "object", "properties": {field: {"type": "string"}}}
    with pytest.raises(ConfigError, match=f"label.columns.*{field}"):
        job(tmp_path, stub, label={"schema": schema, "columns": True}, input__keep=["lang"])
    assert [] == stub.calls


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({**VALUES, "columns": True}, "needs a schema"),
        ({"schema": {"type": "array"}, "columns": True}, "type: object"),
        (
            {"schema": {"type": "object", "properties": {"tags": {"type": "array"}}}, "columns": True},
            "the field 'tags'",
        ),
        ({"schema": {"properties": {"a": {"$ref": "#/$defs/gone"}}}}, "is not in this schema"),
        ({"schema": {"properties": {"a": {"pattern": "(?=x)"}}}}, "RE2"),
    ],
)
def test_a_schema_that_can_not_be_used_is_refused(
    tmp_path: Path, stub: Stub, label: dict[str, Any], words: str
) -> None:
    """A schema without columns, with references to nothing or with a pattern that RE2 can't search is a config error."""
    with pytest.raises(ConfigError, match=words):
        job(tmp_path, stub, label=label)


def test_the_report_counts_labels_and_invalid_answers(tmp_path: Path, stub: Stub) -> None:
    """The terminal and cost.json say how often labels came, what was asked again and why some are invalid."""
    write_prompts(tmp_path / "in.parquet", prompts(6))
    answers = {"0": "ham", "1": "eggs", "2": "spam or ham"}
    stub.script = lambda call: Answer(
        answers.get(
            str(call.body["messages"][1]["content"]).partition(":")[0].removeprefix("Prompt "), "spam"
        )
    )
    result = job(tmp_path, stub, label=VALUES)
    expected = {
        "column": "label",
        "labelled": 4,
        "given": {"spam": 3, "ham": 1},
        "others": 0,
        "reasked": 2,
        "invalid": {"no_label": 1, "several_labels": 1},
    }
    assert expected == result.cost["labels"]
    line = next(line for line in result.lines if "labels" in line)
    assert "spam 3, ham 1; 2 asked again; 2 invalid (1 no label is named, 1 more than one is named)" in line


def test_a_job_of_bad_labels_does_not_blame_the_endpoint(tmp_path: Path, stub: Stub) -> None:
    """Where most answers are no labels, the run stops with 5 and says that the labels are bad."""
    write_prompts(tmp_path / "in.parquet", prompts(30))
    stub.script = answering("eggs")
    result = job(tmp_path, stub, label={**VALUES, "reask": 0}, retry={"max_error_rate": 0.5})
    text = "\n".join(result.lines)
    assert (5, True, False) == (result.exit_code, "not valid labels" in text, "Fix the endpoint" in text)
