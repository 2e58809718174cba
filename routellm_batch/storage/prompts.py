"""Input rows as the stages see them: ids, chats, and why a row is invalid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.budget.tokens import chat_tokens
from routellm_batch.config.job import (
    USUAL_PART_TOKENS,
    ColumnsConfig,
    Config,
    InputConfig,
    LabelConfig,
    cap_keys,
)
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.types import InputFile, InvalidKind, PartKind, RowId, Shard
from routellm_batch.storage.arrow_types import is_text, plain_column, value_type
from routellm_batch.storage.chats import (
    PART_KINDS,
    BadChat,
    is_chat,
    may_hold_parts,
    other_parts,
    sendable_chat,
    turn_text,
    without_extra_fields,
)

MAX_ID_BYTES = 1024
MAX_ID = (1 << 63) - 1
SYSTEM_ROLES = frozenset({"system", "developer"})

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
    """Characters of all turns; images, audio and files have none."""
    tokens: int
    """Input tokens that are expected of the chat, its images, audio and files included."""
    size_bytes: int
    """UTF-8 bytes of all turns as they travel (JSON text where a turn is not plain text), those of images etc. aside."""
    parts: tuple[PartKind, ...] = ()
    """What the chat holds that is no text, part by part."""

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
    return [decode(value, _opening(turn), extra, config) for value, turn in zip(source, system, strict=True)]


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


def _opening(system: bytes | str | None) -> Any:
    """Return the text of the system column; InvalidKind where it is not UTF-8."""
    text = _utf8(system) if isinstance(system, bytes) else system
    if system is not None and text is None:
        return InvalidKind.BAD_UTF8
    return text if text and text.strip() else None


def _from_text(
    value: bytes | str | None, opening: Any, extra: str | None, config: InputConfig
) -> Prompt | InvalidKind | BadChat:
    if value is None:
        return InvalidKind.NULL_PROMPT
    if len(value) > config.max_prompt_bytes:
        return InvalidKind.OVERSIZED_PROMPT
    text = _utf8(value) if isinstance(value, bytes) else value
    if text is None or isinstance(opening, InvalidKind):
        return InvalidKind.BAD_UTF8
    if not text.strip():
        return InvalidKind.EMPTY_PROMPT
    return _prompt([{"role": "user", "content": text}], (opening, extra), config)


def _from_messages(
    value: Any, opening: Any, extra: str | None, config: InputConfig
) -> Prompt | InvalidKind | BadChat:
    if value is None:
        return InvalidKind.NULL_PROMPT
    if isinstance(value, bytes):
        if len(value) > config.max_prompt_bytes and not may_hold_parts(value):
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
    if not any(_text_of(turn).strip() for turn in chat if turn["role"] not in SYSTEM_ROLES):
        return InvalidKind.EMPTY_PROMPT
    return _prompt(chat, (opening, extra), config)


def _text_of(turn: Mapping[str, Any]) -> str:
    content = turn.get("content", "")
    if isinstance(content, str):
        return content
    return "\n".join(
        str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
    )


def _prompt(
    chat: list[dict[str, Any]], added: tuple[str | None, str | None], config: InputConfig
) -> Prompt | InvalidKind:
    """Return a chat as a prompt.

    Args:
        chat: its turns.
        added: the row's system text, and what asks for a label; None where there is none. They make a system turn of their
            own, or go into the one that the chat begins with, as many servers take one system turn alone.
        config: the limit on the chat as it was given, and what parts that are not text cost.

    """
    if sum(len(turn_text(turn).encode("utf-8")) for turn in chat) > config.max_prompt_bytes:
        return InvalidKind.OVERSIZED_PROMPT
    text = "\n\n".join(_text_of(turn) for turn in chat if turn["role"] not in SYSTEM_ROLES)
    before, after = added
    if chat[0]["role"] in SYSTEM_ROLES and (before or after):
        chat = [_joined(chat[0], before, after), *chat[1:]]
    elif before or after:
        chat = [{"role": "system", "content": "\n\n".join(part for part in added if part)}, *chat]
    sizes = [turn_text(turn) for turn in chat]
    size = sum(len(part.encode("utf-8")) for part in sizes)
    parts = tuple(PART_KINDS[part["type"]] for part in other_parts(chat))
    tokens = chat_tokens("".join(sizes), len(chat)) + sum(map(config.part_tokens.expected, parts))
    return Prompt(chat, text, sum(map(len, sizes)), tokens, size, parts)


def _joined(turn: dict[str, Any], before: str | None, after: str | None) -> dict[str, Any]:
    """Return a system turn with a text before what it says, and one after it."""
    content = turn.get("content", "")
    if isinstance(content, str):
        parts = (before, content if content.strip() else None, after)
        return {**turn, "content": "\n\n".join(part for part in parts if part)}
    first, last = ([{"type": "text", "text": part}] if part else [] for part in (before, after))
    return {**turn, "content": [*first, *content, *last]}


def refuse_unbounded(
    prompts: Sequence[Prompt | InvalidKind | BadChat], rows: Sequence[int], config: Config, file: str
) -> None:
    """Refuse prompts with an image, audio or a file of which nobody knows what it costs at most, where there is a cap.

    Args:
        prompts: some rows'.
        rows: where each lies in the file.
        config: the job.
        file: URI of the file.

    Raises:
        ConfigError: ``input.part_tokens`` lacks a kind of part that one of them has.

    """
    caps = cap_keys(config)
    if not caps:
        return
    for prompt, row in zip(prompts, rows, strict=True):
        for kind in prompt.parts if isinstance(prompt, Prompt) else ():
            if config.input.part_tokens.bound(kind) is None:
                a_part = f"{'an' if kind in {'image', 'audio'} else 'a'} {kind}"
                problem = (
                    f"is needed: row {row} of {file} holds {a_part} part, and {caps[0]} reserves the worst case of "
                    f"each call; give the most tokens that an endpoint bills for one, e.g. "
                    f"input.part_tokens.{kind}={USUAL_PART_TOKENS[kind]}"
                )
                raise ConfigError(f"input.part_tokens.{kind}", problem)
