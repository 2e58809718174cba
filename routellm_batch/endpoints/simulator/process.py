"""A fake endpoint in a child process, which ends with its parent."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from routellm_batch.core.errors import InputError
from routellm_batch.endpoints.simulator.spec import ReplaySpec, SimulateSpec

START_S = 60.0
"""Seconds that a child may take until it listens."""
STOP_S = 5.0
"""Seconds that a child may take to end when asked to."""
KINDS: dict[str, type[SimulateSpec | ReplaySpec]] = {"simulate": SimulateSpec, "replay": ReplaySpec}
"""Name of a kind of endpoint, as the order to the child says it → its settings."""


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A fake endpoint in a process of its own; a context manager that stops it."""

    base_url: str
    """E.g. ``http://127.0.0.1:8101/v1``."""
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """Stop the server and wait for its end."""
        _stop(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start_server(spec: SimulateSpec | ReplaySpec) -> ServerHandle:
    """Start a fake endpoint in a child process and wait until it listens.

    The child ends when this process does, however that ends, as its standard input is a pipe from here. It has a session of
    its own, so that Ctrl-C in a terminal reaches only the job, which may still need its answers.

    Raises:
        InputError: the spec's files, log or port can't be used; the message is the child's.

    """
    kind = next(name for name, known in KINDS.items() if isinstance(spec, known))
    process = subprocess.Popen(
        [sys.executable, "-m", "routellm_batch.endpoints.simulator.serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    order = json.dumps({"kind": kind, "spec": asdict(spec)}).encode() + b"\n"
    try:
        line = _first_line(process, order, time.monotonic() + START_S)
    except BaseException:
        _stop(process)
        raise
    if not line.startswith("http://"):
        _stop(process)
        raise InputError(line or "the simulated or replay server did not start")
    return ServerHandle(line, process)


def _first_line(process: subprocess.Popen[bytes], order: bytes, until_s: float) -> str:
    """Send the order and return the child's first line; empty if it ended or took too long."""
    line = b""
    if process.stdin is None or process.stdout is None:
        return ""
    with suppress(BrokenPipeError):
        process.stdin.write(order)
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until_s - time.monotonic()))
        part = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not part:
            break
        line += part
    return line.decode().strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
