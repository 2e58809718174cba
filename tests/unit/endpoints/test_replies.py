"""What a 2xx body comes to: an answer wherever there is one, an error by its codes, and never a message's text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.errors import CallError
from routellm_batch.core.types import ErrorDetail, Reply, Usage, Verdict
from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.endpoints.replies import parse_reply

GOOD: dict[str, Any] = {
    "model": "m",
    "choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3},
}
COUNTED = Usage(7, 0, 3)
CALL = {"id": "c1", "type": "function", "function": {"name": "label", "arguments": '{"tone": "good"}'}}
CALLS = json.dumps([CALL])
THOUGHT = "It looks like A, but it is B."


def _with(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in (GOOD | changes).items() if value is not ...}).encode()


def _says(content: Any, finish: Any = "stop", **message: Any) -> bytes:
    return _with(choices=[{"message": {"content": content, **message}, "finish_reason": finish}])


def _outcome(content: bytes) -> tuple[Any, ...]:
    """Return what a body comes to: answer, failure and tokens, or an error's kind, verdict, possible bill and tokens."""
    try:
        reply = parse_reply(200, content)
    except CallError as error:
        return error.kind, error.verdict, error.maybe_billed, error.usage
    return reply.answer, reply.failure, reply.usage


SHAPES: dict[str, tuple[bytes, tuple[Any, ...]]] = {
    # without a count of tokens the answer is kept
    "usage null": (_with(usage=None), ("Yes.", None, None)),
    "usage absent": (_with(usage=...), ("Yes.", None, None)),
    "usage empty": (_with(usage={}), ("Yes.", None, None)),
    "usage a list": (_with(usage=[]), ("Yes.", None, None)),
    "usage of floats": (_with(usage={"prompt_tokens": 7.0, "completion_tokens": 3.5}), ("Yes.", None, None)),
    "usage of texts": (_with(usage={"prompt_tokens": "7", "completion_tokens": "3"}), ("Yes.", None, None)),
    "usage below 0": (_with(usage={"prompt_tokens": -1, "completion_tokens": 3}), ("Yes.", None, None)),
    "usage of truths": (_with(usage={"prompt_tokens": True, "completion_tokens": 3}), ("Yes.", None, None)),
    "usage too large": (_with(usage={"prompt_tokens": 10**40, "completion_tokens": 3}), ("Yes.", None, None)),
    "prompt tokens only": (_with(usage={"prompt_tokens": 7, "total_tokens": 10}), ("Yes.", None, None)),
    "usage NaN": (_with(usage=float("nan")), ("Yes.", None, None)),
    "counted as nothing": (_with(usage={"prompt_tokens": 0, "completion_tokens": 0}), ("Yes.", None, None)),
    "details a list": (_with(usage={**GOOD["usage"], "prompt_tokens_details": [1]}), ("Yes.", None, COUNTED)),
    # content in parts
    "one part": (_says([{"type": "text", "text": "Yes."}]), ("Yes.", None, COUNTED)),
    "parts": (
        _says([{"type": "text", "text": "Y"}, {"type": "output_text", "text": "es."}]),
        ("Yes.", None, COUNTED),
    ),
    "texts as parts": (_says(["Ye", "s."]), ("Yes.", None, COUNTED)),
    "a part alone": (_says({"type": "text", "text": "Yes."}), ("Yes.", None, COUNTED)),
    "a text's value": (_says([{"type": "text", "text": {"value": "Yes."}}]), ("Yes.", None, COUNTED)),
    "thinking part": (
        _says(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                {"type": "text", "text": "B"},
            ]
        ),
        ("B", None, COUNTED),
    ),
    "no parts": (_says([]), ("", None, COUNTED)),
    # what was thought is no answer
    "think": (_says(f"<think>\n{THOUGHT}\n</think>\n\nB"), ("B", None, COUNTED)),
    "think without its tag": (_says(f"{THOUGHT}\n</think>\n\nB"), ("B", None, COUNTED)),
    "think that never ends": (_says(f"<think>\n{THOUGHT}", "length"), ("", None, COUNTED)),
    "think in a part": (
        _says([{"type": "text", "text": f"<think>{THOUGHT}</think>B"}]),
        ("B", None, COUNTED),
    ),
    "reasoning_content": (_says("B", reasoning_content=THOUGHT), ("B", None, COUNTED)),
    "reasoning": (_says("B", reasoning=THOUGHT, reasoning_details=[{"text": THOUGHT}]), ("B", None, COUNTED)),
    "reasoning alone": (_says(None, "length", reasoning_content=THOUGHT), ("", None, COUNTED)),
    # tool calls
    "tool calls": (_says(None, "tool_calls", tool_calls=[CALL]), (CALLS, None, COUNTED)),
    "tool calls, stopped": (_says("", "stop", tool_calls=[CALL]), (CALLS, None, COUNTED)),
    "one tool call alone": (_says(None, "tool_calls", tool_calls=CALL), (CALLS, None, COUNTED)),
    "text and tool calls": (
        _says("Let me see.", "tool_calls", tool_calls=[CALL]),
        (json.dumps({"content": "Let me see.", "tool_calls": [CALL]}), None, COUNTED),
    ),
    "thought and tool calls": (_says(f"<think>{THOUGHT}</think>", tool_calls=[CALL]), (CALLS, None, COUNTED)),
    "function call": (
        _says(None, "function_call", function_call={"name": "f", "arguments": "{}"}),
        ('[{"type": "function", "function": {"name": "f", "arguments": "{}"}}]', None, COUNTED),
    ),
    "no tool calls": (_says("Yes.", tool_calls=[]), ("Yes.", None, COUNTED)),
    # refused and filtered
    "refusal": (_says(None, refusal="I can't."), ("I can't.", Kind.REFUSAL, COUNTED)),
    "refusal part": (
        _says([{"type": "refusal", "refusal": "I can't."}]),
        ("I can't.", Kind.REFUSAL, COUNTED),
    ),
    "refusal and text": (_says("Sorry.", refusal="I can't."), ("Sorry.", Kind.REFUSAL, COUNTED)),
    "refusal as the reason": (_says("I can't.", "refusal"), ("I can't.", Kind.REFUSAL, COUNTED)),
    "no refusal": (_says("Yes.", refusal=None), ("Yes.", None, COUNTED)),
    "filtered": (_says(None, "content_filter"), ("", Kind.CONTENT_FILTER, COUNTED)),
    "filtered half-way": (
        _says("The way to", "content_filter"),
        ("The way to", Kind.CONTENT_FILTER, COUNTED),
    ),
    "filtered elsewhere": (_says("The way to", "SAFETY"), ("The way to", Kind.CONTENT_FILTER, COUNTED)),
    # nothing, paid for
    "no choice": (_with(choices=[]), ("", None, COUNTED)),
    "choices null": (_with(choices=None), ("", None, COUNTED)),
    "an empty choice": (_with(choices=[{}]), ("", None, COUNTED)),
    "no text": (_says("", "length"), ("", None, COUNTED)),
    # other fields
    "model null": (_with(model=None), ("Yes.", None, COUNTED)),
    "model a number": (_with(model=5), ("Yes.", None, COUNTED)),
    "finish reason a number": (_says("Yes.", 5), ("Yes.", None, COUNTED)),
    "keep-alive before it": (b"\n\n  \n" + _with(), ("Yes.", None, COUNTED)),
    "byte-order mark": (b"\xef\xbb\xbf" + _with(), ("Yes.", None, COUNTED)),
    "error null": (_with(error=None), ("Yes.", None, COUNTED)),
    "error empty": (_with(error={"code": 0, "message": ""}), ("Yes.", None, COUNTED)),
    # an error in place of an answer
    **{
        name: (json.dumps(body).encode(), (kind, verdict, False, None))
        for name, body, kind, verdict in (
            ("429", {"error": {"message": "slow", "code": 429}}, Kind.RATE_LIMITED, Verdict.WAIT),
            ("429 as a text", {"error": {"code": "429"}}, Kind.RATE_LIMITED, Verdict.WAIT),
            ("429 by name", {"error": {"code": "rate_limit_exceeded"}}, Kind.RATE_LIMITED, Verdict.WAIT),
            ("429 by type", {"error": {"type": "RateLimitError"}}, Kind.RATE_LIMITED, Verdict.WAIT),
            ("429 in a list", [{"error": {"code": 429}}], Kind.RATE_LIMITED, Verdict.WAIT),
            ("429 with choices", {"error": {"code": 429}, "choices": []}, Kind.RATE_LIMITED, Verdict.WAIT),
            ("429 itself", {"object": "error", "code": 429}, Kind.RATE_LIMITED, Verdict.WAIT),
            ("502", {"error": {"code": 502}}, Kind.SERVER_ERROR, Verdict.RETRY),
            ("503 by status", {"error": {"status": "UNAVAILABLE"}}, Kind.SERVER_ERROR, Verdict.RETRY),
            (
                "529",
                {"type": "error", "error": {"type": "overloaded_error"}},
                Kind.SERVER_ERROR,
                Verdict.RETRY,
            ),
            ("error as a name", {"error": "server_error"}, Kind.SERVER_ERROR, Verdict.RETRY),
            ("no credit", {"error": {"code": "insufficient_quota"}}, Kind.QUOTA, Verdict.FATAL),
            ("400", {"error": {"code": 400, "type": "invalid_request_error"}}, Kind.BAD_REQUEST, Verdict.ROW),
            ("too long", {"error": {"code": "context_length_exceeded"}}, Kind.CONTEXT_LENGTH, Verdict.ROW),
        )
    },
    "an error of no kind": (
        b'{"error": {"message": "upstream"}}',
        (Kind.BAD_REPLY, Verdict.RETRY, True, None),
    ),
    "an error as a sentence": (b'{"error": "no luck today"}', (Kind.BAD_REPLY, Verdict.RETRY, True, None)),
    # an answer that was not ended
    "finish reason error": (_says("Partial te", "error"), (Kind.SERVER_ERROR, Verdict.RETRY, True, COUNTED)),
    **{
        f"{code} in the choice": (
            _with(choices=[{"message": {"content": "Partial"}, "error": {"code": code}}], usage=usage),
            (kind, verdict, True, counted),
        )
        for code, kind, verdict, usage, counted in (
            (502, Kind.SERVER_ERROR, Verdict.RETRY, GOOD["usage"], COUNTED),
            (503, Kind.SERVER_ERROR, Verdict.RETRY, None, None),
            (429, Kind.SERVER_ERROR, Verdict.RETRY, None, None),
            (403, Kind.AUTH, Verdict.ROW, None, None),
            (400, Kind.BAD_REQUEST, Verdict.ROW, None, None),
        )
    },
    "502 beside the choice": (_with(error={"code": 502}), (Kind.SERVER_ERROR, Verdict.RETRY, True, COUNTED)),
}


