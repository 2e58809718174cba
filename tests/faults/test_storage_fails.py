"""Rows 17 to 20 and 24 of the fault matrix: the store fails, lies, is gone; the disk is full; the clock is wrong."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import Any

import pytest
from helpers.lab import END_S, IN_FLIGHT, ROWS, Lab
from helpers.oracle import check_accounted, check_every_row_once, check_same
from helpers.patience import wait_for

Rows = list[dict[str, Any]]


def test_row_17_refused_writes_and_lost_replies(lab: Lab, undisturbed: Rows) -> None:
    """Writes that are refused, or done without a word, are tried again; no call is made twice for it."""
    lab.serve()
    lab.storage_fails(refuse=0.1, lose=0.1, seed=1)
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


def test_row_18_storage_down(lab: Lab, undisturbed: Rows) -> None:
    """While the store is gone the sending stops and nothing is dropped; when it is back, the run goes on."""
    lab.serve(latency_ms=150)
    lab.storage_fails()
    job = lab.start()
    lab.wait_for_bills(40, job)
    lab.storage_fails(down=True)
    until = time.monotonic() + 7
    wait_for(lambda: job.ended or time.monotonic() > until, 40, "the time without a store")
    before = lab.requests()
    time.sleep(1)
    assert (before, True) == (lab.requests(), before < ROWS)
    lab.storage_fails()
    lab.go_on(job)
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


def test_row_19_partial_listing(lab: Lab, undisturbed: Rows) -> None:
    """Listings that lack half of the objects cost work and never a second payment."""
    lab.serve(latency_ms=60)
    lab.storage_fails()
    job = lab.start()
    lab.wait_for_bills(100, job)
    job.close()
    lab.storage_fails(hide=0.5)
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)


def can_mount() -> bool:
    """Say whether a small disk can be had, in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=4k", "none", "/mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


SMALL_DISK = (
    "import os, sys\n"
    "mount = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=16k none $0 && exec \"$@\"']\n"
    "os.execvp('unshare', [*mount, sys.argv[1], sys.executable, *sys.argv[2:]])\n"
)
SMALL_FILES = (
    "import os, resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
)


def test_row_20_disk_full(lab: Lab, undisturbed: Rows) -> None:
    """Where the local log has no room, no reply is lost: the run goes on or stops cleanly, and a resume does the rest."""
    lab.serve()
    (lab.folder / "local").mkdir()
    arguments = ["-m", "routellm_batch.cli", "run", str(lab.config())]
    wrap = SMALL_DISK if can_mount() else SMALL_FILES
    job = lab.python("-c", wrap, str(lab.folder / "local"), *arguments, name="driver")
    lab.go_on(job)
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)


def test_row_20_no_place_for_the_local_log(lab: Lab) -> None:
    """A folder that can't be made is said before anything is sent."""
    (lab.folder / "taken").write_text("a file")
    lab.env["ROUTELLM_LOCAL_DIR"] = str(lab.folder / "taken" / "log")
    lab.serve()
    job = lab.start()
    assert 0 != job.wait(END_S)
    assert (0, True, False) == (lab.requests(), "taken" in job.said, "Traceback" in job.said)


@pytest.mark.parametrize("wrong_s", [3600, -3600])
def test_row_24_clock_skew(lab: Lab, undisturbed: Rows, wrong_s: int) -> None:
    """A start whose clock is an hour off neither takes a run from a live one nor fails to take over from a dead one."""
    lab.serve(latency_ms=400)
    first = lab.start()
    lab.wait_for_bills(20, first)
    lab.env |= {"FAULTS": "clock", "FAULT_CLOCK_S": str(wrong_s)}
    second = lab.start()
    assert 75 == second.wait(END_S), second.said
    assert not first.ended
    assert "another start" in second.said
    first.close()
    lab.serve()
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)
