"""Answer a table of prompts in a process of its own, in one of several ways; print the seconds of its calls, and of CPU.

python -m benchmarks.fan_out_child WAY CONFIG
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from unittest.mock import patch

import aiohttp
import httpx2
import psutil
import pyarrow.parquet as pq
from openai import AsyncOpenAI, DefaultAioHttpClient

from routellm_batch.config.job import Config, load_config
from routellm_batch.core.events import Event, StageFinished, StageStarted
from routellm_batch.pipeline.jobs import run_job
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.state import LedgerState

Send = Callable[[str], Awaitable[None]]


async def loop(way: str, config: Config) -> tuple[float, float]:
    """Send every prompt to one endpoint, so many at once; return the seconds, and those of CPU."""
    end, prompts = config.endpoints.strong, pq.read_table(config.input.uri).column("prompt").to_pylist()
    url, slots = str(end.base_url), asyncio.Semaphore(end.limits.concurrency)
    http = DefaultAioHttpClient(limits=httpx2.Limits(max_connections=end.limits.concurrency))
    async with (
        AsyncOpenAI(
            api_key="none", base_url=url, max_retries=0, http_client=http if way == "sdk aiohttp" else None
        ) as client,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=end.limits.concurrency)) as session,
    ):

        def body(prompt: str) -> dict[str, object]:
            return {"model": end.model, "messages": [{"role": "user", "content": prompt}], **end.params}

        async def sdk(prompt: str) -> None:
            reply = await client.chat.completions.create(**body(prompt))  # type: ignore[call-overload]
            assert reply.choices[0].message.content  # noqa: S101

        async def bare(prompt: str) -> None:
            async with session.post(f"{url}/chat/completions", json=body(prompt)) as reply:
                assert json.loads(await reply.read())["choices"]  # noqa: S101

        send: Send = bare if way == "bare" else sdk

        async def one(prompt: str) -> None:
            async with slots:
                await send(prompt)

        await one(prompts[0])
        begun, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(one, prompts))
        return time.perf_counter() - begun, time.process_time() - busy


class NoLedger:
    """Stands in for ``LedgerWriter`` and keeps nothing: what a call stage without a ledger would do."""

    error = None

    def __init__(self, *_args: object, **_options: object) -> None:
        self._ended = asyncio.Event()

    def silent(self) -> bool:
        """Never."""
        return False

    async def intend(self, *_args: object) -> None:
        """Let the rows be sent."""

    def sending(self, row: int) -> None:
        """Keep nothing."""

    def add(self, record: object) -> None:
        """Keep nothing."""

    async def run(self, _stopping: object) -> None:
        """Wait for the end."""
        await self._ended.wait()

    def finish(self) -> None:
        """End ``run``."""
        self._ended.set()

    def close(self) -> None:
        """Nothing is open."""


def job(config: Config, *, ledger: bool) -> tuple[float, float]:
    """Run the whole job; return the seconds of its call stage, and those of CPU in this process and its workers."""
    marks: dict[str, tuple[float, float]] = {}

    def sink(event: Event) -> None:
        if isinstance(event, StageStarted | StageFinished):
            marks[f"{type(event).__name__} {event.stage}"] = time.perf_counter(), busy_s()

    with ExitStack() as patches:
        if not ledger:
            patches.enter_context(patch("routellm_batch.stages.call.task.LedgerWriter", NoLedger))
            patches.enter_context(patch.object(ShardLedger, "claim", lambda _ledger: LedgerState()))
        result = run_job(config, sink)
    if result.exit_code:
        raise SystemExit(f"the job ended with exit code {result.exit_code}")
    (begun, busy), (ended, busy_at_end) = marks["StageStarted call"], marks["StageFinished call"]
    return ended - begun, busy_at_end - busy


def busy_s() -> float:
    """Return the CPU seconds of this process and of those that it started."""
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True)))


def main() -> None:
    """Do what the command line says."""
    way, config = sys.argv[1], load_config(sys.argv[2])
    is_job = way in {"ours", "no ledger", "worker"}
    print(json.dumps(job(config, ledger=way != "no ledger") if is_job else asyncio.run(loop(way, config))))


if __name__ == "__main__":
    main()
