"""The simulated endpoint over real sockets: what a plain client sees of each fault, and what is billed."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web
from helpers.clock import Clock
from helpers.patience import patience

from routellm_batch.core.errors import ConfigError
from routellm_batch.endpoints.simulator import server as sim_server
from routellm_batch.endpoints.simulator.billing import BillingLog
from routellm_batch.endpoints.simulator.model import SimulatedModel
from routellm_batch.endpoints.simulator.server import ChatServer
from routellm_batch.endpoints.simulator.spec import Faults, SimulateSpec

T = TypeVar("T")
PRICED = SimulateSpec(price_input="2.50", price_output="10", price_cached="1.25", cached_share=0.3)


class Client:
    """Calls one running server."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self.session = session
        self.base = f"http://127.0.0.1:{port}"

    async def chat(self, key: str = "k", attempt: int = 1, **extra: Any) -> tuple[int, dict[str, str], bytes]:
        """Send one request; return status, headers and body."""
        body = {"model": "m", "messages": [{"role": "user", "content": f"Prompt {key}"}], **extra}
        headers = {"X-Request-Key": key, "X-Attempt": str(attempt)}
        url = f"{self.base}/v1/chat/completions"
        async with self.session.post(url, json=body, headers=headers, allow_redirects=False) as reply:
            return reply.status, dict(reply.headers), await reply.read()


@asynccontextmanager
async def _running(spec: SimulateSpec, clock: Callable[[], float]) -> AsyncIterator[Client]:
    log = BillingLog(spec.log, spec.price)
    application = ChatServer(spec, SimulatedModel(spec), log, clock).application()
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(session, runner.addresses[0][1])
    finally:
        await runner.cleanup()
        log.close()


def _use(
    spec: SimulateSpec,
    talk: Callable[[Client], Awaitable[T]],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    async def main() -> T:
        async with _running(spec, clock) as client, asyncio.timeout(patience(20)):
            return await talk(client)

    return asyncio.run(main())


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _always(fault: str) -> SimulateSpec:
    return replace(PRICED, faults=Faults(**{fault: 1.0}))


def test_plain_reply_is_a_chat_completion() -> None:
    """A request gets a chat completion that names the requested model and keeps to the maximum."""
    status, headers, body = _use(PRICED, lambda client: client.chat(max_completion_tokens=9))
    reply = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert (reply["object"], reply["model"], reply["choices"][0]["finish_reason"]) == (
        "chat.completion",
        "m",
        "length",
    )
    assert 1 <= reply["usage"]["completion_tokens"] <= 9


def test_health_and_models() -> None:
    """The server says that it is well and which model it has."""

    async def talk(client: Client) -> tuple[Any, Any]:
        async with client.session.get(f"{client.base}/health") as health:
            first = await health.json()
        async with client.session.get(f"{client.base}/v1/models") as models:
            return first, [entry["id"] for entry in (await models.json())["data"]]

    assert _use(replace(PRICED, model="small"), talk) == ({"status": "ok"}, ["small"])


@pytest.mark.parametrize(
    ("fault", "statuses", "code"),
    [
        ("server_error", {500, 502, 503}, None),
        ("auth", {401}, "invalid_api_key"),
        ("quota", {429}, "insufficient_quota"),
        ("bad_request", {400}, "invalid_value"),
        ("context_length", {400}, "context_length_exceeded"),
        ("content_filter", {400}, "content_filter"),
        ("rate_limit", {429}, "rate_limit_exceeded"),
    ],
)
def test_error_faults_have_openai_bodies(fault: str, statuses: set[int], code: str | None) -> None:
    """A fault with an error status has OpenAI's error body with its code."""
    status, _, body = _use(_always(fault), lambda client: client.chat())
    error = json.loads(body)["error"]
    assert (status in statuses, error["code"], set(error)) == (
        True,
        code,
        {"message", "type", "param", "code"},
    )


def test_rate_limit_says_how_long_to_wait() -> None:
    """A 429 carries Retry-After in whole seconds and the exact wait in milliseconds."""
    spec = replace(_always("rate_limit"), retry_after_ms=1200)
    _, headers, _ = _use(spec, lambda client: client.chat())
    names = ("Retry-After", "retry-after-ms", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests")
    assert [headers[name] for name in names] == ["2", "1200", "0", "1200ms"]


@pytest.mark.parametrize(("fault", "error"), [("truncated", "ClientPayloadError"), ("hang", "TimeoutError")])
def test_broken_connections(fault: str, error: str) -> None:
    """A truncated body ends before its Content-Length; a hang gives nothing at all."""

    async def talk(client: Client) -> str:
        try:
            async with asyncio.timeout(0.5):
                await client.chat()
        except (aiohttp.ClientError, TimeoutError) as caught:
            return type(caught).__name__
        return "none"

    assert _use(_always(fault), talk) == error


def test_html_is_a_page() -> None:
    """The fault ``html`` is a 200 with a page instead of JSON."""
    status, headers, body = _use(_always("html"), lambda client: client.chat())
    assert (status, headers["Content-Type"], body[:15]) == (
        200,
        "text/html",
        b"<!doctype html>",
    )


def test_redirect_points_to_a_host_that_cannot_exist() -> None:
    """The fault ``redirect`` is a 307 to another host."""
    status, headers, _ = _use(_always("redirect"), lambda client: client.chat())
    assert (status, headers["Location"].startswith("http://redirected.invalid/")) == (307, True)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("empty", {"choices": 1, "usage": True}),
        ("no_choices", {"choices": 0, "usage": True}),
        ("no_usage", {"choices": 1, "usage": False}),
        ("wrong_shape", {"choices": -1, "usage": False}),
    ],
)
def test_odd_replies_are_json_of_another_shape(fault: str, expected: dict[str, Any]) -> None:
    """Replies with nothing in them, without choices, without usage, or of no known shape are valid JSON."""
    status, _, body = _use(_always(fault), lambda client: client.chat())
    reply = json.loads(body)
    found = {"choices": len(reply["choices"]) if "choices" in reply else -1, "usage": "usage" in reply}
    assert (status, found) == (200, expected)
    assert fault != "empty" or reply["choices"][0]["message"]["content"] == ""


