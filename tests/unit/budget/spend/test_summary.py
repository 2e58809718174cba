"""Sums of shards are the sum of the run, in any order and through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.budget.spend.summary import (
    KEPT,
    MOST_REASONS,
    CallSummary,
    FailedRow,
    Failures,
    RouteTotals,
    SlowRow,
    add_all,
    add_failures,
    latency_bin,
    latency_quantile,
)
from routellm_batch.core.types import ErrorDetail, Usage

COUNTS = st.integers(0, 1000)
TOTALS = st.builds(
    RouteTotals,
    calls=COUNTS,
    attempts=COUNTS,
    usage=st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS),
    spent_nano=COUNTS,
    presumed_nano=COUNTS,
    latency_bins=st.dictionaries(st.integers(-20, 60), st.integers(1, 9), max_size=4),
)
SUMMARIES = st.builds(
    CallSummary,
    ok=COUNTS,
    failed=COUNTS,
    strong_rows=COUNTS,
    unfunded=COUNTS,
    copies=COUNTS,
    routes=st.fixed_dictionaries({"strong": TOTALS, "weak": TOTALS}),
    errors=st.dictionaries(st.sampled_from(["timeout", "auth"]), st.integers(1, 9)),
)


@given(SUMMARIES, SUMMARIES, SUMMARIES)
def test_summaries_add_in_any_order(one: CallSummary, two: CallSummary, three: CallSummary) -> None:
    """Adding is associative and commutative, and nothing added is nothing changed."""
    assert one + (two + three) == (one + two) + three == add_all([three, one, two])
    assert one + CallSummary() == CallSummary() + one
    assert one.spent_nano + two.spent_nano == (one + two).spent_nano


@given(SUMMARIES)
def test_summaries_survive_json(summary: CallSummary) -> None:
    """What a marker holds is what was summed up."""
    whole = summary + CallSummary(
        slowest=[SlowRow("a", "weak", 0.5)],
        failures=[FailedRow("b", "weak", "timeout")],
        reasons=[Failures("weak", "bad_request", 2, ErrorDetail(400, "wrong"))],
        halts=[Failures("weak", "auth")],
        truncated={"weak": 3},
    )
    assert whole == CallSummary.from_dict(json.loads(json.dumps(whole.to_dict())))


def test_only_the_slowest_and_the_first_failures_are_named() -> None:
    """However many shards are added, ten of each stay: the slowest, and the first that failed."""
    parts = [
        CallSummary(
            slowest=[SlowRow(f"r{n}", "weak", float(n))], failures=[FailedRow(f"r{n}", "weak", "timeout")]
        )
        for n in range(40)
    ]
    total = add_all(parts)
    assert [f"r{n}" for n in range(39, 39 - KEPT, -1)] == [row.id for row in total.slowest]
    assert [f"r{n}" for n in range(KEPT)] == [row.id for row in total.failures]


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_quantiles_are_right_to_a_bin(quantile: float) -> None:
    """A quantile from bins is within 9 % of the exact one."""
    values = [0.003 * 1.01**n for n in range(1000)]
    bins: dict[int, int] = {}
    for value in values:
        bins[latency_bin(value)] = bins.get(latency_bin(value), 0) + 1
    exact = values[max(0, round(quantile * 1000) - 1)]
    assert latency_quantile(bins, quantile) == pytest.approx(exact, rel=0.1)


def test_no_calls_have_no_latency() -> None:
    """Without a call there is no quantile; an instant one has a bin."""
    assert (None, True) == (latency_quantile({}, 0.5), isinstance(latency_bin(0.0), int))


def test_a_summary_of_an_older_version_is_read() -> None:
    """Its marker knows neither reasons nor answers that were cut off."""
    fields = json.loads(json.dumps(CallSummary(failed=1, errors={"timeout": 1}).to_dict()))
    for name in ("reasons", "halts", "truncated"):
        del fields[name]
    for totals in fields["routes"].values():
        del totals["uncounted"]
    read = CallSummary.from_dict(fields)
    assert ([], {}, 0) == (read.reasons, read.truncated, read.routes["weak"].uncounted)


def test_failures_of_one_reason_are_added_up() -> None:
    """The commonest comes first; endpoint, kind and what was said tell them apart."""
    wrong = ErrorDetail(400, "wrong")
    some = [
        Failures("weak", "auth"),
        Failures("weak", "bad_request", 2, wrong),
        Failures("strong", "bad_request"),
    ]
    expected = [
        Failures("weak", "bad_request", 4, wrong),
        Failures("strong", "bad_request", 2),
        Failures("weak", "auth", 2),
    ]
    assert expected == add_failures([*some, *some])


def test_an_endpoint_that_names_each_request_floods_nothing() -> None:
    """Of many different details the commonest are kept; the others are one by status, and no row is lost."""
    common = Failures("weak", "bad_request", 9, ErrorDetail(400, "wrong"))
    many = [Failures("weak", "bad_request", 1, ErrorDetail(400, f"req{n}")) for n in range(1000)]
    whole = add_failures([*many, common])
    assert (MOST_REASONS + 1, 1009) == (len(whole), sum(one.rows for one in whole))
    assert [common, Failures("weak", "bad_request", 1000 - MOST_REASONS + 1, ErrorDetail(400))] == sorted(
        whole[:2], key=lambda one: one.rows
    )
