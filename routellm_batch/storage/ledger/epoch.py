"""Which start of a run drives it: one at a time; the others report it and leave.

``epoch/<n>.json`` is created exclusively by the n-th start. It shows that it lives by ``epoch/<n>.b<k>`` every
few seconds, and ends with ``epoch/<n>.end``. A newcomer takes over at once from a start that ended or whose
process is dead on this machine, and otherwise only after it was silent for a lease, measured with the newcomer's
own monotonic clock: no two clocks are ever compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from routellm_batch.core.errors import BusyRunError
from routellm_batch.core.protocols import Store
from routellm_batch.core.worker import Worker
from routellm_batch.storage.ledger.liveness import AtWork, is_dead, is_myself, is_running, myself

BEATS_PER_LEASE = 3
LOOKS_PER_LEASE = 20
_EPOCH = re.compile(r"^epoch/(\d{6})\.json$")
_CALLER = re.compile(r"^epoch/(\d{6})\.p([0-9a-z]+)\.json$")


def epoch_path(number: int) -> str:
    """Return the path of the object that names the ``number``-th start."""
    return f"epoch/{number:06d}.json"


def _end_path(number: int) -> str:
    return f"epoch/{number:06d}.end"


def exists(store: Store, path: str) -> bool:
    """Whether an object is on storage. It is read for that: the ``exists`` of some stores takes any error for a no."""
    try:
        store.read(path)
    except FileNotFoundError:
        return False
    return True


def take(
    store: Store, token: str, lease_s: float, worker: Worker, waiting: Callable[[str], None]
) -> tuple[int, bool]:
    """Take the run for the start named by a token.

    Args:
        store: rooted at the run.
        token: names this start.
        lease_s: how long a silent start is waited for.
        worker: this process.
        waiting: called once, with a text, if another start has to be waited for.

    Returns:
        The epoch's number, and whether the start before it, if any, left no runner behind.

    Raises:
        BusyRunError: another start drives the run.

    """
    while True:
        latest, _ = _latest(store)
        clean = True
        if latest:
            clean = exists(store, _end_path(latest))
            holder = json.loads(store.read(epoch_path(latest)))
            if not clean and _lives(store, latest, holder, lease_s, worker, waiting):
                raise BusyRunError(holder["who"])
        body = json.dumps({"token": token, "who": myself()}, sort_keys=True).encode()
        if store.create(epoch_path(latest + 1), body):
            return latest + 1, clean


def _latest(store: Store) -> tuple[int, set[str]]:
    """Return the newest epoch's number, which is never stale, and the paths of a listing, which may be."""
    names = {stored.path for stored in store.list("epoch")}
    latest = max((int(match[1]) for name in names if (match := _EPOCH.match(name))), default=0)
    while exists(store, epoch_path(latest + 1)):
        latest += 1
    return latest, names


def driver(store: Store, worker: Worker) -> Mapping[str, Any] | None:
    """Return who drives the run, without waiting; None where nobody does.

    Of a start on another machine it can't be told at once whether it lives, so one that has not ended there is returned.

    Args:
        store: rooted at the run.
        worker: this process.

    """
    latest, _ = _latest(store)
    if not latest or exists(store, _end_path(latest)):
        return None
    holder = json.loads(store.read(epoch_path(latest)))
    who: dict[str, Any] = holder["who"]
    if is_dead(who) or (is_myself(who) and (holder["token"], latest) not in worker.kept(AtWork).starts):
        return None
    return who


def _lives(
    store: Store,
    number: int,
    holder: Mapping[str, Any],
    lease_s: float,
    worker: Worker,
    waiting: Callable[[str], None],
) -> bool:
    """Whether a start that has not ended lives; one on another machine is watched for a lease."""
    who = holder["who"]
    if is_dead(who):
        return False
    if is_myself(who):
        return (holder["token"], number) in worker.kept(AtWork).starts
    if is_running(who):
        return True
    waiting(
        f"another start of this run (on {who['name']}) did not end; waiting {lease_s:.0f} s for a sign of it"
    )
    before = _latest(store)
    for _ in range(LOOKS_PER_LEASE):
        worker.clock.sleep(lease_s / LOOKS_PER_LEASE)
        if is_dead(who):
            return False
        if _latest(store) != before:
            return not exists(store, _end_path(number))
    return False


@contextmanager
def holding(
    store: Store, token: str, number: int, lease_s: float, lost: Callable[[], None], worker: Worker
) -> Iterator[None]:
    """Show life while the run is driven, and call ``lost`` once if another start takes over.

    Args:
        store: rooted at the run.
        token: names this start.
        number: its epoch.
        lease_s: how long others wait for a sign of it; it shows life three times as often.
        lost: called in another thread.
        worker: this process.

    """
    beats = 0

    def beat() -> bool:
        nonlocal beats
        try:
            if exists(store, epoch_path(number + 1)):
                lost()
                return False
            store.create(f"epoch/{number:06d}.b{beats:06d}", b"alive")
            beats += 1
        except OSError:  # storage is away for a while, and for others that would take over, too
            pass
        return True

    starts = worker.kept(AtWork).starts
    starts.add((token, number))
    try:
        with worker.clock.repeating(lease_s / BEATS_PER_LEASE, beat, "routellm-epoch"):
            yield
    finally:
        starts.discard((token, number))


def add_caller(store: Store, number: int, name: str) -> None:
    """Note on storage that this process is about to call for a start.

    Args:
        store: rooted at the run.
        number: the start's epoch.
        name: of this process, as it names itself to the driver.

    """
    store.create(f"epoch/{number:06d}.p{name}.json", json.dumps(myself(), sort_keys=True).encode())


def earlier_callers(store: Store, number: int) -> Mapping[str, Mapping[str, Any]]:
    """Return the processes that may still call for starts before this one, which did not end: name → process."""
    found: dict[str, Mapping[str, Any]] = {}
    for stored in store.list("epoch"):
        match = _CALLER.match(stored.path)
        if match and int(match[1]) < number and not exists(store, _end_path(int(match[1]))):
            found[match[2]] = json.loads(store.read(stored.path))
    return {name: who for name, who in found.items() if not is_dead(who)}


def end(store: Store, number: int) -> None:
    """Note on storage that a start is over and has left no runner behind."""
    store.create(_end_path(number), b"ended")
