"""Chats as the chat API takes them: which fields of a turn are sent, and what makes a turn impossible to send."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from routellm_batch.core.types import InvalidKind, PartKind
from routellm_batch.storage.arrow_types import plain_type

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

TURN = ("role", "content", "name", "tool_calls", "tool_call_id")
"""Fields of a turn that are sent; all others stay here, as they may hold personal data."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "text": (),
    "refusal": (),
    "image_url": ("url", "detail"),
    "video_url": ("url",),
    "audio_url": ("url",),
    "input_audio": ("data", "format"),
    "file": ("file_id", "file_data", "filename"),
}
"""Types of content parts. Each has one field of the same name: a text, or an object with these fields."""

PART_KINDS: Mapping[str, PartKind] = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "input_audio": "audio",
    "file": "file",
}
"""Types of content parts whose bytes say nothing of their tokens → what they hold."""

CALLS: Mapping[str, tuple[str, ...]] = {"function": ("name", "arguments"), "custom": ("name", "input")}
"""Types of tool calls. Each has one field of the same name: an object with these fields."""


class _UnsendableError(Exception):
    """A part of a chat that the API has no form for; the text says what is wrong, and holds nothing of the chat."""


@dataclass(frozen=True, slots=True)
class BadChat:
    """Why a chat can't be sent."""

    why: str
    """In words, without anything of what the chat says."""
    turn: int | None = None
    """Which turn, from 1; None for the chat as a whole."""

    def __str__(self) -> str:
        """Return what ``failed/`` has as the kind: its first word, to the colon, is that of all such rows."""
        where = "" if self.turn is None else f"turn {self.turn}: "
        return f"{InvalidKind.BAD_MESSAGES}: {where}{self.why}"


def sendable_chat(value: Any) -> list[dict[str, Any]] | InvalidKind | BadChat:
    """Return the turns of a chat with the API's fields alone, in the order given and without nulls.

    Args:
        value: of a messages column: a list of turns, where it is valid.

    Returns:
        The turns; which turn can't be sent, and why; ``BAD_UTF8`` where a text is not UTF-8.

    """
    if not isinstance(value, list):
        return BadChat("it is not a list of turns")
    chat: list[dict[str, Any]] = []
    try:
        for turn in value:
            chat.append(_turn(turn))  # noqa: PERF401 - how many there are is the number of the bad one
        json.dumps(chat, ensure_ascii=False).encode("utf-8")  # JSON may spell a lone surrogate
    except _UnsendableError as error:
        return BadChat(str(error), len(chat) + 1)
    except (UnicodeError, RecursionError):
        return InvalidKind.BAD_UTF8
    return chat


def turn_text(turn: Mapping[str, Any]) -> str:
    """Return what a turn says as it travels: its text, and JSON text of content parts and tool calls.

    Images, audio and files are left out: they are no text, and are counted by ``input.part_tokens``.
    """
    content = turn.get("content", "")
    if not isinstance(content, str):
        said = [part for part in content if part["type"] not in PART_KINDS]
        content = json.dumps(said, ensure_ascii=False) if said else ""
    text = content
    return text + (json.dumps(turn["tool_calls"], ensure_ascii=False) if "tool_calls" in turn else "")


def other_parts(chat: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the content parts of a chat that are no text, in order."""
    contents = (turn.get("content") for turn in chat)
    lists = (content for content in contents if isinstance(content, list))
    return [part for content in lists for part in content if part["type"] in PART_KINDS]


def may_hold_parts(text: bytes) -> bool:
    """Whether a chat as JSON text may hold an image, audio or a file."""
    return any(name.encode() in text for name in PART_KINDS)


def is_chat(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a list of turns: structs with a role and a content."""
    kind = plain_type(kind)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(
        kind.value_type
    ):
        return False
    names = [field.name for field in kind.value_type]
    return {"role", "content"} <= set(names) and all(names.count(name) < 2 for name in TURN)


def without_extra_fields(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of chats without the fields of a turn that are never sent, so that they are not even decoded."""
    kind = plain_type(column.type)
    fields = [field for field in kind.value_type if field.name in TURN]
    return column.cast(pa.large_list(pa.struct(fields)))


def _turn(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise _UnsendableError("it is not an object with a role and a content")
    sent: dict[str, Any] = {}
    for name, value in turn.items():
        if name not in TURN or value is None:
            continue
        if name == "content":
            sent[name] = _content(value)
        elif name != "tool_calls":
            sent[name] = _text(value, name)
        elif calls := [_call(call) for call in _list(value, name) if call is not None]:
            sent[name] = calls  # the API refuses an empty list
    if sent.get("role") not in ROLES:
        raise _UnsendableError(
            "its role is " + ("missing" if "role" not in sent else "none of the chat API's")
        )
    calls_only = sent["role"] == "assistant" and "tool_calls" in sent
    if calls_only and sent.get("content") == []:
        del sent["content"]
    if "content" not in sent and not calls_only:
        raise _UnsendableError("it has no content")
    return sent


def _content(value: Any) -> str | list[dict[str, Any]]:
    if isinstance(value, list):
        return [_part(part) for part in value if part is not None]
    return _text(value, "content")


def _part(part: Any) -> dict[str, Any]:
    return _typed(part, PARTS, ("type",), "a content part")


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
        # Other tools keep arguments as an object; the API has them as JSON text.
        call = {**call, "function": {**function, "arguments": _json(function["arguments"])}}
    if isinstance(call, dict) and call.get("type") is None:
        call = {**call, "type": "function"}
    return _typed(call, CALLS, ("id", "type"), "a tool call")


def _typed(
    value: Any, types: Mapping[str, tuple[str, ...]], beside: tuple[str, ...], what: str
) -> dict[str, Any]:
    """Return an object of some type with its own field and those beside it alone."""
    if not isinstance(value, dict):
        raise _UnsendableError(f"{what} is not an object")
    kind = _text(value.get("type"), f"the type of {what}")
    if kind not in types:
        raise _UnsendableError(f"{what} is of a type that the chat API does not have")
    if value.get(kind) is None:
        raise _UnsendableError(f"{what} of type {kind} has no {kind}")
    names = (*beside, kind)
    return {
        _text(name, "a name"): _object(part, types[kind], kind) if name == kind else _text(part, name)
        for name, part in value.items()
        if name in names and part is not None
    }


def _object(value: Any, names: tuple[str, ...], what: str) -> str | dict[str, str]:
    if not isinstance(value, dict):
        return _text(value, what)
    sent = {
        name: _text(value[name], f"{what}.{name}")
        for name in value
        if name in names and value[name] is not None
    }
    if not sent:
        raise _UnsendableError(f"{what} is empty")
    return sent


def _json(value: Any) -> str:
    try:
        return json.dumps(_without_nulls(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        raise _UnsendableError("a tool call's arguments are not JSON") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_without_nulls(part) for part in value if part is not None]
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _UnsendableError(f"{what} is not a list")
    return value


def _text(value: Any, what: str) -> str:
    """Return a text; bytes are text, as they are in a column of prompts."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise _UnsendableError(f"{what} is {'missing' if value is None else 'not a text'}")
    return value
