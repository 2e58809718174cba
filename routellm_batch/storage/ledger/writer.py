"""Writing one shard's ledger from an event loop: intents before sends, every reply local at once and stored soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from routellm_batch.core.errors import StoreError
from routellm_batch.core.types import Route
from routellm_batch.core.worker import Worker
from routellm_batch.storage.ledger.liveness import AtWork
from routellm_batch.storage.ledger.local import FOLDER_VARIABLE, LocalLog
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.ledger.succession import sent_line


class LedgerWriter:
    """Writes a claimed shard's ledger; lives on one event loop.

    Args:
        ledger: of the shard, claimed.
        folder: of the run's local logs.
        lease_s: how long a silent runner is waited for by others.
        worker: this process.

    """

    def __init__(self, ledger: ShardLedger, folder: Path, *, lease_s: float, worker: Worker) -> None:
        self._ledger = ledger
        self._settings = worker.settings
        self._now_s = worker.clock.monotonic
        self._active = worker.kept(AtWork).runners
        self._local = self._open_log(folder)
        self._lease_s = lease_s
        self._lines: list[str] = []
        self._alone_s = self._now_s()
        """When it last began to look whether anybody had claimed, and found nobody."""
        self._full = asyncio.Event()
        self._log_order = asyncio.Lock()
        self._ending = False
        self._unstored = False
        self.error: BaseException | None = None
        """Why nothing more may be sent, if so."""
        self._active.add(ledger.runner)

    def _open_log(self, folder: Path) -> LocalLog:
        return LocalLog(folder, self._ledger.shard, self._ledger.runner)

    def silent(self) -> bool:
        """Whether this runner may have been passed over, or soon will be: then nothing may be sent."""
        return self._unsure_s() > self._lease_s * 2 / 3

    async def intend(
        self, route: Route, rows: Sequence[tuple[int, int]], stopping: Callable[[], bool]
    ) -> None:
        """Put an intent on storage; afterwards the rows may be sent, unless ``error`` is set."""
        await self._look(stopping, self._ledger.write_intent, route, rows)

    def sending(self, row: int) -> None:
        """Note that a row is sent now.

        Raises:
            OSError: it can't be noted, so the row must not be sent.

        """
        self._note(sent_line(row))

    def add(self, record: CallRecord) -> None:
        """Keep a record: on the local disk now, on storage with its micro-batch."""
        line = record.to_json()
        with suppress(OSError):  # it is stored all the same
            self._note(line.encode("utf-8"))
        self._lines.append(line)
        if len(self._lines) >= self._settings.micro_batch:
            self._full.set()

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Store results as they come, until ``finish``; show life where there are none."""
        while self._lines or not self._ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    0 if self._ending else min(self._settings.flush_s, self._lease_s / 3)
                ):
                    await self._full.wait()
            self._full.clear()
            lines, self._lines = self._lines, []
            if lines and not await self._write(stopping, self._ledger.write_results, lines):
                self._unstored = True
            if self.error is None and not self._ending and self._unsure_s() >= self._lease_s / 3:
                await self._look(stopping, self._ledger.beat)

    def finish(self) -> None:
        """Let ``run`` store the rest and return; it is never cancelled, as a write under way must end."""
        self._ending = True
        self._full.set()

    def close(self) -> None:
        """Let go of the local log; it stays where storage does not hold all of it."""
        self._active.discard(self._ledger.runner)
        stored = not self._lines and not self._unstored
        if stored:
            with suppress(OSError):
                self._ledger.end()
        self._local.close(remove=stored)

    def _unsure_s(self) -> float:
        return self._now_s() - self._alone_s

    def _note(self, payload: bytes) -> None:
        try:
            self._local.append(payload)
        except OSError as error:
            problem = f"the local log can't be written ({type(error).__name__})"
            self.error = self.error or StoreError(f"{problem}; point {FOLDER_VARIABLE} at a folder with room")
            raise

    async def _look(self, stopping: Callable[[], bool], write: Callable[..., Any], *args: Any) -> None:
        """Write what only a runner can that was not shut out. Results don't show that, and a reply may come late."""
        async with self._log_order:
            begun = self._now_s()
            if await self._write(stopping, write, *args):
                self._alone_s = begun

    async def _write(self, stopping: Callable[[], bool], write: Callable[..., Any], *args: Any) -> bool:
        """Write, trying again for as long as storage may come back; False if it was not written."""
        begun = self._now_s()
        while True:
            try:
                await asyncio.to_thread(write, *args)
            except OSError as error:
                passing = not isinstance(error, (PermissionError, FileNotFoundError, NotADirectoryError))
                if passing and not stopping() and self._now_s() - begun < self._settings.patience_s:
                    await asyncio.sleep(self._settings.again_s)
                    continue
                problem: BaseException = StoreError(f"storage can't be written ({type(error).__name__})")
            except BaseException as error:  # noqa: BLE001 - whatever it is, nothing more may be sent
                problem = error
            else:
                return True
            self.error = self.error or problem
            return False
