"""Programs that a test starts and surely stops."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.patience import patience

STOP_TIMEOUT_S = 15
POLL_S = 0.2


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the time of a block; its output goes to ``log``.

    It is stopped by its id: asked first, then killed. Where the system can, it also dies with this process.
    """
    leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*leash, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(patience(STOP_TIMEOUT_S))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(
    ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes], timeout_s: float
) -> None:
    """Poll until ``ready()``; AssertionError when the program ends first or the time is up."""
    begun = time.monotonic()
    while not ready():
        assert process.poll() is None, f"{what} ended with {process.returncode}"
        late = time.monotonic() > begun + timeout_s and time.monotonic() > begun + patience(timeout_s)
        assert not late, f"{what} was not ready in {patience(timeout_s):.0f} s"
        time.sleep(POLL_S)


def http_status(url: str) -> int:
    """GET a URL; its status, 0 where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
