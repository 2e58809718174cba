"""The one door to openai: one request over HTTP, checked, and every failure classed by type and status.

``AsyncOpenAI`` brings the URL rules, headers and error types; its retries are off (ours are the only layer), it
follows no redirect (the prompt would travel along), and a total deadline is put around it, as its timeout
counts from byte to byte. The raw response is asked for and checked here: the SDK hands a 200 with HTML or
with an error inside to the caller as if it were an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import httpx2
import openai
from openai import AsyncOpenAI, DefaultAioHttpClient, Omit

from routellm_batch.endpoints.classify import MAX_REPLY_BYTES, failure_of, parse_reply, retry_after_s
from routellm_batch.endpoints.keys import resolve_key
from routellm_batch.errors import CallError
from routellm_batch.types import ErrorKind, Reply, Verdict

NOT_FROM_THE_SHELL: Mapping[str, Any] = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
"""Headers that the SDK takes from OPENAI_ORG_ID and OPENAI_PROJECT_ID; the config alone says what is sent."""


class OpenAIEndpoint:
    """An ``Endpoint`` behind an OpenAI-compatible API; lives on one event loop."""

    def __init__(self, base_url: str, api_key: str | None, *, connections: int) -> None:
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        transport = DefaultAioHttpClient(follow_redirects=False, trust_env=False, limits=limits, timeout=None)
        self._client = AsyncOpenAI(
            api_key=resolve_key(api_key),
            base_url=base_url,
            max_retries=0,
            http_client=transport,
            default_headers=NOT_FROM_THE_SHELL,
        )

    async def send(self, body: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float) -> Reply:
        """Send one chat completion, once (see ``Endpoint.send``)."""
        return parse_reply(*await self.post("/chat/completions", body, headers, timeout_s))

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, bytes]:
        """Send one request to a path below the base URL, once; return the status, always 2xx, and the body.

        Raises:
            CallError: with its ``kind`` and ``verdict``; nothing else.

        """
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._client.post(
                    path,
                    cast_to=httpx2.Response,
                    body=body,
                    options={"headers": dict(headers), "max_retries": 0},
                )
                content = response.content
        except openai.APIStatusError as error:
            raise _status_error(error) from None
        except TimeoutError:
            raise CallError(ErrorKind.TIMEOUT, Verdict.RETRY, maybe_billed=True) from None
        except openai.APIConnectionError as error:
            raise _connection_error(error) from None
        except (openai.OpenAIError, httpx2.HTTPError, json.JSONDecodeError, OSError):
            raise CallError(ErrorKind.CONNECTION, Verdict.RETRY, maybe_billed=True) from None
        if len(content) > MAX_REPLY_BYTES:
            raise CallError(
                ErrorKind.BAD_REPLY, Verdict.RETRY, status=response.status_code, maybe_billed=True
            )
        return response.status_code, content

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _status_error(error: openai.APIStatusError) -> CallError:
    headers = error.response.headers
    code = error.code if isinstance(error.code, str) else None
    kind, verdict, maybe_billed = failure_of(error.status_code, code)
    wait = retry_after_s(headers.get("retry-after-ms"), headers.get("retry-after"))
    return CallError(kind, verdict, status=error.status_code, retry_after_s=wait, maybe_billed=maybe_billed)


def _connection_error(error: BaseException) -> CallError:
    """Tell a connection that never stood (nothing was sent, nothing is owed) from one that broke.

    Told by aiohttp's own error: its transport reports both as a ``ConnectTimeout``, which openai calls a timeout.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectorError):
            return CallError(ErrorKind.UNREACHABLE, Verdict.RETRY)
        cause = cause.__cause__
    return CallError(ErrorKind.CONNECTION, Verdict.RETRY, maybe_billed=True)
