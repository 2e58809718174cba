"""Input rows as the stages see them: chats as they are sent, sizes, digests, and why a row is not valid."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.config.job import ColumnsConfig, InputConfig, LabelConfig
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import InputFile, InvalidKind, Shard
from routellm_batch.storage.prompts import (
    Prompt,
    decode_ids,
    decode_prompts,
    input_columns,
    label_instruction,
    tie_hash,
)

FILE = InputFile("file:///in.parquet", 1, "sha256:x", (100,))
SHARD = Shard(3, 0, 40, 10)


def decode(
    table: dict[str, Any], *, label: LabelConfig | None = None, limit: int = 1000, **columns: str
) -> list[Any]:
    config = InputConfig(uri="x", columns=ColumnsConfig(**columns), max_prompt_bytes=limit)
    return list(decode_prompts(pa.table(table), config, label))


def one(text: Any, **settings: Any) -> Any:
    return decode({"p": pa.array([text])}, prompt="p", **settings)[0]


@given(st.text(min_size=1, max_size=40))
def test_a_prompt_is_sent_as_it_is(text: str) -> None:
    """A text with something in it is one user turn, unchanged, with its characters and bytes counted."""
    found = one(text)
    if not text.strip():
        assert InvalidKind.EMPTY_PROMPT is found
        return
    assert ([{"role": "user", "content": text}], text) == (found.chat, found.text)
    assert (len(text), len(text.encode())) == (found.chars, found.size_bytes)


@given(st.text(max_size=12), st.text(max_size=12))
def test_equal_chats_have_equal_digests(left: str, right: str) -> None:
    """Two prompts are the same request if and only if their texts are the same."""
    one_prompt, other = one(f"x{left}"), one(f"x{right}")
    assert (left == right) == (one_prompt.content == other.content)
    assert 16 == len(one_prompt.content)


@pytest.mark.parametrize("space", ["\u00a0", "\u3000", "\u2028", "\u2009\t", "\x1c", "\x85"])
def test_unicode_space_is_space(space: str) -> None:
    """A prompt of any Unicode space is empty, as ``str.strip`` has it."""
    assert InvalidKind.EMPTY_PROMPT is one(space)


@pytest.mark.parametrize("text", ["\u200b", "\x00", "\ufeff", "."])
def test_what_is_not_space_is_a_prompt(text: str) -> None:
    """Invisible characters that ``str.strip`` keeps make a prompt."""
    assert isinstance(one(text), Prompt)


@pytest.mark.parametrize(
    ("text", "valid"), [("é" * 5, True), ("é" * 5 + "x", False), ("x" * 10, True), ("x" * 11, False)]
)
def test_the_limit_is_in_bytes(text: str, *, valid: bool) -> None:
    """A prompt may have as many UTF-8 bytes as the limit says, and not one more."""
    assert valid == isinstance(one(text, limit=10), Prompt)


def test_opening_turns_are_counted_but_not_limited() -> None:
    """System text and label instruction travel and are paid for; they don't make a prompt oversized."""
    label = LabelConfig(values=("yes", "no"))
    table = {"p": ["x" * 10], "s": ["Be kind."]}
    found = decode(table, prompt="p", system="s", label=label, limit=10)[0]
    system = f"Be kind.\n\n{label_instruction(label)}"
    assert [{"role": "system", "content": system}, {"role": "user", "content": "x" * 10}] == found.chat
    assert ("x" * 10, 10 + len(system), 10 + len(system)) == (found.text, found.chars, found.size_bytes)


def test_an_undecodable_system_text_makes_the_row_invalid() -> None:
    """A system turn that is not UTF-8 can't be sent, so neither is its row."""
    table = {"p": ["fine", "fine", None], "s": pa.array([b"\xff", b"ok", b"\xff"], pa.binary())}
    found = decode(table, prompt="p", system="s")
    assert [InvalidKind.BAD_UTF8, InvalidKind.NULL_PROMPT] == [found[0], found[2]]
    assert isinstance(found[1], Prompt)


def test_the_routing_text_of_a_chat_leaves_system_turns_out() -> None:
    """Routers read the turns of user and assistant, joined by blank lines; parts count by their text."""
    chat = (
        '[{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "one"},'
        ' {"type": "image_url", "image_url": {"url": "http://x"}}]}, {"role": "assistant", "content": "two"},'
        ' {"role": "developer", "content": "D"}, {"role": "user", "content": "three"}]'
    )
    found = decode({"m": [chat]}, messages="m")[0]
    assert ("one\n\ntwo\n\nthree", 5) == (found.text, len(found.chat))


def test_nulls_in_a_turn_are_left_out() -> None:
    """What a struct column leaves null in a turn is not sent."""
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("name", pa.string())]))
    chat = [{"role": "user", "content": "x", "name": None}]
    assert [{"role": "user", "content": "x"}] == decode({"m": pa.array([chat], kind)}, messages="m")[0].chat


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (pa.array([b"a", b"\xff"], pa.binary()), "row 41: the id is not UTF-8"),
        (pa.array(["a", "b" * 1025]), "row 41: the id is longer than 1024"),
        (pa.array([1, 2**63], pa.uint64()), "row 41: the id is above 2^63 - 1"),
    ],
)
def test_bad_ids_are_named_by_file_and_row(array: pa.Array, words: str) -> None:
    """The row is counted in the file, not in the shard."""
    with pytest.raises(DataError) as caught:
        decode_ids(pa.chunked_array([array]), FILE, SHARD, "key")
    assert f"file:///in.parquet, column 'key', {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None]), ["a", None]),
        (pa.array(["", "ü"], pa.large_string()), ["", "ü"]),
        (pa.array([b"a"], pa.binary()), ["a"]),
        (pa.array([1, None], pa.int16()), [1, None]),
        (pa.array([2**63 - 1], pa.uint64()), [2**63 - 1]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
    ],
)
def test_ids_are_text_or_integers(array: pa.Array, expected: list[Any]) -> None:
    """Every encoding of an id gives the same value; null stays null."""
    assert expected == decode_ids(pa.chunked_array([array]), FILE, SHARD, "id")


@given(st.integers(-(2**31), 2**31), st.text(max_size=10), st.text(max_size=10))
def test_tie_hashes_are_keyed_by_the_seed(seed: int, left: str, right: str) -> None:
    """A row's hash is a 64-bit number of id and seed alone."""
    assert tie_hash(left, seed) == tie_hash(left, seed)
    assert (left == right) == (tie_hash(left, seed) == tie_hash(right, seed))
    assert tie_hash(left, seed) != tie_hash(left, seed + 1)
    assert 0 <= tie_hash(left, seed) < 2**64


def test_tie_hashes_never_change() -> None:
    """The hash is part of what a plan means on storage: these values are for ever."""
    assert [18286312252638045621, 10154001447124968725] == [tie_hash("r0001", 0), tie_hash(-7, 5)]


def test_each_column_is_read_once() -> None:
    """Id, text and kept columns are asked for by name, without repeats."""
    assert ["id", "p", "s", "lang"] == input_columns(
        ColumnsConfig(id="id", prompt="p", system="s"), ["lang", "p", "lang"]
    )
