"""One start of a run: that it is the only one, and what its tasks run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.core.errors import InterruptedRunError
from routellm_batch.core.events import Notice, Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.core.worker import Worker
from routellm_batch.runtime import open_runner
from routellm_batch.storage.ledger import epoch, liveness
from routellm_batch.storage.run import Run

TAKEN_OVER = "another start of this run has taken it over"
TOKEN_BYTES = 6
"""Of the name of a start."""


@dataclass(frozen=True, slots=True)
class Start:
    """This start of the run."""

    token: str
    """Names it."""
    epoch: int
    """Its number among the starts that drove the run."""
    lease_s: float
    """How long a process that falls silent is waited for."""


@contextmanager
def driving(
    run: Run, sink: Sink, halt: Halt, worker: Worker, *, lease_s: float | None = None
) -> Iterator[Start]:
    """Be the one start that drives the run.

    Args:
        run: what is driven.
        sink: gets a notice if another start has to be waited for.
        halt: is stopped if another start takes over.
        worker: this process.
        lease_s: how long a silent start is waited for; None for what the environment says.

    Raises:
        BusyRunError: another one does.
        InterruptedRunError: storage failed.

    """
    token, lease = worker.new_name(TOKEN_BYTES), liveness.lease_s() if lease_s is None else lease_s
    number, clean = epoch.take(run.store, token, lease, worker, lambda text: sink(Notice(text)))
    halt.loose = not clean  # until they are shut out
    lost = partial(halt.stop, "interrupted", TAKEN_OVER)
    with epoch.holding(run.store, token, number, lease, lost, worker):
        try:
            yield Start(token, number, lease)
            if not halt.loose:
                epoch.end(run.store, number)
        except OSError as error:
            message = f"storage or the network failed ({type(error).__name__}); run the same command again to resume it"
            raise InterruptedRunError(message) from None


@contextmanager
def runner_of(cluster: ClusterConfig, sink: Sink, token: str) -> Iterator[Runner]:
    """Open what tasks run on, and close it.

    Args:
        cluster: says what that is.
        sink: gets the events of all processes.
        token: names the start of the run.

    Raises:
        ConfigError: no scheduler answers at the address, or no worker joins it.

    """
    runner = open_runner(cluster, sink, token)
    try:
        yield runner
    finally:
        runner.close()
