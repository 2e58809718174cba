"""The one door to openai: one request over HTTP, checked, and every failure classed by type and status.

``AsyncOpenAI`` brings the URL rules, the headers and the error types, and is asked for them once: its own way of
sending costs several times what the rest of a call does. A request is the ready bytes of its body through one
aiohttp session, sent once, without redirects (the prompt would travel along), cookies or proxies, under a total
deadline. What comes back is checked here: a 200 may hold HTML, or an error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import httpx2
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient, Omit
from yarl import URL

from routellm_batch.config.connection import DIRECT, Reach
from routellm_batch.core.errors import CallError, ConfigError
from routellm_batch.core.types import ErrorKind, RateHint, Reply, Verdict
from routellm_batch.endpoints.classify import (
    MAX_REPLY_BYTES,
    failure_of,
    rate_hint,
    retry_after_s,
)
from routellm_batch.endpoints.details import detail_of, without_quotes
from routellm_batch.endpoints.keys import resolve_key, resolve_value
from routellm_batch.endpoints.replies import parse_reply
from routellm_batch.endpoints.tls import trusted

NOT_FROM_THE_SHELL: Mapping[str, Any] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
"""Headers that the SDK takes from OPENAI_ORG_ID and OPENAI_PROJECT_ID; the config alone says what is sent."""
IDLE_S = 4.0
"""An unused connection is closed after this, before servers do (often after 5 s): a request that meets a server's
close is broken, and has to be presumed spent."""
IN_QUERY = "%!$&'()*+,;=:@/?-._~"
"""What stays as it is in a base URL's own query; the rest is quoted."""
CONNECT_S = 15.0
"""A connection that does not stand by then never will; nothing was sent."""


class OpenAIEndpoint:
    """An ``Endpoint`` behind an OpenAI-compatible API; made and used on one event loop."""

    def __init__(
        self, base_url: str, api_key: str | None, *, connections: int, reach: Reach = DIRECT
    ) -> None:
        tls = trusted(reach.ca_file)
        address, _, self._own_query = base_url.partition("?")  # the SDK would put the path behind a query
        try:
            self._sdk = AsyncOpenAI(
                api_key=resolve_key(api_key),
                base_url=address,
                http_client=DefaultAioHttpClient(trust_env=False, verify=tls),
                default_headers=NOT_FROM_THE_SHELL,
            )
        except httpx2.InvalidURL:
            raise ConfigError("base_url", "is not a URL that can be called") from None
        headers = {**self._sdk.auth_headers, **self._sdk.default_headers}
        if api_key is None and reach.brings_key:
            headers.pop("Authorization", None)  # the SDK's dummy; some gateways look at it first
        own = {name: resolve_value(value, f"headers.{name}") for name, value in reach.headers.items()}
        headers = {name: value for name, value in headers.items() if name.lower() not in map(str.lower, own)}
        headers |= own
        self._query = {name: resolve_value(value, f"query.{name}") for name, value in reach.query.items()}
        connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=IDLE_S, ssl=tls)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={name: value for name, value in headers.items() if isinstance(value, str)},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._urls: dict[str, URL] = {}

    async def send(self, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Send one chat completion, once (see ``Endpoint.send``)."""
        try:
            status, content, rate = await self.post("/chat/completions", body, headers, timeout_s)
            return parse_reply(status, content, rate)
        except CallError as error:
            if error.detail is not None:
                error.detail = without_quotes(error.detail, body)
            raise

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, bytes, RateHint | None]:
        """Send one request to a path below the base URL, once.

        Returns:
            The status, always 2xx, the body, and what the headers say of the endpoint's limits.

        Raises:
            CallError: with its ``kind`` and ``verdict``; nothing else.

        """
        url = self._url(path)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                content = await _read(response)
        except aiohttp.InvalidURL:
            raise _no_url() from None  # aiohttp says so before it connects
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise CallError(ErrorKind.UNREACHABLE, Verdict.RETRY) from None
        except TimeoutError:
            raise CallError(ErrorKind.TIMEOUT, Verdict.RETRY, maybe_billed=True) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise CallError(ErrorKind.CONNECTION, Verdict.RETRY, maybe_billed=True) from None
        if not 200 <= response.status < 300:
            raise _status_error(response, content) from None
        return response.status, content, rate_hint(response.headers)

    def _url(self, path: str) -> URL:
        """Return where a path is: below the base URL, on its host and port, before the URL's query and the config's.

        Raises:
            CallError: they make no URL; nothing was sent.

        """
        if path not in self._urls:
            # The SDK leaves a base URL without a path as it is, so the slash between them is put here.
            base = str(self._sdk.base_url).rstrip("/")
            try:
                own = f"?{quote(self._own_query, safe=IN_QUERY)}" if self._own_query else ""
                url = URL(f"{base}/{path.lstrip('/')}{own}", encoded=True)
                url = url.extend_query(self._query) if self._query else url
                (url.raw_host or "").encode("idna")  # as name resolution will
            except ValueError:
                raise _no_url() from None
            self._urls[path] = url
        return self._urls[path]

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
        await self._sdk.close()


def _no_url() -> CallError:
    """Return the error of a URL that can't be called: no row can be answered, and nothing was sent or billed."""
    return CallError(ErrorKind.NOT_FOUND, Verdict.FATAL)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole body, read no further than the limit.

    Raises:
        CallError: it is longer.

    """
    parts, size = [], 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > MAX_REPLY_BYTES:
            raise CallError(ErrorKind.BAD_REPLY, Verdict.RETRY, status=response.status, maybe_billed=True)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _status_error(response: aiohttp.ClientResponse, content: bytes) -> CallError:
    """Class a refusal by its status and the code that the SDK's error finds in its body."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    details = body.get("error", body) if isinstance(body, dict) else None
    request = httpx2.Request("POST", str(response.url.with_query(None)))
    error = openai.APIStatusError(
        "", response=httpx2.Response(response.status, request=request), body=details
    )
    code = error.code if isinstance(error.code, str) else None
    kind, verdict, maybe_billed = failure_of(error.status_code, code)
    headers = response.headers
    return CallError(
        kind,
        verdict,
        status=error.status_code,
        retry_after_s=retry_after_s(
            headers.get("retry-after-ms"), headers.get("retry-after"), headers.get("date")
        ),
        maybe_billed=maybe_billed,
        rate_hint=rate_hint(headers),
        detail=detail_of(error.status_code, body),
    )
