"""Programs that a fault test starts, disturbs and surely ends, each in a process group of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.patience import patience


class Program:
    """One started program; its output goes to ``<folder>/<name>.out`` and ``.err``."""

    def __init__(self, command: Sequence[str], folder: Path, name: str, env: Mapping[str, str]) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        # Where the system can, a program also ends with the test run that started it, however that ends.
        leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                [*leash, *command],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def ended(self) -> bool:
        """Say whether it has ended."""
        return self._process.poll() is not None

    @property
    def said(self) -> str:
        """All that it wrote so far."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if not self.ended:
            self._process.send_signal(number)

    def wait(self, within_s: float) -> int:
        """Return its exit code; a failure with its last words if it takes longer, even for a busy machine."""
        try:
            return self._process.wait(patience(within_s))
        except subprocess.TimeoutExpired:
            words = self.said[-2000:]
        raise AssertionError(f"still runs after {within_s} s: {words}")

    def close(self) -> None:
        """End it and all that it started: the group was made for it alone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(patience(20))

    def workers(self) -> list[int]:
        """Return the ids of its Dask worker processes, in order of their start: those forked from its fork server."""
        servers = [pid for pid in descendants(self.pid) if b"forkserver" in _command(pid)]
        return [pid for pid in servers if pid != servers[0]]


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep processors busy beside the block with so many endless loops, which surely end with it."""
    leash = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [*leash, sys.executable, "-S", "-c", "while True: pass"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        started += [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(loops)]
        yield
    finally:
        for process in started:
            process.kill()
            process.wait(patience(20))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a process of this test a signal; one that is gone already is fine."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs, by id."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        children = sorted(parents.get(waiting.pop(), []))
        found += children
        waiting += children
    return sorted(found)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
