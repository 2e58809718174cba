"""The exception tree. An error carries what was being done; its text says what to do next.

    RoutellmBatchError
    ├── InputError                     exit 2: bad config or input, nothing spent
    │   ├── ConfigError                key, problem
    │   ├── DataError                  file, column, row, problem
    │   ├── RunMismatchError           field-level differences to the run on storage
    │   ├── BudgetError                the sums that don't fit
    │   ├── StoreError                 a store that can't keep the promises
    │   ├── CheckpointError            router weights that can't be used
    │   └── MissingExtraError          a feature whose packages are not installed
    ├── StopError                      the run stopped early; the same command resumes it
    │   ├── BudgetStopError            exit 4
    │   ├── EndpointStopError          exit 5
    │   ├── WorkerLostError            exit 5: a shard whose worker process dies every time
    │   └── InterruptedRunError        exit 75
    │       ├── BusyRunError           another start drives the run
    │       ├── SchedulerLostError     the cluster can't be reached; its tasks may still run
    │       ├── NoWorkersError         the cluster has no worker any more
    │       ├── NotBegunError          a task that was not begun, as the run stops
    │       └── FencedError            another runner or start has taken over
    ├── TaskError                      a task failed in a way that nothing foresaw: class and place
    └── CallError                      one failed attempt at one endpoint: kind, verdict, status

No message ever holds a prompt, an answer or a key: only ids, names, kinds and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routellm_batch.core.types import ErrorDetail, ErrorKind, RateHint, Usage, Verdict


class RoutellmBatchError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class InputError(RoutellmBatchError):
    """Bad config or input; found before anything was spent."""

    exit_code = 2


class ConfigError(InputError):
    """A config key that can't be used."""

    def __init__(self, key: str, problem: str, *, source: str = "") -> None:
        self.key = key
        self.problem = problem
        self.source = source
        where = f"{source}: " if source else ""
        super().__init__(f"{where}{key}: {problem}" if key else f"{where}{problem}")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields: Dask carries errors between processes."""
        return (_config_error, (self.key, self.problem, self.source))


def _config_error(key: str, problem: str, source: str) -> ConfigError:
    return ConfigError(key, problem, source=source)


class DataError(InputError):
    """An input file, column or row that can't be used."""

    def __init__(
        self, problem: str, *, file: str = "", column: str | None = None, row: int | None = None
    ) -> None:
        self.problem = problem
        self.file = file
        self.column = column
        self.row = row
        parts = [file] if file else []
        if column is not None:
            parts.append(f"column {column!r}")
        if row is not None:
            parts.append(f"row {row}")
        super().__init__(f"{', '.join(parts)}: {problem}" if parts else problem)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields: Dask carries errors between processes."""
        return (_data_error, (self.problem, self.file, self.column, self.row))


def _data_error(problem: str, file: str, column: str | None, row: int | None) -> DataError:
    return DataError(problem, file=file, column=column, row=row)


class RunMismatchError(InputError):
    """The run on storage was begun with another config or another input."""


class BudgetError(InputError):
    """The budget can't pay for the job; both sums are in the text."""


class StoreError(InputError):
    """A store that can't keep the promises (no exclusive create, not writable)."""


class CheckpointError(InputError):
    """Router or embedder weights that are absent, damaged, or made for something else."""


class MissingExtraError(InputError):
    """A feature whose packages are not installed; the text names the extra."""


class StopError(RoutellmBatchError):
    """The run stopped before its end; the same command resumes it."""

    exit_code = 75


class BudgetStopError(StopError):
    """What is left of the budget pays for no further call."""

    exit_code = 4


class EndpointStopError(StopError):
    """Too many errors, or one that no retry can help."""

    exit_code = 5


class InterruptedRunError(StopError):
    """A signal or the deadline."""

    exit_code = 75


class WorkerLostError(StopError):
    """A task's worker process died; ``deaths`` times, where Dask itself ran the task again."""

    exit_code = 5

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        super().__init__(
            f"a worker process died with it {deaths} times in a row, and it never got further; see the workers' logs, "
            "or the memory they have"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        return (WorkerLostError, (self.deaths,))


class BusyRunError(InterruptedRunError):
    """Another start of the run drives it."""

    def __init__(self, who: Mapping[str, object]) -> None:
        self.who = dict(who)
        super().__init__(
            f"another start of this run is driving it (process {who.get('pid')} on {who.get('name')}); nothing was "
            "called here. Let it end, or stop it and run this command again"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        return (BusyRunError, (self.who,))


class SchedulerLostError(InterruptedRunError):
    """The scheduler can't be reached: what it was running may run on, unseen."""

    def __init__(self) -> None:
        super().__init__("the Dask scheduler is gone")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        return (SchedulerLostError, ())


class NoWorkersError(InterruptedRunError):
    """The cluster has no worker any more: what was running was lost with them."""

    def __init__(self, waited_s: float) -> None:
        self.waited_s = waited_s
        super().__init__(
            f"the Dask cluster has no worker any more, and none joined within {waited_s:.0f} s; see to it that workers "
            "run, then run the same command again: it resumes"
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        return (NoWorkersError, (self.waited_s,))


class NotBegunError(InterruptedRunError):
    """A task that no worker has begun is handed back, as the run stops."""

    def __init__(self) -> None:
        super().__init__("the run stopped before this task was begun")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        return (NotBegunError, ())


class FencedError(InterruptedRunError):
    """Another runner, or another start of the run, has taken over; nothing more may be sent here."""

    def __init__(self) -> None:
        super().__init__("another start of this run has taken it over")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        return (FencedError, ())


class TaskError(RoutellmBatchError):
    """A task raised what nothing foresaw. Its text stays where it was raised, as it may hold a row's data."""

    def __init__(self, kind: str, place: str) -> None:
        self.kind = kind
        """Class of what was raised."""
        self.place = place
        """File, line and function."""
        super().__init__(f"a task failed with {kind} at {place}; the same command resumes the run")

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields: Dask carries errors between processes."""
        return (TaskError, (self.kind, self.place))


class CallError(RoutellmBatchError):
    """One failed attempt. Carries no text of the request or of the reply."""

    def __init__(
        self,
        kind: ErrorKind,
        verdict: Verdict,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        maybe_billed: bool = False,
        rate_hint: RateHint | None = None,
        detail: ErrorDetail | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.kind = kind
        self.verdict = verdict
        self.status = status
        self.retry_after_s = retry_after_s
        self.maybe_billed = maybe_billed
        self.rate_hint = rate_hint
        self.detail = detail
        """What the endpoint's error says for programs; None where it sent none."""
        self.usage = usage
        """Tokens that the endpoint counted all the same: they are billed."""
        super().__init__(f"{kind}" + (f" (HTTP {status})" if status is not None else ""))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields."""
        names = ("status", "retry_after_s", "maybe_billed", "rate_hint", "detail", "usage")
        return (_call_error, (self.kind, self.verdict, {name: getattr(self, name) for name in names}))


def _call_error(kind: ErrorKind, verdict: Verdict, fields: Mapping[str, Any]) -> CallError:
    return CallError(kind, verdict, **fields)
