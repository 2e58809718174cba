"""Rows 11 to 16 of the fault matrix: endpoints refuse, break, hang, lie or are gone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from helpers.jobs import billing, nano
from helpers.lab import END_S, IN_FLIGHT, ROWS, Lab
from helpers.oracle import (
    answers,
    bills,
    check_accounted,
    check_booked,
    check_cap,
    check_every_row_once,
    check_same,
    cost,
)
from helpers.patience import patience

Rows = list[dict[str, Any]]


def statuses(lab: Lab) -> list[int]:
    return [line["status"] for line in billing(lab.log)]


def patient(lab: Lab, **retry: Any) -> None:
    """Give a row some more attempts than usual."""
    lab.changes["retry"] = {"attempts": 6, "budget": 0.4, **retry}


def test_row_11_rate_limit_storm(lab: Lab, undisturbed: Rows) -> None:
    """A server that allows 60 requests a second, and a tenth of them refused besides, is used and not drowned."""
    lab.changes["budget__hard_cap_usd"] = "1"
    limits = {"concurrency": 32}
    lab.changes |= {"endpoints__strong__limits": limits, "endpoints__weak__limits": limits}
    lab.serve(latency_ms=100, rpm=3600, burst=30, faults={"rate_limit": 0.1}, retry_after_ms=100)
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_cap(lab.log, "1")
    check_accounted(lab.run, lab.log, most=0)
    assert 0 < statuses(lab).count(429) <= ROWS / 2
    requests = lab.requests()
    lab.finish()
    assert requests == lab.requests()


def test_row_12_endpoint_down_then_storm(lab: Lab, undisturbed: Rows) -> None:
    """Gone for some seconds, then answering nothing but 5xx: rows wait, few requests are wasted, all are answered."""
    patient(lab)
    lab.serve(latency_ms=60)
    job = lab.start()
    lab.wait_for_bills(40, job)
    lab.stop_serving()
    time.sleep(4)
    lab.serve(faults={"server_error": 1.0})
    time.sleep(4)
    lab.serve(latency_ms=30)
    code = job.wait(END_S)
    if code in {5, 75}:  # it may have given up for now; the same command goes on
        lab.finish()
    else:
        assert 0 == code, job.said
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=IN_FLIGHT)
    assert statuses(lab).count(200) >= ROWS
    assert lab.requests() <= 1.35 * ROWS + IN_FLIGHT


def test_row_13_hung_socket_and_drip(lab: Lab, undisturbed: Rows) -> None:
    """A reply that never comes, or comes byte by byte, ends at the deadline; it is presumed paid and its slot is free."""
    patient(lab, budget=1)
    lab.changes |= {"endpoints__strong__timeout_s": 1.5, "endpoints__weak__timeout_s": 1.5}
    lab.serve(script={"5": ["hang"], "6": ["drip"], "7": ["hang", "drip"], "20": ["drip"]})
    begun = time.monotonic()
    lab.finish()
    assert time.monotonic() - begun < patience(20)
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=10)
    assert nano(cost(lab.run)["presumed_usd"]) > 0


BROKEN = ["truncated", "html", "bad_json", "wrong_shape", "html"]


def test_row_14_broken_answers(lab: Lab, undisturbed: Rows) -> None:
    """What is no chat completion is never stored as an answer; it is presumed paid, and a row error after some.

    An answer without a count of its tokens is kept, and presumed paid too.
    """
    lab.changes["retry"] = {"attempts": 5, "budget": 1, "max_error_rate": 1}
    lab.serve(
        script={**{str(3 * n): [fault] for n, fault in enumerate(BROKEN)}, "40": BROKEN, "60": ["no_usage"]}
    )
    lab.finish(3)
    check_every_row_once(lab.run, lab.ids)
    rows = answers(lab.run)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [("bad_reply", None)] * len(failed) == [(row["error_kind"], row["answer"]) for row in failed]
    assert 1 <= len(failed) <= 2  # one at each endpoint that saw so many requests
    answered = {row["id"] for row in rows} - {row["id"] for row in failed}
    free = {row["id"] for row in undisturbed if not row["cost_usd"]}
    uncounted = {row["id"] for row in rows if row["status"] == "ok" and not row["cost_usd"]} - free
    assert 1 <= len(uncounted) <= 2
    expected = {row["id"]: (row["route"], row["answer"], row["cost_usd"]) for row in undisturbed}
    found = {row["id"]: (row["route"], row["answer"], row["cost_usd"]) for row in rows}
    counted = answered - uncounted
    assert {name: expected[name] for name in counted} == {name: found[name] for name in counted}
    assert {name: expected[name][:2] for name in uncounted} == {name: found[name][:2] for name in uncounted}
    check_accounted(lab.run, lab.log, most=20)
    assert nano(cost(lab.run)["presumed_usd"]) > 0
    requests = lab.requests()
    lab.finish(3)
    assert requests == lab.requests()


@pytest.mark.parametrize(("fault", "words"), [("quota", "credit or quota"), ("auth", "refused the key")])
def test_row_15_no_credit_or_key_refused(lab: Lab, undisturbed: Rows, fault: str, words: str) -> None:
    """The first such answer stops the sending; nothing is tried again, and the same command goes on later."""
    lab.serve(script={str(n): [fault] * 20 for n in range(30, 300)}, latency_ms=30)
    job = lab.start()
    assert 5 == job.wait(END_S), job.said
    assert words in job.said
    refused = [line["request_key"] for line in billing(lab.log) if line["status"] in {401, 429}]
    assert (True, len(set(refused))) == (1 <= len(refused) <= IN_FLIGHT, len(refused))
    assert lab.billed == cost(lab.run)["rows"]["ok"]
    lab.serve()
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
    check_accounted(lab.run, lab.log, most=0)


def test_row_16_usage_above_the_reserve(lab: Lab) -> None:
    """An answer that cost more than its request allowed stops a capped run, loudly, with the open calls as the rest."""
    lab.changes["budget__hard_cap_usd"] = "0.5"
    for route in ("strong", "weak"):
        lab.changes[f"endpoints__{route}__params"] = {"max_completion_tokens": 600}
    lab.serve(output_tokens=60, script={"30": ["overrun"]}, latency_ms=60)
    job = lab.start()
    assert 5 == job.wait(END_S), job.said
    assert "counted more tokens than the request allowed" in job.said
    lines = bills(lab.log)
    over = [n for n, line in enumerate(lines) if line["output_tokens"] > 600]
    assert (True, len(lines)) == (len(lines) - over[0] <= IN_FLIGHT + 1, len(lines))
    check_booked(lab.run, lab.log)
    check_cap(lab.log, "0.5")