@pytest.mark.parametrize(("content", "outcome"), SHAPES.values(), ids=SHAPES)
def test_every_shape_of_reply_comes_to_what_it_says(content: bytes, outcome: tuple[Any, ...]) -> None:
    """What was answered is kept, what was not is an error of its own kind, and only what may be billed is."""
    assert outcome == _outcome(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!doctype html><title>Gateway</title>",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        _with()[: len(_with()) // 2],
        b"\xff\xfe" + _with(),
        _with(choices=..., usage=None),
        _with(choices=[], usage=None),
        _with(choices={}, usage={}),
        _with(choices=["Yes."], usage=None),
        _with(choices=[{"message": None}], usage=None),
        _with(choices=[{"text": "Yes."}], usage=None),
        _with(choices=[{"message": {"content": 5}}], usage=None),
        _with(choices=[{"message": {"content": [5]}}], usage=None),
        b"[" * 100_000,
        b'{"usage": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_completion_is_a_bad_reply_that_may_be_billed(content: bytes) -> None:
    """A 200 of another shape is never an answer: it is tried again, and its worst cost is presumed."""
    assert (Kind.BAD_REPLY, Verdict.RETRY, True, None) == _outcome(content)


def test_a_good_reply_is_read_whole() -> None:
    """Answer, reason, model and every count of tokens are taken."""
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert Reply("Yes.", "stop", "m", Usage(7, 4, 3, 2)) == parse_reply(200, _with(usage=usage))


def test_an_error_in_a_reply_says_what_it_is() -> None:
    """Its status, code, type and param are taken, and its message is not."""
    error = {
        "message": "secret",
        "code": "unsupported_parameter",
        "type": "invalid_request_error",
        "param": "top_k",
    }
    with pytest.raises(CallError) as caught:
        parse_reply(200, json.dumps({"error": error}).encode())
    expected = ErrorDetail(400, "unsupported_parameter", "invalid_request_error", "top_k")
    assert (expected, "400 unsupported_parameter (top_k)") == (caught.value.detail, str(caught.value.detail))


def test_what_can_not_be_stored_is_replaced() -> None:
    """A lone surrogate anywhere in a reply becomes a question mark, as no file can hold it."""
    message = {"message": {"content": "a\ud800b"}, "finish_reason": "st\udfffop"}
    reply = parse_reply(200, _with(model="m\ud800", choices=[message]))
    assert ("a?b", "st?op", "m?") == (reply.answer, reply.finish_reason, reply.model)
    call = {"message": {"content": None, "tool_calls": [{"k\ud800": "v\ud800"}]}}
    assert '[{"k?": "v?"}]' == parse_reply(200, _with(choices=[call])).answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "message", "x", "error", "code", "type", "text", "tool_calls", "refusal"]
            ),
            inner,
        )
    ),
    max_leaves=6,
)


@given(
    changes=st.dictionaries(st.sampled_from(["usage", "choices", "model", "error"]), JSON), paid=st.booleans()
)
def test_no_json_breaks_the_parser(changes: dict[str, Any], *, paid: bool) -> None:
    """Whatever JSON comes, the outcome is a reply or a CallError."""
    body = {**GOOD, **changes, "usage": GOOD["usage"]} if paid else {**GOOD, **changes}
    try:
        reply = parse_reply(200, json.dumps(body).encode())
    except CallError as error:
        assert error.kind in Kind
    else:
        assert isinstance(reply.answer, str)
