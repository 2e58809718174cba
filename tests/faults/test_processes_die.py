"""Rows 1, 2, 8, 9, 10, 27, 28 and 29 of the fault matrix: processes die, are started twice or are told to stop."""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest
from helpers.jobs import PRICES, billing
from helpers.lab import CONCURRENCY, END_S, IN_FLIGHT, ROWS, Lab, texts
from helpers.oracle import answers, check_accounted, check_cap, check_every_row_once, check_same, cost
from helpers.patience import patience, wait_for
from helpers.programs import busy, kill

Rows = list[dict[str, Any]]
LOCAL = {"kind": "local", "workers": 2}
KILLS = 5
BUSY_LOOPS = 5


def test_row_01_worker_killed_while_scoring(lab: Lab, undisturbed: Rows) -> None:
    """A worker that dies while scoring costs its shard a second go, and nothing else."""
    lab.changes["cluster"] = LOCAL
    lab.env |= {"FAULTS": "slow_scores", "FAULT_SLOW_S": "0.3"}
    lab.serve()
    job = lab.start()
    wait_for(lambda: lab.count("commit/score/*"), 40, "a scored shard")
    kill(job.workers()[0])
    assert 0 == job.wait(END_S), job.said
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


def test_row_02_worker_killed_while_calling(lab: Lab, undisturbed: Rows) -> None:
    """A worker that dies while calling loses at most its open calls; the report has them, and nothing is called twice."""
    lab.changes["cluster"] = LOCAL
    lab.serve(latency_ms=100)
    job = lab.start()
    lab.wait_for_bills(60, job)
    kill(job.workers()[0])
    assert 0 == job.wait(END_S), job.said
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)
    billed = lab.requests()
    lab.finish()
    assert billed == lab.requests()


def test_row_08_driver_killed(lab: Lab, undisturbed: Rows) -> None:
    """A driver killed while scoring, right after planning and while calling goes on each time; the plan stands."""
    lab.changes |= {"cluster": {"kind": "serial"}, "budget__hard_cap_usd": "1"}
    lab.env |= {"FAULTS": "slow_scores", "FAULT_SLOW_S": "0.05"}
    lab.serve(latency_ms=60)
    job = lab.start()
    wait_for(lambda: lab.count("commit/score/*") >= 3, 40, "scored shards")
    job.close()
    job = lab.start()
    wait_for((lab.run / "plan.json").exists, 40, "a plan")
    job.close()
    plan = (lab.run / "plan.json").read_bytes()
    job = lab.start()
    lab.wait_for_bills(60, job)
    job.close()
    lab.finish()
    assert plan == (lab.run / "plan.json").read_bytes()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_cap(lab.log, "1")
    check_accounted(lab.run, lab.log, most=2 * IN_FLIGHT)
    billed = lab.requests()
    lab.finish()
    assert billed == lab.requests()


def test_row_09_two_drivers_at_once(lab: Lab, undisturbed: Rows) -> None:
    """A second start of a run that is under way leaves at once, says why and calls nothing."""
    lab.changes["cluster"] = {"kind": "serial"}
    lab.serve(latency_ms=400)
    first = lab.start()
    lab.wait_for_bills(20, first)
    second, begun = lab.start(), time.monotonic()
    assert 75 == second.wait(END_S), second.said
    assert time.monotonic() - begun < patience(15)
    assert "another start" in second.said
    assert "Traceback" not in second.said
    assert 0 == first.wait(END_S), first.said
    assert ROWS == lab.requests()
    check_same(lab.run, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_row_10_driver_told_to_stop(lab: Lab, undisturbed: Rows, number: signal.Signals) -> None:
    """A first signal ends the sending, keeps every reply, reports and exits 75; the same command does the rest."""
    lab.changes["cluster"] = LOCAL if number is signal.SIGTERM else {"kind": "serial"}
    lab.serve(latency_ms=100)
    job = lab.start()
    lab.wait_for_bills(40, job)
    job.send(number)
    assert 75 == job.wait(10), job.said
    stopped = cost(lab.run)
    assert ("interrupted", lab.billed) == (stopped["state"], stopped["rows"]["ok"])
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


def test_row_10_driver_told_to_stop_twice(lab: Lab) -> None:
    """A second signal ends the job at once, whatever is still open."""
    lab.changes["endpoints__weak__timeout_s"] = lab.changes["endpoints__strong__timeout_s"] = 60
    lab.serve(script={"2": ["hang"]}, latency_ms=60)  # by chance, none might be open
    job = lab.start()
    lab.wait_for_bills(10, job)
    job.send(signal.SIGTERM)
    time.sleep(1)
    assert not job.ended
    job.send(signal.SIGTERM)
    assert 75 == job.wait(2), job.said
    lab.serve()
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)


def kill_workers_on_a_busy_machine(lab: Lab, seed: int) -> None:
    """Kill a random worker five times, at random moments, beside five busy loops: every row is answered, exit 0."""
    rng = random.Random(seed)
    lab.write_input(texts(200))
    lab.changes |= {"cluster": LOCAL, "input__shard_rows": 64}
    lab.serve(latency_ms=400)
    with busy(BUSY_LOOPS):
        job = lab.start()
        lab.wait_for_bills(10, job)
        killed = 0
        while killed < KILLS and not job.ended:
            time.sleep(rng.uniform(0.5, 3))
            if workers := job.workers():
                kill(rng.choice(workers))
                killed += 1
        assert 0 == job.wait(2 * END_S), job.said
    check_every_row_once(lab.run, lab.ids)
    assert ["ok"] * 200 == [row["status"] for row in answers(lab.run)]
    check_accounted(lab.run, lab.log, most=killed * IN_FLIGHT)
    billed = lab.settled_requests()
    lab.finish()
    assert billed == lab.requests()


@pytest.mark.parametrize("seed", [29, 30])
def test_row_29_limits_over_kills_and_starts(lab: Lab, seed: int) -> None:
    """Whatever is killed and started again, the endpoints never see more calls at once than they take: no 429 comes."""
    rng = random.Random(seed)
    lab.write_input(texts(120))
    lab.changes |= {"cluster": LOCAL, "input__shard_rows": 12}
    lab.changes |= {f"endpoints__{route}__timeout_s": 60 for route in PRICES}
    lab.serve(latency_ms=300, concurrency=CONCURRENCY)
    for _ in range(2):
        job = lab.start()
        lab.wait_for_bills(lab.billed + 10, job)
        kill(rng.choice(job.workers()))
        time.sleep(rng.uniform(0.5, 4))
        job.close()
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    assert [] == [line for line in billing(lab.log) if line["status"] == 429]


def test_row_27_workers_killed_on_a_busy_machine(lab: Lab) -> None:
    """Workers that die again and again, while they start too, are brought back; what they had answered stays."""
    kill_workers_on_a_busy_machine(lab, seed=27)


def test_row_28_workers_killed_on_a_busy_machine_again(lab: Lab) -> None:
    """The same at other moments."""
    kill_workers_on_a_busy_machine(lab, seed=28)
