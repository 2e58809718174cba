"""Why rows have no answer, or not a whole one, and what their endpoint said: words for terminal and page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routellm_batch.budget.spend.summary import Failures
from routellm_batch.core.types import ROUTES, ErrorKind, Route
from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.text import count, rows

MOST_LINES = 8
"""Reasons that the terminal lists."""


def failures_of(facts: RunFacts) -> Sequence[Failures]:
    """Return why rows failed, by endpoint and by what it said, the commonest first; without endpoint in older runs."""
    told = list(facts.calls.reasons)
    for kind, number in sorted(facts.calls.errors.items(), key=lambda item: (-item[1], item[0])):
        rest = number - sum(one.rows for one in told if one.kind == kind)
        if rest > 0:
            told.append(Failures("", kind, rest))
    return told


def halts_of(facts: RunFacts) -> Sequence[Failures]:
    """Return what stopped a run that endpoint errors stopped: errors that say that no row can be answered."""
    return facts.calls.halts if facts.state == "errors" else ()


def refused_key(facts: RunFacts, one: Failures) -> str | None:
    """Return the reference of the key that an endpoint refused, never the key; None where it refused something else."""
    return _key_of(facts, one) if one.kind in {ErrorKind.AUTH, ErrorKind.QUOTA} else None


def _key_of(facts: RunFacts, one: Failures) -> str | None:
    return next((facts.endpoints[route].api_key for route in ROUTES if route == one.route), None)


def failure_lines(facts: RunFacts) -> list[str]:
    """Return a line for each reason: endpoint, what it said, and how many rows failed for it."""
    lines = [halt_line(one, _key_of(facts, one)) for one in halts_of(facts)]
    lines += [
        f"{_said(one)}: {rows(one.rows)} failed{_key_clause(one, _key_of(facts, one))}"
        for one in failures_of(facts)
    ]
    if len(lines) > MOST_LINES:
        rest = len(lines) - MOST_LINES + 1
        lines = [*lines[: MOST_LINES - 1], f"{count(rest)} more reasons are in report/cost.json"]
    return lines


def _said(one: Failures) -> str:
    """Return the endpoint, its words for programs and the kind of error, e.g. ``strong: 400 wrong (top_k), bad_request``."""
    said = ", ".join(part for part in (str(one.detail), one.kind) if part)
    return f"{one.route}: {said}" if one.route else said


def halt_line(one: Failures, key: str | None) -> str:
    """Return what an endpoint said that stopped its calls.

    Args:
        one: the error.
        key: reference of the endpoint's key, never the key; None where it has none.

    """
    return f"{_said(one)}{_key_clause(one, key) or '; it answers no row like this'}"


def _key_clause(one: Failures, key: str | None) -> str:
    if one.kind == ErrorKind.QUOTA:
        return f"; the account of {key} has no credit or quota left" if key else ""
    if one.kind != ErrorKind.AUTH or not one.route:
        return ""
    return f"; it refused the key of {key}" if key else "; it was called without a key, as api_key is not set"


def failures_json(facts: RunFacts, route: Route) -> dict[str, Any]:
    """Return the failures of one endpoint, and what stopped its calls, for ``cost.json``."""
    failed = [{**_json(one), "rows": one.rows} for one in facts.calls.reasons if one.route == route]
    halts = [
        {**_json(one), "api_key": refused_key(facts, one)} for one in halts_of(facts) if one.route == route
    ]
    return {"errors": failed, "halts": halts}


def _json(one: Failures) -> dict[str, Any]:
    detail = one.detail
    return {
        "kind": one.kind,
        "status": detail.status,
        "code": detail.code,
        "type": detail.type,
        "param": detail.param,
    }


def truncated_text(facts: RunFacts) -> str | None:
    """Return how many answers were cut off at their limit of tokens; None where none was."""
    cut_off = {route: number for route, number in facts.calls.truncated.items() if number}
    if not cut_off:
        return None
    number = sum(cut_off.values())
    where = ", ".join(f"{count(part)} {route}" for route, part in cut_off.items())
    were = "answer was" if number == 1 else "answers were"
    return (
        f"{count(number)} {were} cut off at the limit of tokens (finish_reason length; {where}). A higher "
        "params.max_completion_tokens, in a new run, leaves room for them."
    )


def uncounted_text(facts: RunFacts) -> str | None:
    """Return which endpoints did not count tokens, and what that means for costs; None where all did."""
    missing = {route: facts.calls.routes[route].uncounted for route in ROUTES}
    told = [f"{count(number)} of the {route} endpoint" for route, number in missing.items() if number]
    if not told:
        return None
    return (
        f"Answers came without a count of their tokens: {' and '.join(told)}. They are kept, and each is booked at its "
        "worst case as presumed spending."
    )
