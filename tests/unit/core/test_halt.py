"""Why a run stops: the first reason stands, signals and deadlines are reasons."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.jobs import job_config
from helpers.patience import patience

from routellm_batch.core.halt import Halt, stopping_on_signals
from routellm_batch.reporting.run.wording import stop_words


def test_the_first_reason_stands() -> None:
    """What stopped the run is not overwritten by what follows from it."""
    halt = Halt()
    assert not halt.stopped
    halt.stop("errors", "auth")
    halt.stop("interrupted", "SIGINT was received")
    assert ("errors", "auth", True) == (halt.state, halt.reason, halt.stopped)


@pytest.mark.parametrize(
    ("deadline_s", "now_s", "stopped"), [(None, 9e9, False), (10.0, 9.9, False), (10.0, 10.0, True)]
)
def test_the_deadline_stops(deadline_s: float | None, now_s: float, *, stopped: bool) -> None:
    """At the deadline the run counts as interrupted; without one it never does."""
    halt = Halt(deadline_s)
    halt.check_deadline(now_s)
    assert ("interrupted" if stopped else "finished") == halt.state


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_gently_and_is_given_back(number: signal.Signals) -> None:
    """The first signal is a reason to stop; afterwards the handlers are the ones from before."""
    before = signal.getsignal(number)
    halt = Halt()
    with stopping_on_signals(halt):
        os.kill(os.getpid(), number)
        while not halt.stopped:
            pass
    assert ("interrupted", f"{number.name} was received", before) == (
        halt.state,
        halt.reason,
        signal.getsignal(number),
    )


def test_a_second_signal_ends_at_once(repo: Path) -> None:
    """A second Ctrl-C does not wait for anything: exit code 75."""
    code = """
import os, signal
from routellm_batch.core.halt import Halt, stopping_on_signals
halt = Halt()
with stopping_on_signals(halt):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        while not halt.stopped: pass
    while True: pass
"""
    assert (
        75
        == subprocess.run(
            [sys.executable, "-c", code], cwd=repo, timeout=patience(60), check=False
        ).returncode
    )


def test_another_thread_does_not_listen() -> None:
    """Outside the main thread a job runs as well, without handlers."""
    found: list[object] = []

    def play() -> None:
        with stopping_on_signals(Halt()):
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=play)
    thread.start()
    thread.join()
    assert [before] == found


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("error_rate", "more than 50% of the last rows failed (retry.max_error_rate)"),
        ("auth", "an endpoint refused the key; check endpoints.*.api_key"),
        ("over_reserve", "the hard cap can't be kept"),
        ("SIGTERM was received", "SIGTERM was received"),
    ],
)
def test_reasons_are_told_in_words(tmp_path: Path, reason: str, words: str) -> None:
    """Each reason is a sentence that says what to do."""
    assert words in (stop_words(reason, job_config(tmp_path).retry.max_error_rate) or "")


def test_a_finished_run_has_no_reason(tmp_path: Path) -> None:
    """There is nothing to say of a run that was not stopped."""
    assert stop_words(None, job_config(tmp_path).retry.max_error_rate) is None


def test_the_first_signal_is_gentle_whatever_stopped_the_run_before(tmp_path: Path) -> None:
    """A run that drains for its errors or its deadline is not killed by a single Ctrl-C."""
    halt = Halt()
    halt.stop("errors", "auth")
    with stopping_on_signals(halt):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass
    assert ("errors", "auth") == (halt.state, halt.reason)
