"""The client over real HTTP on loopback: every way a reply can go wrong has its kind, verdict and price."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest
from helpers.patience import patience
from helpers.stub import Answer, Script, answering, stub_server
from pydantic import TypeAdapter
from yarl import URL

from routellm_batch.config.connection import DIRECT, Reach
from routellm_batch.config.endpoints import BaseUrl
from routellm_batch.core.errors import CallError, ConfigError
from routellm_batch.core.types import ErrorKind as Kind
from routellm_batch.core.types import RateHint, Reply, Usage, Verdict
from routellm_batch.endpoints import client as module
from routellm_batch.endpoints.client import OpenAIEndpoint

BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Grüße 👋"}],
    "temperature": 0,
    "unheard_of": [1],
}
CONTENT = json.dumps(BODY, ensure_ascii=False).encode()
HEADERS = {"X-Request-Key": "k", "X-Attempt": "1"}


def send(
    url: str,
    *,
    key: str | None = None,
    timeout_s: float | None = None,
    times: int = 1,
    reach: Reach = DIRECT,
) -> Reply:
    async def play() -> Reply:
        endpoint = OpenAIEndpoint(url, key, connections=4, reach=reach)
        try:
            for _ in range(times - 1):
                await endpoint.send(CONTENT, HEADERS, timeout_s or patience(5))
            return await endpoint.send(CONTENT, HEADERS, timeout_s or patience(5))
        finally:
            await endpoint.close()

    return asyncio.run(play())


def failure(script: Script, *, timeout_s: float | None = None) -> CallError:
    with stub_server(script) as stub, pytest.raises(CallError) as caught:
        send(stub.base_url, timeout_s=timeout_s)
    assert len(stub.calls) == 1
    return caught.value


def error_body(code: str) -> bytes:
    return json.dumps({"error": {"message": "quota insufficient_quota", "type": "t", "code": code}}).encode()


def test_a_reply_is_read_and_the_request_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Body, headers and key go out unchanged; answer and usage come back."""
    monkeypatch.setenv("CLIENT_TEST_KEY", " secret-key\n")
    with stub_server(answering("Hallo 👋")) as stub:
        reply = send(stub.base_url, key="env:CLIENT_TEST_KEY")
    call = stub.calls[0]
    assert ("Hallo 👋", "stop", Usage(10, 0, 5)) == (reply.answer, reply.finish_reason, reply.usage)
    assert CONTENT == call.raw
    assert ("k", 1, "Bearer secret-key") == (call.key, call.attempt, call.headers["Authorization"])


