"""Answer a table of prompts in a process of its own, in one of several ways; print the seconds of its calls, and of CPU.

python -m benchmarks.fan_out_child WAY CONFIG
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from unittest.mock import patch

import aiohttp
import httpx2
import pyarrow.parquet as pq
from openai import AsyncOpenAI, DefaultAioHttpClient

from routellm_batch.config import Config, load_config
from routellm_batch.events import Event, StageFinished, StageStarted
from routellm_batch.pipeline import run_job
from routellm_batch.storage.store import FsStore

Send = Callable[[str], Awaitable[None]]


async def loop(way: str, config: Config) -> tuple[float, float]:
    """Send every prompt to one endpoint, so many at once; return the seconds, and those of CPU."""
    end, prompts = config.endpoints.strong, pq.read_table(config.input.uri).column("prompt").to_pylist()
    url, slots = str(end.base_url), asyncio.Semaphore(end.limits.concurrency)
    limits = httpx2.Limits(max_connections=end.limits.concurrency)
    http = None if way == "sdk" else DefaultAioHttpClient(limits=limits)
    async with (
        AsyncOpenAI(api_key="none", base_url=url, max_retries=0, http_client=http) as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=end.limits.concurrency)) as session,
    ):

        def body(prompt: str) -> dict[str, object]:
            return {"model": end.model, "messages": [{"role": "user", "content": prompt}], **end.params}

        async def sdk(prompt: str) -> None:
            reply = await client.chat.completions.create(**body(prompt))  # type: ignore[call-overload]
            assert reply.choices[0].message.content  # noqa: S101

        async def post(prompt: str) -> None:
            reply = await client.post("/chat/completions", cast_to=httpx2.Response, body=body(prompt))
            assert json.loads(reply.content)["choices"]  # noqa: S101

        async def bare(prompt: str) -> None:
            async with session.post(f"{url}/chat/completions", json=body(prompt)) as reply:
                assert json.loads(await reply.read())["choices"]  # noqa: S101

        send: Send = {"sdk": sdk, "post": post, "bare": bare}[way]

        async def one(prompt: str) -> None:
            async with slots:
                await send(prompt)

        await one(prompts[0])
        begun, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(one, prompts))
        return time.perf_counter() - begun, time.process_time() - busy


def job(config: Config, *, ledger: bool) -> tuple[float, float]:
    """Run the whole job here; return the seconds of its call stage, and those of CPU."""
    marks: dict[str, tuple[float, float]] = {}
    create = FsStore.create

    def sink(event: Event) -> None:
        if isinstance(event, StageStarted | StageFinished):
            marks[f"{type(event).__name__} {event.stage}"] = time.perf_counter(), time.process_time()

    def forgetful(store: FsStore, path: str, data: bytes) -> bool:
        return path.startswith("call/") or create(store, path, data)

    with nullcontext() if ledger else patch.object(FsStore, "create", forgetful):
        result = run_job(config, sink)
    if result.exit_code:
        raise SystemExit(f"the job ended with exit code {result.exit_code}")
    (begun, busy), (ended, busy_at_end) = marks["StageStarted call"], marks["StageFinished call"]
    return ended - begun, busy_at_end - busy


def main() -> None:
    """Do what the command line says."""
    way, config = sys.argv[1], load_config(sys.argv[2])
    ours = way in {"ours", "no ledger"}
    print(json.dumps(job(config, ledger=way == "ours") if ours else asyncio.run(loop(way, config))))


if __name__ == "__main__":
    main()
