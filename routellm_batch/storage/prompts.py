"""Input rows as the stages see them: ids, chats, and why a row is invalid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.config.job import ColumnsConfig, InputConfig, LabelConfig
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import InputFile, InvalidKind, RowId, Shard
from routellm_batch.storage.arrow_types import is_text, plain_column, value_type
from routellm_batch.storage.chats import BadChat, is_chat, sendable_chat, turn_text, without_extra_fields

MAX_ID_BYTES = 1024
MAX_ID = (1 << 63) - 1

Chat = Sequence[Mapping[str, Any]]
"""Messages as an OpenAI-compatible endpoint takes them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row's prompt, checked."""

    chat: Chat
    """Messages to send, system turn first where there is one."""
    text: str
    """Routing text: the non-system turns, joined by blank lines."""
    chars: int
    """Characters of all turns."""
    size_bytes: int
    """UTF-8 bytes of all turns as they travel (JSON text where a turn is not plain text)."""

    @property
    def content(self) -> bytes:
        """16-byte digest of the chat: equal chats are the same request, once they go to the same endpoint."""
        canonical = json.dumps(self.chat, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(canonical.encode("utf-8"), digest_size=16).digest()


def input_columns(columns: ColumnsConfig, keep: Sequence[str] = ()) -> list[str]:
    """Return the names of the columns to read, each once: id, prompt or messages, system, and those to keep."""
    names = [
        columns.id,
        columns.prompt or columns.messages or "",
        *([columns.system] if columns.system else []),
        *keep,
    ]
    return list(dict.fromkeys(names))


def tie_hash(row_id: RowId, seed: int) -> int:
    """Return the keyed 64-bit hash of a row id, which orders rows of equal score."""
    key = seed.to_bytes(16, "little", signed=True)
    return int.from_bytes(
        hashlib.blake2b(str(row_id).encode("utf-8"), digest_size=8, key=key).digest(), "little"
    )


def decode_ids(column: pa.ChunkedArray, file: InputFile, shard: Shard, name: str) -> list[RowId | None]:
    """Return the ids of a shard as text or integers; None for a null.

    Raises:
        DataError: an id is not UTF-8, longer than 1 KiB, or above 2^63 - 1.

    """
    values = _plain(column).to_pylist()
    ids: list[RowId | None] = []
    for offset, value in enumerate(values):
        row_id = _utf8(value) if isinstance(value, bytes) else value
        problem = None if value is None else _id_problem(row_id)
        if problem is not None:
            raise DataError(problem, file=file.uri, column=name, row=shard.start + offset)
        ids.append(row_id)
    return ids


def _id_problem(row_id: RowId | None) -> str | None:
    if row_id is None:
        return "the id is not UTF-8"
    if isinstance(row_id, int):
        return "the id is above 2^63 - 1" if row_id > MAX_ID else None
    return f"the id is longer than {MAX_ID_BYTES} characters" if len(row_id) > MAX_ID_BYTES else None


def decode_prompts(
    table: pa.Table, config: InputConfig, label: LabelConfig | None
) -> list[Prompt | InvalidKind | BadChat]:
    """Return each row's prompt, or why the row is invalid. A prompt is sent as it is.

    Args:
        table: rows of the input.
        config: names the columns, and limits a prompt's size.
        label: what a label must look like, where one is asked for.

    """
    columns = config.columns
    system = _plain(table.column(columns.system)).to_pylist() if columns.system else [None] * table.num_rows
    source = _values(_plain(table.column(columns.prompt or columns.messages or "")))
    extra = label_instruction(label)
    decode = _from_text if columns.prompt else _from_messages
    return [
        decode(value, _opening(extra, turn), config.max_prompt_bytes)
        for value, turn in zip(source, system, strict=True)
    ]


def label_instruction(label: LabelConfig | None) -> str | None:
    """Return the system text that asks for a label, or None where the config wants none."""
    if label is None or label.instruction == "":
        return None
    if label.instruction is not None:
        return label.instruction
    if label.values:
        return "Answer with exactly one of these labels and nothing else: " + ", ".join(label.values)
    return "Answer with JSON only, no other text, that holds to this JSON schema: " + json.dumps(
        label.schema_
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as values: text as bytes, as text in Parquet may be anything and is checked row by row."""
    column = plain_column(column)
    while (kind := value_type(column.type)) != column.type:
        column = column.cast(kind)
    if is_text(kind):
        return column.cast(pa.large_binary())
    return without_extra_fields(column) if is_chat(kind) else column


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; why a chat is invalid in place of one that can't be decoded."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return InvalidKind.BAD_UTF8
    except (ValueError, OverflowError):  # two fields of one name, or a time that no calendar has
        return BadChat("two fields have one name, or a time is none that a calendar has")


def _utf8(value: bytes) -> str | None:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _opening(extra: str | None, system: bytes | str | None) -> Any:
    """Return the system turn's text; InvalidKind where it is not UTF-8."""
    text = _utf8(system) if isinstance(system, bytes) else system
    if system is not None and text is None:
        return InvalidKind.BAD_UTF8
    given = text if text and text.strip() else None
    return "\n\n".join(part for part in (given, extra) if part) or None


def _from_text(value: bytes | str | None, opening: Any, max_bytes: int) -> Prompt | InvalidKind | BadChat:
    if value is None:
        return InvalidKind.NULL_PROMPT
    if len(value) > max_bytes:
        return InvalidKind.OVERSIZED_PROMPT
    text = _utf8(value) if isinstance(value, bytes) else value
    if text is None or isinstance(opening, InvalidKind):
        return InvalidKind.BAD_UTF8
    if not text.strip():
        return InvalidKind.EMPTY_PROMPT
    return _prompt([{"role": "user", "content": text}], opening, max_bytes)


def _from_messages(value: Any, opening: Any, max_bytes: int) -> Prompt | InvalidKind | BadChat:
    if value is None:
        return InvalidKind.NULL_PROMPT
    if isinstance(value, bytes):
        if len(value) > max_bytes:
            return InvalidKind.OVERSIZED_PROMPT
        text = _utf8(value)
        if text is None:
            return InvalidKind.BAD_UTF8
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return BadChat("its text is not JSON")
    if isinstance(opening, InvalidKind):
        return opening
    chat = value if isinstance(value, InvalidKind | BadChat) else sendable_chat(value)
    if isinstance(chat, InvalidKind | BadChat):
        return chat
    if not any(_text_of(turn).strip() for turn in chat if turn["role"] not in {"system", "developer"}):
        return InvalidKind.EMPTY_PROMPT
    return _prompt(chat, opening, max_bytes)


def _text_of(turn: Mapping[str, Any]) -> str:
    content = turn.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(
        str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _prompt(chat: list[dict[str, Any]], opening: str | None, max_bytes: int) -> Prompt | InvalidKind:
    sizes = [turn_text(turn) for turn in chat]
    size = sum(len(part.encode("utf-8")) for part in sizes)
    if size > max_bytes:
        return InvalidKind.OVERSIZED_PROMPT
    text = "\n\n".join(_text_of(turn) for turn in chat if turn["role"] not in {"system", "developer"})
    if opening is not None:  # the limit is on the prompt alone
        chat = [{"role": "system", "content": opening}, *chat]
        sizes.append(opening)
        size += len(opening.encode("utf-8"))
    return Prompt(chat, text, sum(map(len, sizes)), size)
