"""The costs of the HTML report: the table and the bars of planned and spent by endpoint, and the bars of other routings.

``templates/cost_table.html.j2`` shows the first two, ``templates/report.html.j2`` the others. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route
from routellm_batch.reporting.run.comparison import saving
from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.text import count, usd


@dataclass(frozen=True, slots=True)
class Bar:
    """One horizontal bar of a comparison of costs."""

    name: str
    nano: int
    look: str
    """Classes of the style sheet."""
    percent: float
    """Its length, in percent of the longest."""


@dataclass(frozen=True, slots=True)
class CostRow:
    """One quantity of the table, as text."""

    name: str
    strong: str
    weak: str
    both: str
    """The sum of the two."""


def cost_table(facts: RunFacts) -> list[CostRow]:
    """Return the requests, the tokens and the dollars of both endpoints, a row for each quantity."""
    strong, weak = (facts.calls.routes[route] for route in ROUTES)
    planned = facts.plan.endpoints
    numbers: list[tuple[str, Callable[[int], str], int, int]] = [
        ("Requests", count, strong.calls, weak.calls),
        ("Attempts", count, strong.attempts, weak.attempts),
        ("Input tokens", count, strong.usage.input_tokens, weak.usage.input_tokens),
        ("Cached of these", count, strong.usage.cached_input_tokens, weak.usage.cached_input_tokens),
        ("Output tokens", count, strong.usage.output_tokens, weak.usage.output_tokens),
        ("Planned", usd, planned[STRONG].planned_nano, planned[WEAK].planned_nano),
        ("Spent", usd, strong.spent_nano, weak.spent_nano),
        ("Presumed", usd, strong.presumed_nano, weak.presumed_nano),
    ]
    return [CostRow(name, form(one), form(other), form(one + other)) for name, form, one, other in numbers]


def _bars(entries: list[tuple[str, int, str]]) -> list[Bar]:
    longest = max([nano for _, nano, _ in entries] + [1])
    return [Bar(name, nano, look, 100 * nano / longest) for name, nano, look in entries]


def spend_bars(facts: RunFacts) -> list[Bar]:
    """Return what was planned and what was spent on each endpoint, two bars each."""
    entries: list[tuple[str, int, str]] = []
    for route in ROUTES:
        name = route.capitalize()
        entries.append((f"{name}, planned", facts.plan.endpoints[route].planned_nano, f"{route} outlined"))
        entries.append((f"{name}, spent", facts.calls.routes[route].spent_nano, route))
    return _bars(entries)


def routing_bars(facts: RunFacts, counterfactuals: Mapping[Route, int]) -> list[Bar]:
    """Return the cost of this run between those of all strong and all weak (``counterfactuals``, nano-dollars)."""
    made = saving(facts)
    presumed = facts.spent_nano + facts.presumed_nano
    return _bars(
        [
            ("All strong, estimated", counterfactuals[STRONG], "strong outlined"),
            ("This run", facts.spent_nano, "mixed"),
            *([("… with all that is presumed", presumed, "outlined")] if made and made.is_loose else []),
            ("All weak, estimated", counterfactuals[WEAK], "weak outlined"),
        ]
    )


def spent_percent(facts: RunFacts, route: Route) -> float:
    """Return the part of the spending, in percent, that went to one endpoint's calls; the rest is pilot and embeddings."""
    return 100 * facts.calls.routes[route].spent_nano / max(1, facts.spent_nano)
