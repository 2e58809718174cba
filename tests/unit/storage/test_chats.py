"""Chats from other tools: what of a turn is sent, what makes a chat invalid, and text in every Arrow type."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.config.job import ColumnsConfig, InputConfig
from routellm_batch.core.types import InvalidKind
from routellm_batch.storage.arrow_types import plain_table
from routellm_batch.storage.chats import sendable_chat, turn_text
from routellm_batch.storage.inputs import pin_files, read_rows
from routellm_batch.storage.prompts import Prompt, decode_prompts

CONFIG = InputConfig(uri="x", columns=ColumnsConfig(messages="m"))
USER = {"role": "user", "content": "hello"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def decode(column: pa.Array) -> list[Any]:
    return list(decode_prompts(pa.table({"m": column}), CONFIG, None))


def read_back(column: pa.Array, folder: Path) -> list[Any]:
    """Return the prompts of a file's second and later rows, as a resumed shard reads them."""
    path = folder / "a.parquet"
    table = pa.table({"id": [f"r{n}" for n in range(len(column))], "m": column})
    pq.write_table(table, path)
    file = pin_files([str(path)], CONFIG)[0]
    rows = read_rows(file, 0, len(column), ["m"]).take(pa.array(range(1, len(column))))
    return list(decode_prompts(rows, CONFIG, None))


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 5, 1, tzinfo=UTC),
        date(2024, 5, 1),
        Decimal("1.50"),
        b"\xff\x00",
        7,
        True,
        ["Paris"],
        {"city": "Paris"},
    ],
)
def test_an_extra_field_of_a_turn_is_never_sent(value: Any) -> None:
    """Whatever a tool keeps beside a turn stays here: it may be personal, and JSON may have no form for it."""
    assert [USER] == decode(pa.array([[{**USER, "extra": value}]]))[0].chat


def test_an_extra_field_is_not_even_decoded() -> None:
    """A time beyond the calendar in a field that isn't sent makes no row invalid."""
    kind = pa.list_(pa.struct([("at", pa.timestamp("s")), ("role", pa.string()), ("content", pa.string())]))
    assert [USER] == decode(pa.array([[{"at": 2**50, **USER}]], kind))[0].chat


@pytest.mark.parametrize("value", [datetime(2024, 5, 1, tzinfo=UTC), Decimal("1.50"), 7, {"a": 1}])
@pytest.mark.parametrize("field", ["role", "content", "name"])
def test_a_field_of_the_api_that_is_no_text_makes_the_row_invalid(field: str, value: Any) -> None:
    """What the API has no form for is an invalid row, not an error of the whole run."""
    turn = {**USER, "name": "Ada", field: value}
    assert ["bad_messages: turn 1"] == [str(one)[:20] for one in decode(pa.array([[turn]]))]


def test_bytes_in_a_turn_are_text() -> None:
    """Bytes are read as UTF-8, as in a column of prompts; other bytes make the row invalid."""
    texts = decode(pa.array([[{"role": "user", "content": b"h\xc3\xa9"}]]))
    assert [{"role": "user", "content": "hé"}] == texts[0].chat
    assert [InvalidKind.BAD_UTF8] == decode(pa.array([[{"role": "user", "content": b"\xff"}]]))


TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int32(), pa.string()),
    pa.dictionary(pa.int8(), pa.large_string()),
]


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
@pytest.mark.parametrize("listed", [pa.list_, pa.large_list], ids=["list", "large list"])
def test_every_arrow_text_is_text_inside_a_chat(kind: pa.DataType, listed: Any) -> None:
    """The type that a tool chose for a turn's text changes nothing of what is sent."""
    chats = [[USER], None, [USER, {"role": "assistant", "content": "hi"}]]
    plain = pa.array(chats, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))
    turns = plain.flatten()
    texts = [_encoded(turns.field(name), kind) for name in ("role", "content")]
    inner = pa.StructArray.from_arrays(texts, names=["role", "content"])
    column = pa.ListArray.from_arrays(plain.offsets, inner, mask=plain.is_null())
    if listed is not pa.list_:
        column = column.cast(listed(column.type.value_type))
    decoded = decode(column)
    assert chats[0] == decoded[0].chat
    assert InvalidKind.NULL_PROMPT is decoded[1]
    assert chats[2] == decoded[2].chat


