"""What the loops of all stages share: how many tasks they submit, and how a task fails."""

from __future__ import annotations

from routellm_batch.core.errors import InterruptedRunError, StoreError
from routellm_batch.core.types import Done

WINDOW = 2
"""Tasks submitted, per slot."""


def error_of(done: Done) -> BaseException | None:
    """Return what a task raised; a failure that may pass by itself is a stop that the same command resumes."""
    error = done.error
    if isinstance(error, (OSError, StoreError)):
        problem = str(error) if isinstance(error, StoreError) else type(error).__name__
        return InterruptedRunError(f"storage or the network failed ({problem})")
    return error


def raise_error(done: Done) -> None:
    """Raise what a task raised."""
    error = error_of(done)
    if error is not None:
        raise error from None
