"""A meter of what embeddings cost, which follows the work and not the process.

A router is shared by all threads of a process, so what its embedder pays can't be read off the embedder: whoever
wants to know opens a meter around the work, and the embedder books on the meter that is open where it is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.core.errors import BudgetStopError

Declare = Callable[[int], None]
"""Records on storage that so many nano-dollars more may be spent from now on."""


class Meter:
    """Adds up what is paid while it is open, and keeps it within an allowance; any thread may book.

    What may be spent is declared before it is, in steps that double, so that little is declared and seldom.
    """

    def __init__(self, allowance_nano: int | None = None, declare: Declare | None = None) -> None:
        self.use = EmbeddingUse()
        self._allowance_nano = allowance_nano
        self._declare = declare
        self._declared_nano = 0
        self._reserved_nano = 0
        self._lock = threading.Lock()

    def reserve(self, worst_nano: int) -> None:
        """Set the worst cost of a request aside before it is sent.

        Raises:
            BudgetStopError: the allowance does not pay for it.
            StoreError: it can't be declared.

        """
        with self._lock:
            wanted = self.use.paid_nano + self._reserved_nano + worst_nano
            if self._allowance_nano is not None and wanted > self._allowance_nano:
                raise BudgetStopError(
                    "what is left of budget.hard_cap_usd pays for no further embeddings; "
                    "raise it and run the same command again"
                )
            if self._declare is not None and (more := wanted - self._declared_nano) > 0:
                spare = wanted if self._allowance_nano is None else self._allowance_nano - self._declared_nano
                step = max(more, min(self._declared_nano, spare))
                self._declare(step)
                self._declared_nano += step
            self._reserved_nano += worst_nano

    def book(self, worst_nano: int, use: EmbeddingUse) -> None:
        """Put what a request took in place of its reservation."""
        with self._lock:
            self._reserved_nano -= worst_nano
            self.use += use


_open: ContextVar[Meter | None] = ContextVar("routellm_batch_meter", default=None)


@contextmanager
def metered(allowance_nano: int | None = None, declare: Declare | None = None) -> Iterator[Meter]:
    """Open a meter for this thread's work; None is no limit. ``declare`` is called before more is spent."""
    meter = Meter(allowance_nano, declare)
    token = _open.set(meter)
    try:
        yield meter
    finally:
        _open.reset(token)


def current_meter() -> Meter:
    """Return the meter that is open here, or else one that nobody reads."""
    return _open.get() or Meter()