def _encoded(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return texts.dictionary_encode().cast(kind)
    return texts.cast(kind)


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_every_arrow_text_is_text_in_a_column(kind: pa.DataType, tmp_path: Path) -> None:
    """A chat as JSON text may lie in any text column, and rows can be taken out of it."""
    column = _encoded(pa.array([json.dumps([USER])] * 3), kind)
    assert [[USER]] * 2 == [prompt.chat for prompt in read_back(column, tmp_path)]


def test_rows_are_taken_out_of_chats_with_views() -> None:
    """Chats that hold views, as Polars writes them, are made plain, so that any of their rows can be taken."""
    part = pa.struct([("type", pa.string_view()), ("text", pa.string_view())])
    kind = pa.list_(pa.struct([("role", pa.string_view()), ("content", pa.list_(part))]))
    chat = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    table = plain_table(pa.table({"m": pa.array([None, chat], kind)}))
    rows = table.take(pa.array([1]))
    assert [chat] == [prompt.chat for prompt in decode_prompts(rows, CONFIG, None)]


def test_a_dictionary_of_views_is_text() -> None:
    """Arrow has no kernel that decodes such a column; it is text all the same."""
    words = pa.array([json.dumps([USER])], pa.string_view())
    column = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int32()), words)
    assert [[USER], InvalidKind.NULL_PROMPT] == [getattr(one, "chat", one) for one in decode(column)]


def test_nulls_inside_content_parts_are_left_out() -> None:
    """A part has only the fields of its own type: a struct column has those of all types, mostly null."""
    image = {"url": "https://x.example/cat.png"}
    chat = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?", "image_url": None},
                None,
                {
                    "type": "image_url",
                    "text": None,
                    "image_url": {**image, "detail": None, "path": "/home/a"},
                },
            ],
        }
    ]
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": image}]
    assert [{"role": "user", "content": parts}] == sendable_chat(chat)


def test_tool_calls_need_no_content() -> None:
    """An assistant turn may be calls alone; its calls and the tool's answer are sent."""
    chat = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]},
        {"role": "tool", "content": "2", "tool_call_id": "c1", "tool_calls": []},
    ]
    prompt = decode(pa.array([json.dumps(chat)]))[0]
    assert isinstance(prompt, Prompt)
    tool = {"role": "tool", "content": "2", "tool_call_id": "c1"}
    assert [USER, {"role": "assistant", "tool_calls": [CALL]}, tool] == prompt.chat
    assert len("hello" + "2" + json.dumps([CALL])) == prompt.chars


def test_arguments_of_a_call_travel_as_json_text() -> None:
    """Other tools keep a call's arguments as an object, in a struct column with the nulls of other calls."""
    call = {"id": "c1", "function": {"name": "add", "arguments": {"a": 1, "b": None}}}
    assert [{"role": "assistant", "tool_calls": [{**CALL, "id": "c1"}]}] == [
        {name: _sorted(part) for name, part in turn.items()}
        for turn in sendable_chat([{"role": "assistant", "tool_calls": [call]}])
    ]


def _sorted(value: Any) -> Any:
    return json.loads(json.dumps(value, sort_keys=True))


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user"},
        {"role": "assistant", "content": None},
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "tool_calls": ["add"]},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function"}]},
        {"role": "assistant", "tool_calls": [{"function": {"arguments": {"at": date(2024, 5, 1)}}}]},
        {"role": "user", "tool_calls": [CALL]},
        {"role": "human", "content": "x"},
        {"content": "x"},
        {"role": "user", "content": {"text": "x"}},
        {"role": "user", "content": ["x"]},
        {"role": "user", "content": [{"type": "text", "text": 5}]},
        {"role": "user", "content": [{"type": "image"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"bytes": b"\x89PNG"}}]},
        "x",
        None,
    ],
)
def test_a_turn_that_cannot_be_sent_makes_the_row_invalid(turn: Any) -> None:
    """A turn or part that the API has no form for is found before anything is paid."""
    assert str(sendable_chat([USER, turn])).startswith("bad_messages: turn 2: ")


