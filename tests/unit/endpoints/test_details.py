"""What an error says for programs is kept where it is an identifier, and neither the prompt's words nor a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.logs import hide
from routellm_batch.core.types import ErrorDetail
from routellm_batch.endpoints.details import detail_of, without_quotes


def _error(**fields: Any) -> dict[str, Any]:
    return {"error": {"message": "The prompt was: tell me a secret", **fields}}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            _error(code="unsupported_parameter", type="bad", param="max_tokens"),
            "400 unsupported_parameter (max_tokens)",
        ),
        (_error(code=None, type="invalid_request_error", param=None), "400 invalid_request_error"),
        (
            _error(code="wrong", param="messages[0].content[1].image_url"),
            "400 wrong (messages[0].content[1].image_url)",
        ),
        (_error(code=400, type="BadRequestError"), "400 BadRequestError"),
        (_error(code="400", status="INVALID_ARGUMENT"), "400 INVALID_ARGUMENT"),
        (_error(code=1211), "400 1211"),
        ([_error(code=400, status="FAILED_PRECONDITION")], "400 FAILED_PRECONDITION"),
        (
            {"object": "error", "type": "BadRequestError", "code": 400, "param": "n"},
            "400 BadRequestError (n)",
        ),
        ({"code": "DataInspectionFailed", "message": "…"}, "400 DataInspectionFailed"),
        ({"error": "model_not_loaded"}, "400 model_not_loaded"),
        ({"error": "The model could not be loaded"}, "400"),
        (
            {"detail": [{"loc": ["body", "messages", 0, "content"], "type": "missing"}]},
            "400 (messages[0].content)",
        ),
        ({"detail": "Not authenticated"}, "400"),
        (None, "400"),
        ("text", "400 text"),
        ([], "400"),
        # not identifiers, or too long
        (_error(code="tell me a secret"), "400"),
        (_error(code="a" * 65), "400"),
        (_error(code="naïve"), "400"),
        (_error(code="line\nbreak"), "400"),
        (_error(code=12345678), "400"),
        (_error(code={"a": 1}, type=["b"], param=3), "400"),
        (_error(code=True), "400"),
        (_error(code="sk-abcdefgh12345678"), "400"),
        (_error(param="messages: tell me a secret"), "400"),
    ],
)
def test_status_code_type_and_param_are_kept_where_they_are_identifiers(body: Any, text: str) -> None:
    """In every form that providers give them; a message never."""
    assert text == str(detail_of(400, body))


def test_a_2xx_gives_way_to_the_status_in_its_body() -> None:
    """An error that came under a 200 has the status that it names, if it names one."""
    assert [429, 502, None] == [
        detail_of(200, body).status
        for body in (_error(code=429), {"error": {"status_code": "502"}}, _error())
    ]


def test_a_key_of_this_process_is_never_kept() -> None:
    """A provider may repeat the key that it refuses."""
    hide("plain-key-of-theirs")
    assert ErrorDetail(401) == detail_of(401, _error(code="plain-key-of-theirs"))


@pytest.mark.parametrize(
    ("detail", "kept"),
    [
        (
            ErrorDetail(400, "unsupported_parameter", "bad", "max_tokens"),
            "400 unsupported_parameter (max_tokens)",
        ),
        (ErrorDetail(400, "zanzibar"), "400"),
        (ErrorDetail(400, "Zanzibar", "wrong"), "400 wrong"),
        (ErrorDetail(400, "timeout"), "400 timeout"),
        (ErrorDetail(400, "wrong", None, "messages[0].zanzibar"), "400 wrong"),
        (ErrorDetail(400, "wrong", None, "messages[0].content"), "400 wrong (messages[0].content)"),
    ],
)
def test_what_repeats_the_prompt_is_left_out(detail: ErrorDetail, kept: str) -> None:
    """A code or a path of words that a turn holds is not kept; the names of the API are, whatever a turn says."""
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Zanzibar, max_tokens, content: timeout?"}]}
    ]
    request = json.dumps({"model": "m", "messages": turns, "max_tokens": 5}).encode()
    assert kept == str(without_quotes(detail, request))


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_nothing_breaks_it(body: Any) -> None:
    """Whatever an endpoint sends as an error, what is kept is short and printable."""
    text = str(detail_of(500, body))
    assert text.isascii()
    assert len(text) < 200
