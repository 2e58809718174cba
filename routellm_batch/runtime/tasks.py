"""How a runner runs a task: a failure reaches the driver as an error that holds no data.

An exception's text may quote what was being worked on, and travels far: to the driver's terminal, and through
Dask's logs, its scheduler's memory and its dashboard. So only this package's errors keep theirs.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from routellm_batch.core.errors import RoutellmBatchError, TaskError

PACKAGE = Path(__file__).parents[1]


def run_task(function: Callable[..., Any], task: object) -> Any:
    """Return ``function(task)``.

    Raises:
        RoutellmBatchError: as the task raised it, without its causes.
        OSError: of the built-in class that the task raised, with the system's own words at most.
        TaskError: the task raised something else.

    """
    try:
        return function(task)
    except RoutellmBatchError as error:
        raised: Exception = error
    except OSError as error:
        raised = _system_error(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text and its causes must not travel
        raised = TaskError(type(error).__name__, _place(error))
    # Raised outside the handlers: an exception would take the one being handled along as its context.
    raised.__cause__ = raised.__context__ = None
    raise raised


def _system_error(error: OSError) -> OSError:
    """Return an error that a driver classes the same; a store's client may have quoted the request in its text."""
    kind = next(one for one in type(error).__mro__ if one.__module__ == "builtins")
    if not issubclass(kind, OSError):
        kind = OSError
    if error.errno is None:
        return kind(f"at {_place(error)}")
    return kind(error.errno, os.strerror(error.errno))


def _place(error: BaseException) -> str:
    """Return where it was raised: the last place in this package, and the last of all where that is elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if PACKAGE in Path(frame.filename).parents]
    places = [f"{_short(f.filename)}:{f.lineno} in {f.name}" for f in (*ours[-1:], *frames[-1:])]
    return " → ".join(dict.fromkeys(places))


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])