@pytest.mark.parametrize(
    "turn",
    [
        {"content": "hello", "role": "user"},
        {"role": "user", "content": [{"text": "a", "type": "text"}], "name": "Ada"},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"format": "wav", "data": "x"}}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ],
)
def test_what_the_api_has_is_sent_in_the_order_given(turn: dict[str, Any]) -> None:
    """The order of the fields is part of a request's key, so a run begun before keeps its keys."""
    assert json.dumps([turn]) == json.dumps(sendable_chat([turn]))


def test_a_turns_text_counts_parts_and_calls() -> None:
    """What is counted of a turn is what travels: text as it is, parts and calls as JSON."""
    assert ("hello", json.dumps([CALL])) == (turn_text(USER), turn_text({"tool_calls": [CALL]}))


@pytest.mark.parametrize(
    ("chat", "kind"),
    [
        ({"role": "user"}, "bad_messages: it is not a list of turns"),
        ([USER, "hello"], "bad_messages: turn 2: it is not an object with a role and a content"),
        ([USER, {"content": "x"}], "bad_messages: turn 2: its role is missing"),
        ([{"role": "robot", "content": "x"}], "bad_messages: turn 1: its role is none of the chat API's"),
        ([USER, USER, {"role": "user"}], "bad_messages: turn 3: it has no content"),
        ([{"role": "user", "content": 5}], "bad_messages: turn 1: content is not a text"),
        ([{"role": "user", "content": [5]}], "bad_messages: turn 1: a content part is not an object"),
        (
            [{"role": "user", "content": [{"type": "hologram"}]}],
            "bad_messages: turn 1: a content part is of a type that the chat API does not have",
        ),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "bad_messages: turn 1: a content part of type text has no text",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}],
            "bad_messages: turn 1: image_url.url is not a text",
        ),
        (
            [{"role": "assistant", "content": "x", "tool_calls": "f"}],
            "bad_messages: turn 1: tool_calls is not a list",
        ),
    ],
)
def test_a_bad_chat_says_which_turn_and_why(chat: Any, kind: str) -> None:
    """The kind of an invalid row names the turn, from 1, and what is wrong with it, and nothing that it says."""
    assert kind == str(sendable_chat(chat))


TURNS = [{"role": "user", "content": "Hi"}]
STRUCT = pa.struct([("role", pa.string()), ("content", pa.string())])


@pytest.mark.parametrize(
    "chats",
    [
        pa.array([TURNS], pa.list_view(STRUCT)),
        pa.array([TURNS], pa.large_list_view(STRUCT)),
        pa.array(['[{"role": "user", "content": "Hi"}]'], pa.json_()),
        pa.DictionaryArray.from_arrays(
            pa.array([0], pa.int8()), pa.array(['[{"role":"user","content":"Hi"}]'])
        ),
        pa.RunEndEncodedArray.from_arrays([1], pa.array(['[{"role": "user", "content": "Hi"}]'])),
    ],
    ids=["list_view", "large_list_view", "json extension", "dictionary", "run-end-encoded"],
)
def test_encodings_of_arrow_are_chats(chats: pa.Array) -> None:
    """Views, extension types, dictionaries and runs hold the same chats as plain types do."""
    found = decode_prompts(
        pa.table({"m": chats}), InputConfig(uri="x", columns=ColumnsConfig(messages="m")), None
    )
    assert [TURNS] == [prompt.chat for prompt in found if isinstance(prompt, Prompt)]