def test_connections_are_kept() -> None:
    """Ten requests after each other are ten requests to the endpoint, none of them retried by the SDK."""
    with stub_server() as stub:
        send(stub.base_url, times=10)
    assert len(stub.calls) == 10


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(status=400), (Kind.BAD_REQUEST, Verdict.ROW, False)),
        (
            Answer(status=400, body=error_body("context_length_exceeded")),
            (Kind.CONTEXT_LENGTH, Verdict.ROW, False),
        ),
        (Answer(status=401), (Kind.AUTH, Verdict.FATAL, False)),
        (Answer(status=403), (Kind.AUTH, Verdict.REFUSED, False)),
        (Answer(status=404), (Kind.NOT_FOUND, Verdict.REFUSED, False)),
        (Answer(status=408), (Kind.SERVER_ERROR, Verdict.RETRY, True)),
        (Answer(status=409), (Kind.SERVER_ERROR, Verdict.RETRY, False)),
        (Answer(status=413), (Kind.BAD_REQUEST, Verdict.ROW, False)),
        (Answer(status=422), (Kind.BAD_REQUEST, Verdict.ROW, False)),
        (Answer(status=429), (Kind.RATE_LIMITED, Verdict.WAIT, False)),
        (Answer(status=429, body=error_body("insufficient_quota")), (Kind.QUOTA, Verdict.FATAL, False)),
        (Answer(status=429, body=error_body("other")), (Kind.RATE_LIMITED, Verdict.WAIT, False)),
        (Answer(status=500), (Kind.SERVER_ERROR, Verdict.RETRY, True)),
        (
            Answer(status=502, body=b"<html>", content_type="text/html"),
            (Kind.SERVER_ERROR, Verdict.RETRY, True),
        ),
        (Answer(status=503, body=b""), (Kind.SERVER_ERROR, Verdict.RETRY, True)),
        (Answer(status=529, body=b"[1]"), (Kind.SERVER_ERROR, Verdict.RETRY, True)),
        (Answer(status=204, body=b""), (Kind.BAD_REPLY, Verdict.RETRY, True)),
        (Answer(body=b"<p>Please wait.", content_type="text/html"), (Kind.BAD_REPLY, Verdict.RETRY, True)),
        (Answer(body=b'{"choices": [{"mess'), (Kind.BAD_REPLY, Verdict.RETRY, True)),
        (Answer(body=b'{"error": {"message": "upstream"}}'), (Kind.BAD_REPLY, Verdict.RETRY, True)),
        (Answer(body=b""), (Kind.BAD_REPLY, Verdict.RETRY, True)),
        (Answer(headers={"Content-Encoding": "gzip"}), (Kind.CONNECTION, Verdict.RETRY, True)),
        (Answer(delivery="cut"), (Kind.CONNECTION, Verdict.RETRY, True)),
        (Answer(delivery="close"), (Kind.CONNECTION, Verdict.RETRY, True)),
    ],
)
def test_every_failure_has_its_class(answer: Answer, expected: tuple[Kind, Verdict, bool]) -> None:
    """One request is sent, and status, code and shape say what to do; message text says nothing."""
    error = failure(lambda _: answer)
    assert expected == (error.kind, error.verdict, error.maybe_billed)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "7", "retry-after-ms": "1500"}, 1.5),
        ({"Retry-After": "9999"}, 120.0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_travels_with_the_error(headers: dict[str, str], expected: float, status: int) -> None:
    """What the endpoint asks to wait is read from its headers, capped at two minutes."""
    assert expected == failure(answering(status=status, headers=headers)).retry_after_s


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_and_is_not_followed(status: int) -> None:
    """The prompt does not travel to the host that a redirect names."""
    with stub_server() as second:
        error = failure(answering(status=status, headers={"Location": f"{second.base_url}/chat/completions"}))
    assert (Kind.REDIRECT, Verdict.FATAL, []) == (error.kind, error.verdict, second.calls)


@pytest.mark.parametrize("answer", [Answer(delivery="drip"), Answer(delay_s=3)], ids=["drip", "hang"])
def test_the_deadline_is_total(answer: Answer) -> None:
    """A reply that comes byte by byte, or not at all, is given up at ``timeout_s``, and may be billed."""
    begun = time.monotonic()
    error = failure(lambda _: answer, timeout_s=0.3)
    assert (Kind.TIMEOUT, Verdict.RETRY, True) == (error.kind, error.verdict, error.maybe_billed)
    assert time.monotonic() - begun < patience(1.5)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://no-such-host.invalid/v1"])
def test_where_nobody_listens_nothing_is_owed(url: str) -> None:
    """A connection that never stood is told from one that broke."""
    with pytest.raises(CallError) as caught:
        send(url)
    error = caught.value
    assert (Kind.UNREACHABLE, Verdict.RETRY, False) == (error.kind, error.verdict, error.maybe_billed)


def test_a_connection_that_does_not_stand_in_time_owes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the network swallows the first packet nothing was sent, so nothing is presumed spent."""
    monkeypatch.setattr(module, "CONNECT_S", 0.2)
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than its queue holds: the next one is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003
            waiting.connect_ex(full.getsockname())
        with pytest.raises(CallError) as caught:
            send(f"http://127.0.0.1:{full.getsockname()[1]}/v1")
    error = caught.value
    assert (Kind.UNREACHABLE, Verdict.RETRY, False) == (error.kind, error.verdict, error.maybe_billed)


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """A server that hangs up after each reply costs a new connection, not a presumed spend."""
    with stub_server(answering(headers={"Connection": "close"})) as stub:
        send(stub.base_url, times=3)
    assert len(stub.calls) == 3


def test_cookies_are_neither_kept_nor_sent() -> None:
    """One row's reply changes no other row's request."""
    with stub_server(answering(headers={"Set-Cookie": "a=b; Path=/"})) as stub:
        send(stub.base_url, times=2)
    assert [False, False] == ["Cookie" in call.headers for call in stub.calls]


@pytest.mark.parametrize("status", [200, 429])
def test_what_the_endpoint_says_of_its_limits_travels_along(status: int) -> None:
    """Answers and refusals alike carry the rate-limit headers."""
    headers = {"X-RateLimit-Remaining-Requests": "3", "x-ratelimit-reset-tokens": "1m0.5s"}
    expected = RateHint(remaining_requests=3, reset_tokens_s=60.5)
    if status == 200:
        with stub_server(answering(headers=headers)) as stub:
            assert expected == send(stub.base_url).rate_hint
    else:
        assert expected == failure(answering(status=status, headers=headers)).rate_hint


def test_an_endless_reply_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply above the size limit is no answer."""
    monkeypatch.setattr(module, "MAX_REPLY_BYTES", 1000)
    assert failure(answering("x" * 2000)).kind is Kind.BAD_REPLY


def test_a_compressed_reply_is_read() -> None:
    """Gzip is undone by the transport."""
    packed = gzip.compress(Answer("Packed.").content())
    with stub_server(answering(body=packed, headers={"Content-Encoding": "gzip"})) as stub:
        assert send(stub.base_url).answer == "Packed."


@pytest.mark.parametrize(
    "answer", [Answer(status=500), Answer(body=b"{}"), Answer(status=401), Answer(delivery="cut")]
)
def test_errors_hold_no_text_of_request_or_reply(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither prompt nor key nor reply is in the error, its causes or its fields."""
    monkeypatch.setenv("CLIENT_TEST_KEY", "canary-key")
    with stub_server(lambda _: answer) as stub, pytest.raises(CallError) as caught:
        send(stub.base_url, key="env:CLIENT_TEST_KEY")
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__
    shown = f"{error!r} {error} {vars(error)}"
    assert [False] * 3 == [word in shown for word in ("canary", "Grüße", '"')]


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:CLIENT_TEST_NONE", "environment variable CLIENT_TEST_NONE is not set"),
        ("file:/no/such", "key file /no/such"),
    ],
)
def test_a_key_that_is_not_there_is_named_by_its_reference(reference: str, words: str) -> None:
    """An absent variable or file is a ConfigError before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        OpenAIEndpoint("http://127.0.0.1:9/v1", reference, connections=1)
    assert words in str(caught.value)


def test_a_key_file_is_read(tmp_path: Any) -> None:
    """``file:/path`` stands for the file's content, without the line's end."""
    (tmp_path / "key").write_text("from-file\n")
    with stub_server() as stub:
        send(stub.base_url, key=f"file:{tmp_path / 'key'}")
    assert stub.calls[0].headers["Authorization"] == "Bearer from-file"


def test_no_environment_setting_of_the_sdk_leaks_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_* and proxy variables of the shell change nothing: the config alone says what is called, with which key."""
    for name, value in {
        "OPENAI_API_KEY": "canary-key",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "OPENAI_ORG_ID": "canary-org",
        "OPENAI_PROJECT_ID": "canary-project",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "ALL_PROXY": "http://127.0.0.1:9",
    }.items():
        monkeypatch.setenv(name, value)
    with stub_server() as stub:
        send(stub.base_url)
    assert "canary" not in json.dumps(dict(stub.calls[0].headers))


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.example.com", "https://api.example.com/chat/completions"),
        ("https://api.example.com/", "https://api.example.com/chat/completions"),
        ("https://api.example.com//", "https://api.example.com/chat/completions"),
        ("https://api.example.com/v1", "https://api.example.com/v1/chat/completions"),
        ("https://api.example.com/v1/", "https://api.example.com/v1/chat/completions"),
        ("https://api.example.com/a/v1", "https://api.example.com/a/v1/chat/completions"),
        ("https://API.example.com/V1", "https://api.example.com/V1/chat/completions"),
        ("https://api.example.com:8443", "https://api.example.com:8443/chat/completions"),
        ("https://api.example.com:8443/", "https://api.example.com:8443/chat/completions"),
        ("https://api.example.com:8443/v1", "https://api.example.com:8443/v1/chat/completions"),
        ("https://api.example.com:443/v1", "https://api.example.com/v1/chat/completions"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/chat/completions"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]/chat/completions"),
        ("https://[2001:db8::1]:8443/v1", "https://[2001:db8::1]:8443/v1/chat/completions"),
        ("https://api.example.com/a%20b/v1", "https://api.example.com/a%20b/v1/chat/completions"),
        ("https://api.example.com/a%2Fb", "https://api.example.com/a%2Fb/chat/completions"),
        ("https://api.example.com/a;b=c,d/v1", "https://api.example.com/a;b=c,d/v1/chat/completions"),
        ("https://api.example.com/über", "https://api.example.com/%C3%BCber/chat/completions"),
        ("https://bücher.example", "https://xn--bcher-kva.example/chat/completions"),
        ("https://api.example.com/v1?", "https://api.example.com/v1/chat/completions"),
        ("https://api.example.com?v=1", "https://api.example.com/chat/completions?v=1"),
        ("https://api.example.com/?v=1", "https://api.example.com/chat/completions?v=1"),
        ("https://api.example.com/v1/?v=1", "https://api.example.com/v1/chat/completions?v=1"),
        (
            "https://h.example/openai/deployments/NAME?api-version=2024-10-21",
            "https://h.example/openai/deployments/NAME/chat/completions?api-version=2024-10-21",
        ),
        ("https://h.example:8443/v1?a=1&b=&c", "https://h.example:8443/v1/chat/completions?a=1&b=&c"),
        ("https://h.example/v1?a=1&a=2", "https://h.example/v1/chat/completions?a=1&a=2"),
        ("https://h.example/v1?a=x%2Fy%20z+w", "https://h.example/v1/chat/completions?a=x%2Fy%20z+w"),
        ("https://h.example/v1?path=/a/", "https://h.example/v1/chat/completions?path=/a/"),
        ("https://h.example/v1?a=b?c", "https://h.example/v1/chat/completions?a=b?c"),
        ("https://h.example/v1?stadt=köln", "https://h.example/v1/chat/completions?stadt=k%C3%B6ln"),
    ],
)
def test_a_path_is_joined_to_every_form_of_base_url(base_url: str, expected: str) -> None:
    """A request goes below the base URL, on its host and port, as the config reads the URL and as it is written."""
    urls: list[URL] = []

    async def play(url: str) -> None:
        endpoint = OpenAIEndpoint(url, None, connections=1)

        def post(url: URL, **_: Any) -> None:
            urls.append(url)
            raise aiohttp.InvalidURL(url)

        endpoint._session.post = post  # type: ignore[method-assign, assignment]
        try:
            with pytest.raises(CallError):
                await endpoint.send(CONTENT, HEADERS, 1)
        finally:
            await endpoint.close()

    for url in (base_url, TypeAdapter(BaseUrl).validate_python(base_url)):
        asyncio.run(play(url))
    assert [expected] * 2 == [str(url) for url in urls]


def test_a_query_of_the_config_follows_that_of_the_url() -> None:
    """Both travel, the URL's own as it was written; neither is in what an error says."""
    reach = Reach(query={"zone": "a b", "x": "1"})
    with stub_server(answering(status=500)) as stub, pytest.raises(CallError) as caught:
        send(f"{stub.base_url}?api-version=2024-10-21&r=%2F", reach=reach)
    assert ["/v1/chat/completions?api-version=2024-10-21&r=%2F&zone=a+b&x=1"] == [
        call.path for call in stub.calls
    ]
    assert "2024" not in str(caught.value)


def test_a_base_url_without_a_path_reaches_its_host() -> None:
    """Host and port alone are enough: the request arrives there, at a path that this server doesn't have."""
    with stub_server() as stub, pytest.raises(CallError) as caught:
        send(stub.base_url.removesuffix("/v1"))
    assert (Kind.NOT_FOUND, 404) == (caught.value.kind, caught.value.status)


@pytest.mark.parametrize("base_url", ["https://a..example/v1", f"https://{'a' * 64}.example"])
def test_a_url_that_cant_be_called_is_fatal_and_not_billed(base_url: str) -> None:
    """Where no URL can be built nothing was sent: no attempt is presumed to be paid, and none follows."""
    with pytest.raises(CallError) as caught:
        send(base_url)
    error = caught.value
    assert (Kind.NOT_FOUND, Verdict.FATAL, False) == (error.kind, error.verdict, error.maybe_billed)


def test_a_url_that_the_sdk_refuses_is_a_config_error() -> None:
    """What is no URL at all is refused when the endpoint is opened."""
    with pytest.raises(ConfigError, match="base_url"):
        OpenAIEndpoint("https://example.com:port/v1", None, connections=1)
