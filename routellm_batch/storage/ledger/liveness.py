"""Whether the process that wrote something still runs: known at once on one machine, never across machines."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

LEASE_VARIABLE = "ROUTELLM_LEASE_S"
"""Environment variable that sets the lease, for tests and for slow storage."""
LEASE_S = 30.0
"""How long a silent process on another machine is waited for, in seconds."""


@dataclass(eq=False)
class AtWork:
    """What this process is at work on; kept by its ``Worker``. Adding and removing are single steps: any thread may."""

    runners: set[str] = field(default_factory=set)
    """Runners of shards."""
    starts: set[tuple[str, int]] = field(default_factory=set)
    """Starts of runs that it drives, each as the start's token and its epoch."""


def lease_s() -> float:
    """Return how many seconds a silent process on another machine is waited for."""
    return float(os.environ.get(LEASE_VARIABLE, LEASE_S))


@cache
def host() -> str:
    """Return a name for what shares our process numbers: this boot of this machine, and its process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - it is no path
    except OSError:
        return f"{platform.node()}-{uuid.getnode()}"


def myself() -> dict[str, Any]:
    """Return what names this process to others."""
    pid = os.getpid()
    return {"host": host(), "name": platform.node(), "pid": pid, "started": _started(pid)}


def is_dead(who: Mapping[str, Any]) -> bool:
    """Whether a process certainly runs no more; of one on another machine that is never certain."""
    return who.get("host") == host() and _started(int(who["pid"])) != who["started"]


def is_running(who: Mapping[str, Any]) -> bool:
    """Whether a process certainly runs: it is on this machine, and not stopped."""
    if who.get("host") != host() or is_dead(who):
        return False
    try:
        return bool(psutil.Process(int(who["pid"])).status() != psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def is_myself(who: Mapping[str, Any]) -> bool:
    """Whether a process is this one."""
    return who.get("host") == host() and who.get("pid") == os.getpid() and not is_dead(who)


def _started(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None