def test_bad_json_has_the_right_length() -> None:
    """The fault ``bad_json`` arrives whole and does not parse."""
    status, _, body = _use(_always("bad_json"), lambda client: client.chat())
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_drip_arrives_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dripping reply takes its time for each byte and is valid at last."""
    monkeypatch.setattr(sim_server, "DRIP_S", 0.0005)

    async def talk(client: Client) -> tuple[bytes, float]:
        start = asyncio.get_running_loop().time()
        _, _, body = await client.chat()
        return body, asyncio.get_running_loop().time() - start

    body, seconds = _use(replace(_always("drip"), output_tokens=5), talk)
    assert json.loads(body)["object"] == "chat.completion"
    assert seconds > len(body) * 0.0005


def test_hang_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hanging reply holds its socket for a bounded time, then closes it without a reply and bills."""
    monkeypatch.setattr(sim_server, "HANG_S", 0.1)
    log = tmp_path / "log.jsonl"

    async def talk(client: Client) -> str:
        try:
            await client.chat()
        except aiohttp.ClientError as error:
            return type(error).__name__
        return "none"

    assert _use(replace(_always("hang"), log=str(log)), talk) == "ServerDisconnectedError"
    assert [line["status"] for line in _lines(log)] == [499]


def test_requests_without_a_body_that_parses_get_400(tmp_path: Path) -> None:
    """What is no chat request gets a 400, and costs nothing."""
    log = tmp_path / "log.jsonl"

    async def talk(client: Client) -> int:
        async with client.session.post(f"{client.base}/v1/chat/completions", data=b"{") as reply:
            return reply.status

    assert _use(replace(PRICED, log=str(log)), talk) == 400
    (line,) = _lines(log)
    assert {name: line[name] for name in ("request_key", "attempt", "status", "usd")} == {
        "request_key": "",
        "attempt": 0,
        "status": 400,
        "usd": "0.000000000",
    }


def test_prompt_of_many_megabytes_is_taken() -> None:
    """A prompt at the limit of what a job may send is answered, not refused as too large."""
    messages = [{"role": "user", "content": "é" * 3_000_000}]
    body = json.dumps({"model": "m", "messages": messages}).encode()

    async def talk(client: Client) -> tuple[int, int]:
        url = f"{client.base}/v1/chat/completions"
        async with client.session.post(url, data=io.BytesIO(body)) as reply:
            return reply.status, (await reply.json())["usage"]["prompt_tokens"]

    assert _use(PRICED, talk) == (200, 3_750_007)


