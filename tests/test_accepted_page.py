"""docs/accepted.md: every row of its tables is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers.jobs import job_config

from routellm_batch.answers.choices import ChoiceReader
from routellm_batch.answers.labels import read_label
from routellm_batch.answers.numbers import NumericReader
from routellm_batch.config.graders import ChoiceConfig, NumericConfig
from routellm_batch.config.job import LabelConfig
from routellm_batch.core.errors import CallError
from routellm_batch.core.types import Verdict
from routellm_batch.endpoints.replies import parse_reply
from routellm_batch.storage.chats import sendable_chat
from routellm_batch.storage.prompts import Prompt, decode_prompts

PAGE = Path(__file__).resolve().parents[1] / "docs" / "accepted.md"
VALUES = LabelConfig(column="label", values=("positive", "negative", "not sure"))
OBJECTS = LabelConfig.model_validate(
    {
        "column": "label",
        "schema": {
            "type": "object",
            "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
            "required": ["label"],
        },
    }
)
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "string": (pa.string(), ["Hi"]),
    "large_string": (pa.large_string(), ["Hi"]),
    "string_view": (pa.string_view(), ["Hi"]),
    "dictionary<string>": (pa.dictionary(pa.int32(), pa.string()), ["Hi"]),
    "binary": (pa.binary(), [b"Hi", b"\xff"]),
    "null": (pa.null(), [None]),
}
AGAIN = {Verdict.RETRY: "tried again", Verdict.WAIT: "tried again later", Verdict.ROW: "failed"}


def number(answer: str) -> str:
    """Return the number of an answer as the page writes it."""
    found = NumericReader(NumericConfig(kind="numeric", reference="r")).answer(answer)
    return "none" if found is None else str(found.value * found.scale)


def letter(answer: str) -> str:
    """Return the letter of an answer."""
    return ChoiceReader(ChoiceConfig(kind="choice", reference="r")).answer(answer) or "none"


def label(answer: str) -> str:
    """Return the label of an answer among values."""
    found = read_label(VALUES, answer).label
    return "none" if found is None else f"`{found}`"


def labelled_object(answer: str) -> str:
    """Return the label of an answer by schema."""
    found = read_label(OBJECTS, answer).label
    return "none" if found is None else f"`{found}`"


def chat(text: str) -> str:
    """Return what is sent of a chat."""
    sent = sendable_chat(json.loads(text))
    return f"`{json.dumps(sent) if isinstance(sent, list) else sent}`"


def reply(text: str) -> str:
    """Return what a reply with some special fields is."""
    special = json.loads(text)
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    body: dict[str, Any] = {"model": "m", "usage": special.pop("usage", usage)}
    if "error" in special:
        body = special
    else:
        finish = special.pop("finish_reason", "stop")
        body["choices"] = [{"index": 0, "message": special, "finish_reason": finish}]
    try:
        found = parse_reply(200, json.dumps(body).encode())
    except CallError as error:
        return f"{AGAIN[error.verdict]}: `{error.kind}`"
    if found.failure is not None:
        return f"failed: `{found.failure}`"
    return f"answer `{found.answer}`" + (", worst case presumed" if found.usage is None else "")


def column(name: str, tmp_path: Path) -> str:
    """Return what prompts of an Arrow type are."""
    kind, cells = TYPES[name]
    config = job_config(tmp_path).input
    table = pa.table({"id": pa.array(range(len(cells))), "prompt": pa.array(cells, kind)})
    first, *rest = decode_prompts(table, config, None)
    if isinstance(first, Prompt):
        return "text" + "".join(f", where it is UTF-8; else the row is invalid: `{one}`" for one in rest)
    return f"nothing: the row is invalid: `{first}`"


READERS: dict[str, Callable[[str], str]] = {
    "chats": chat,
    "replies": reply,
    "labels": label,
    "objects": labelled_object,
    "numbers": number,
    "letters": letter,
}


def rows_of(section: str) -> Iterator[tuple[str, str]]:
    """Yield the two cells of each row of the table behind a mark, the first without its code marks."""
    table = PAGE.read_text("utf-8").partition(f"<!-- accepted: {section} -->\n\n")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        first, second = re.split(r"(?<!\\)\|", line)[1:3]
        yield first.strip().strip("`").replace("\\|", "|").replace("⏎", "\n"), second.strip()


CASES = [(section, *row) for section in READERS for row in rows_of(section)]


@pytest.mark.parametrize(("section", "given", "expected"), CASES)
def test_the_page_says_what_is_accepted(section: str, given: str, expected: str) -> None:
    """Each row of each table says what the program makes of it."""
    assert expected == READERS[section](given)


@pytest.mark.parametrize(("name", "expected"), [*rows_of("columns")])
def test_the_page_says_which_columns_are_texts(name: str, expected: str, tmp_path: Path) -> None:
    """Each Arrow type is what the page says."""
    assert expected == column(name, tmp_path)


def test_no_table_is_left_out() -> None:
    """Every mark of the page has a reader, and every table has rows."""
    marks = re.findall(r"<!-- accepted: (\w+) -->", PAGE.read_text("utf-8"))
    assert sorted(marks) == sorted([*READERS, "columns"])
    assert all(list(rows_of(mark)) for mark in marks)
