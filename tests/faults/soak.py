"""``make soak``: kill whatever runs, in a storm, for ``SOAK_MINUTES`` (20); count what was lost.

Job after job: each is started, one of its workers or its driver is killed or told to stop at a random moment, and the
same command goes on until it ends. Seeded by ``SOAK_SEED`` (0): which process and when, not how fast the machine is.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from helpers.jobs import billing, nano
from helpers.lab import IN_FLIGHT, Lab, open_lab
from helpers.oracle import answers, bills, cost
from helpers.programs import Program, kill

STORM = {"rate_limit": 0.08, "server_error": 0.05, "truncated": 0.02, "hang": 0.005}
MOST_STARTS = 12
"""After so many starts a job is left in peace, so that it ends."""
MOST_WAITED_S = 30
CAP_USD = "0.2"
MAY_END = frozenset({0, 3, 4, 5, 75, -signal.SIGKILL, -signal.SIGTERM})
"""Exit codes that a start may end with; told to stop while Python itself still starts, it ends as any program does."""


@dataclass
class Counts:
    """What a soak saw."""

    jobs: int = 0
    starts: int = 0
    killed_workers: int = 0
    killed_drivers: int = 0
    stopped_drivers: int = 0
    calls: int = 0
    lost: int = 0
    twice: int = 0
    unexplained: int = 0
    overspend_nano: int = 0
    unbooked_nano: int = 0
    crashed: int = 0
    """Starts that ended with another exit code than the design has."""
    codes: Counter[int] = field(default_factory=Counter)


def disturb(lab: Lab, job: Program, rng: random.Random, counts: Counts) -> None:
    """At a random moment kill a worker, kill the driver or tell it to stop; or leave it alone.

    Three times in four that is a moment after this start's first bill, else any.
    """
    before, calling = lab.billed, rng.random() < 0.75
    patience_s = time.monotonic() + MOST_WAITED_S
    while calling and lab.billed == before and not job.ended and time.monotonic() < patience_s:
        time.sleep(0.02)
    until = time.monotonic() + (rng.uniform(0, 5) if calling else rng.uniform(1, 8))
    deed = rng.choice(["worker", "worker", "driver", "stop", "nothing"])
    while time.monotonic() < until and not job.ended:
        time.sleep(0.02)
    if job.ended or deed == "nothing":
        return
    if deed == "driver":
        counts.killed_drivers += 1
        job.close()
    elif deed == "stop":
        counts.stopped_drivers += 1
        job.send(signal.SIGTERM)
    elif workers := job.workers():
        counts.killed_workers += 1
        kill(rng.choice(workers))


def soak_one(lab: Lab, rng: random.Random, counts: Counts) -> None:
    """Run one job to its end, whatever it takes, and count."""
    lab.changes |= {
        "cluster": {"kind": "local", "workers": 2},
        "budget__hard_cap_usd": CAP_USD,
        "retry": {"attempts": 8, "budget": 1, "max_error_rate": 1},
        "endpoints__strong__timeout_s": 2,
        "endpoints__weak__timeout_s": 2,
    }
    lab.serve(latency_ms=150, faults=STORM, seed=counts.jobs)
    kills, code = 0, None
    for start in range(MOST_STARTS + 4):
        job, before = lab.start(), counts.killed_workers + counts.killed_drivers
        counts.starts += 1
        if start < MOST_STARTS:
            disturb(lab, job, rng, counts)
        code = job.wait(180)
        counts.codes[code] += 1
        kills += counts.killed_workers + counts.killed_drivers - before
        if code in {0, 3}:
            break
        if code not in MAY_END:
            counts.crashed += 1
            sys.stdout.write(f"exit code {code}: {job.said[-2000:]}\n")
    counts.jobs += 1
    audit(lab, kills, counts)


def audit(lab: Lab, kills: int, counts: Counts) -> None:
    """Compare the endpoints' bills with what lies on storage."""
    lines, rows = bills(lab.log), answers(lab.run)
    found = Counter(row["id"] for row in rows)
    per_key = Counter(line["request_key"] for line in lines)
    counts.calls += len(lines)
    counts.lost += sum(found[name] != 1 for name in lab.ids)
    counts.twice += sum(count - 1 for count in per_key.values())
    # A row's ``attempts`` hold its answer and its broken or hung sends; what is billed beyond was lost with a process.
    sent = sum(row["attempts"] for row in rows)
    counts.unexplained += max(0, len(lines) - sent - kills * IN_FLIGHT)
    booked = sum(nano(cost(lab.run)[name]) for name in ("spent_usd", "presumed_usd"))
    billed = sum(line["nano"] for line in billing(lab.log))
    counts.unbooked_nano += max(0, billed - booked)
    counts.overspend_nano += max(0, billed - nano(CAP_USD))


def main() -> int:
    """Soak, then print the counts; 0 if nothing was lost, overspent or unbooked."""
    minutes, seed = float(os.environ.get("SOAK_MINUTES", "20")), int(os.environ.get("SOAK_SEED", "0"))
    rng, counts, until = random.Random(seed), Counts(), time.monotonic() + minutes * 60
    while counts.jobs == 0 or time.monotonic() < until:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder, open_lab(Path(folder)) as lab:
            soak_one(lab, rng, counts)
        sys.stdout.write(f"{counts.jobs} jobs, {counts.starts} starts, {counts.lost} lost rows\n")
        sys.stdout.flush()
    exits = ", ".join(f"{code}: {count}" for code, count in sorted(counts.codes.items()))
    sys.stdout.write(
        f"seed {seed}, {minutes:g} minutes\n"
        f"jobs                      {counts.jobs}\n"
        f"starts                    {counts.starts} (exit codes {exits})\n"
        f"kills of workers          {counts.killed_workers}\n"
        f"kills of drivers          {counts.killed_drivers} (told to stop: {counts.stopped_drivers})\n"
        f"billed calls              {counts.calls}\n"
        f"lost rows                 {counts.lost}\n"
        f"calls paid again          {counts.twice} (not explained by the calls open at kills: {counts.unexplained})\n"
        f"billed and not in report  {counts.unbooked_nano} nano-dollars\n"
        f"overspend                 {counts.overspend_nano} nano-dollars\n"
        f"starts that crashed       {counts.crashed}\n"
    )
    wrong = (counts.lost, counts.overspend_nano, counts.unbooked_nano, counts.unexplained, counts.crashed)
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