def test_bill_is_the_sum_of_usage_times_price(tmp_path: Path) -> None:
    """The log has one line for each reply, in order, and its dollars are exactly usage × price."""
    log = tmp_path / "deep" / "log.jsonl"
    spec = replace(PRICED, log=str(log), faults=Faults(server_error=0.3, rate_limit=0.2))

    async def talk(client: Client) -> list[tuple[int, bytes]]:
        replies = [await client.chat(f"k{n}", attempt=n % 3 + 1) for n in range(60)]
        return [(status, body) for status, _, body in replies]

    replies = _use(spec, talk)
    usages = [json.loads(body)["usage"] for status, body in replies if status == 200]
    cached = [usage["prompt_tokens_details"]["cached_tokens"] for usage in usages]
    nano = [
        (u["prompt_tokens"] - c) * 2500 + c * 1250 + u["completion_tokens"] * 10_000
        for u, c in zip(usages, cached, strict=True)
    ]
    lines = _lines(log)
    assert 10 < len(usages) < 60
    assert [line["status"] for line in lines] == [status for status, _ in replies]
    assert [(line["request_key"], line["attempt"]) for line in lines] == [
        (f"k{n}", n % 3 + 1) for n in range(60)
    ]
    assert [Decimal(line["usd"]) for line in lines if line["status"] == 200] == [
        Decimal(n).scaleb(-9) for n in nano
    ]
    assert {
        (line["usd"], line["input_tokens"], line["output_tokens"]) for line in lines if line["status"] != 200
    } == {("0.000000000", 0, 0)}


@pytest.mark.parametrize("fault", ["truncated", "html", "bad_json", "hang"])
def test_answers_that_never_arrive_whole_are_billed(fault: str, tmp_path: Path) -> None:
    """What the provider worked on is billed like a whole answer, though the client got none of it."""
    logs = [tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"]

    async def talk(client: Client) -> None:
        try:
            async with asyncio.timeout(0.5):
                await client.chat()
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.1)

    for spec, log in zip((PRICED, _always(fault)), logs, strict=True):
        _use(replace(spec, log=str(log)), talk)
    (whole,), (broken,) = map(_lines, logs)
    assert (broken["usd"], broken["output_tokens"]) == (whole["usd"], whole["output_tokens"])
    assert broken["status"] == (499 if fault == "hang" else 200)
    assert Decimal(broken["usd"]) > 0


def test_client_that_leaves_is_billed(tmp_path: Path) -> None:
    """A client that goes before the answer comes is billed for it, with status 499."""
    log = tmp_path / "log.jsonl"

    async def talk(client: Client) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.chat()
        await asyncio.sleep(0.1)

    _use(replace(PRICED, log=str(log), latency_ms=5000), talk)
    assert [(line["status"], Decimal(line["usd"]) > 0) for line in _lines(log)] == [(499, True)]


def test_latency_holds_answers_back_but_not_errors() -> None:
    """An answer takes the base latency plus so much for each token; an error comes at once."""
    spec = replace(PRICED, latency_ms=100, latency_per_token_ms=1, output_tokens=100)

    async def talk(client: Client) -> float:
        start = asyncio.get_running_loop().time()
        await client.chat()
        return asyncio.get_running_loop().time() - start

    answer = SimulatedModel(spec)
    tokens = answer.decide(sim_server.parse_chat(_BODY), "k", 0, 0).usage.output_tokens
    assert _use(spec, talk) >= 0.1 + tokens / 1000
    assert _use(replace(spec, latency_ms=10_000, faults=Faults(auth=1.0)), talk) < patience(5)


_BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Prompt k"}]}).encode()


def test_rpm_refuses_what_is_beyond_it() -> None:
    """With 60 requests a minute and 5 at once, eight requests get five answers and three 429s."""

    async def talk(client: Client) -> list[int]:
        return [(await client.chat(f"k{n}"))[0] for n in range(8)]

    assert _use(replace(PRICED, rpm=60, burst=5), talk, lambda: 0.0) == [200] * 5 + [429] * 3


def test_concurrency_refuses_what_is_beyond_it() -> None:
    """With room for four at a time, ten requests at once get four answers; later ones are answered again."""

    async def talk(client: Client) -> tuple[list[int], int]:
        at_once = await asyncio.gather(*(client.chat(f"k{n}") for n in range(10)))
        return sorted(status for status, _, _ in at_once), (await client.chat("later"))[0]

    expected = ([200] * 4 + [429] * 6, 200)
    assert _use(replace(PRICED, concurrency=4, latency_ms=1000 * patience(0.3)), talk) == expected


def test_refused_requests_do_not_change_later_decisions() -> None:
    """A 429 by the enforced limit does not count as an attempt, so that timing decides no fault."""
    spec = replace(PRICED, rpm=60, burst=1, script={"k": ("server_error",)})

    clock = Clock()

    async def talk(client: Client) -> list[int]:
        await client.chat("other")
        statuses = [(await client.chat("k"))[0]]
        clock.now_s += 1.1
        return [*statuses, (await client.chat("k"))[0]]

    first, second = _use(spec, talk, clock.monotonic)
    assert (first, second >= 500) == (429, True)


def test_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A log path that is a folder is a config error that names the key."""
    with pytest.raises(ConfigError, match=r"^log: "):
        BillingLog(str(tmp_path), PRICED.price)
