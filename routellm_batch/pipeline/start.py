"""One start of a run: that it is the only one, and what its tasks run on."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from routellm_batch.config.job import Config
from routellm_batch.core.errors import InterruptedRunError
from routellm_batch.core.events import Notice, Sink
from routellm_batch.core.halt import Halt
from routellm_batch.core.protocols import Runner
from routellm_batch.runtime import open_runner
from routellm_batch.storage.ledger import epoch
from routellm_batch.storage.ledger.liveness import lease_s
from routellm_batch.storage.run import Run

TAKEN_OVER = "another start of this run has taken it over"


@dataclass(frozen=True, slots=True)
class Start:
    """This start of the run."""

    token: str
    epoch: int


@contextmanager
def driving(run: Run, sink: Sink, halt: Halt) -> Iterator[Start]:
    """Be the one start that drives the run.

    Raises:
        BusyRunError: another one does.
        InterruptedRunError: storage failed.

    """
    token, lease = secrets.token_hex(6), lease_s()
    number, clean = epoch.take(run.store, token, lease, time.sleep, lambda text: sink(Notice(text)))
    halt.loose = not clean  # until they are shut out
    with epoch.holding(run.store, token, number, lease, lambda: halt.stop("interrupted", TAKEN_OVER)):
        try:
            yield Start(token, number)
            if not halt.loose:
                epoch.end(run.store, number)
        except OSError as error:
            message = (
                f"storage or the network failed ({type(error).__name__}); run the same command again to go on"
            )
            raise InterruptedRunError(message) from None


@contextmanager
def runner_of(config: Config, sink: Sink, token: str) -> Iterator[Runner]:
    """Open what the config's tasks run on, and close it."""
    runner = open_runner(config.cluster, sink, token)
    try:
        yield runner
    finally:
        runner.close()
