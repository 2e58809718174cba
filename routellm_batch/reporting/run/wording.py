"""A run's outcome in plain sentences, the same in the terminal and on the page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from routellm_batch.budget.plan import Degrade, Plan
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.spend.projection import WHOLE
from routellm_batch.config.job import Config
from routellm_batch.core.types import ROUTES, STRONG, WEAK, ErrorKind, Route
from routellm_batch.reporting.quality_words import quality_text
from routellm_batch.reporting.run.comparison import answers_nano, compared_nano, counterfactual_nano
from routellm_batch.reporting.run.facts import EndpointFacts, RunFacts
from routellm_batch.reporting.text import count, percent, price, public_uri, rate, rows, seconds, usd

KIND_TEXTS: dict[str, str] = {
    ErrorKind.TIMEOUT: "no whole reply within timeout_s",
    ErrorKind.CONNECTION: "the connection broke",
    ErrorKind.UNREACHABLE: "no connection could be made",
    ErrorKind.RATE_LIMITED: "still rate limited at the deadline",
    ErrorKind.SERVER_ERROR: "the endpoint failed (HTTP 5xx)",
    ErrorKind.BAD_REQUEST: "the endpoint refused the request",
    ErrorKind.CONTEXT_LENGTH: "prompt and answer don't fit the model's context",
    ErrorKind.CONTENT_FILTER: "the provider's content filter refused it",
    ErrorKind.AUTH: "the key was not accepted",
    ErrorKind.QUOTA: "no credit or quota left",
    ErrorKind.NOT_FOUND: "no such model or path",
    ErrorKind.REDIRECT: "the endpoint redirected, which is never followed",
    ErrorKind.BAD_REPLY: "the reply was not a chat completion",
    ErrorKind.EMPTY_ANSWER: "the model answered nothing",
    ErrorKind.INVALID_LABEL: "the answer was not a valid label",
    ErrorKind.DEADLINE: "the row's retry deadline passed",
}
"""Error kind → what it means."""


def headline(facts: RunFacts) -> str:
    """Say how the run ended."""
    if facts.state == "budget":
        return "Stopped by the budget"
    if facts.state == "errors":
        return "Stopped by endpoint errors"
    if facts.state == "interrupted":
        return "Interrupted"
    return f"Finished, {rows(facts.calls.failed)} failed" if facts.calls.failed else "Finished"


def next_step(facts: RunFacts) -> str | None:
    """Say what to do next; None where nothing is left to do."""
    if facts.state == "budget":
        return "Raise budget.hard_cap_usd and run the same command: it goes on where it stopped."
    if facts.state == "errors":
        return "Mend the endpoint and run the same command: it goes on where it stopped."
    if facts.state == "interrupted":
        return "Run the same command again: it goes on where it stopped."
    if facts.calls.failed:
        return "Run the same command with --retry-failed to call the failed rows again."
    return None


def asked_text(plan: Plan) -> str:
    """Say what budget was asked for."""
    value = plan.asked["value"]
    if plan.asked["mode"] == "usd":
        return f"the best routing for {usd_asked(value)}"
    if plan.asked["mode"] == "recover":
        return f"the least strong share that recovers {percent(float(value))} of the gain"
    return f"{percent(float(value))} of the rows strong"


def ranked_by(plan: Plan) -> str:
    """Name what rows are ranked by, and so what a cut is made in."""
    return "gain per dollar" if plan.ranker.order == "gain_per_dollar" else "score"


def usd_asked(value: str) -> str:
    """Return a sum of dollars as configured, in the form of the other sums."""
    return usd(usd_to_nano(Decimal(value)))


def rows_text(facts: RunFacts) -> str:
    """Say what became of the rows."""
    calls = facts.calls
    parts = [f"{count(calls.ok)} of {rows(facts.plan.valid)} answered"]
    for number, word in (
        (calls.failed, "failed"),
        (calls.unfunded, "left out by the budget"),
        (facts.pending, "still to do"),
        (facts.plan.invalid, "invalid"),
    ):
        if number:
            parts.append(f"{count(number)} {word}")
    return ", ".join(parts)


def share_text(facts: RunFacts) -> str:
    """Say which share of the rows went strong."""
    achieved = facts.achieved_share
    if achieved is None:
        return f"No row called yet; asked for {asked_text(facts.plan)}"
    done = f"{count(facts.calls.strong_rows)} of {count(facts.done)}"
    return f"{percent(achieved)} strong ({done}); asked for {asked_text(facts.plan)}"


def saving_text(facts: RunFacts) -> str:
    """Compare what was spent with what all strong and all weak would have cost."""
    spent = compared_nano(facts)
    if not facts.done:
        return "Nothing was called, so there is nothing to compare."
    strong, weak = counterfactual_nano(facts, STRONG), counterfactual_nano(facts, WEAK)
    if facts.calls.strong_rows == 0:
        return f"Every row went to the weak model; all strong would have cost about {usd(strong)}."
    if facts.calls.strong_rows == facts.done:
        return f"Every row went to the strong model; all weak would have cost about {usd(weak)}."
    what, apart = "This run", ""
    if facts.calls.taken:
        what = "The answers"
        apart = " Those that the pilot had paid for count as the others do; what else it cost is in none of these."
    elif facts.own_pilot:
        apart = " What the pilot cost is in none of these."
    share = f" ({percent(abs(strong - spent) / strong)})" if strong else ""
    return (
        f"{what} cost {_difference(spent, strong)}{share} than sending every row to the strong model, "
        f"and {_difference(spent, weak)} than sending every row to the weak one.{apart}"
    )


def _difference(spent: int, other: int) -> str:
    return f"about {usd(abs(other - spent))} {'less' if other >= spent else 'more'}"


def failures_text(facts: RunFacts) -> str:
    """Head the list of failed rows, saying how many of them it names."""
    named, failed = len(facts.calls.failures), facts.calls.failed
    return "Failed row" if named == failed else f"Failed row ({named} of {count(failed)})"


def unfunded_text(facts: RunFacts) -> str | None:
    """Say how many rows the budget left out; None where it left out none."""
    unfunded = facts.calls.unfunded
    if not unfunded:
        return None
    return f"The budget left {rows(unfunded)} out: they were not called and are not in the responses."


def presumed_text(facts: RunFacts) -> str | None:
    """Explain presumed spend in one sentence; None where there is none."""
    presumed = facts.presumed_nano
    if not presumed:
        return None
    return (
        f"Up to {usd(presumed)} more may have been billed: some requests brought no usable reply, and whether they "
        "are paid for only the provider's bill can tell; against a cap each counts at its worst case."
    )


def degraded_text(plan: Plan) -> str | None:
    """Say what the hard cap took away from the plan; None where it took nothing."""
    lowered, cap = plan.degraded, plan.cap_nano
    if lowered is None or cap is None:
        return None
    before = int(lowered["strong_rows"])
    return (
        f"The plan was lowered to fit the hard cap of {usd(cap)}: with {count(before)} strong rows, as asked, "
        f"it would have cost about {usd_asked(lowered['planned_usd'])}; {count(plan.strong)} fit."
    )


def degrade_text(one: Degrade) -> str:
    """Say how many rows went weak while the run was under way, when and why."""
    moved = f"{one.at.replace('+00:00', ' UTC')}: {count(one.moved)} pending strong {_noun(one.moved)} went weak, "
    if one.reason == "worst_case":
        left = usd(max(0, one.cap_nano - one.spent_nano))
        return f"{moved}as {left} were left and paid for no strong request's worst case."
    ratios = " and ".join(f"{one.ratio_ppm[route] / WHOLE:.2f} times ({route})" for route in ROUTES)
    return (
        f"{moved}{count(one.kept)} stayed strong. Answers cost {ratios} what was planned, so the run was heading for "
        f"{usd(one.projected_nano)} of {usd(one.cap_nano)}; now for {usd(one.lowered_nano)}."
    )


def _noun(number: int) -> str:
    return "row" if number == 1 else "rows"


def rate_text(facts: RunFacts) -> str:
    """Say how long the run took and how fast it was."""
    if facts.wall_s <= 0 or not facts.done:
        return seconds(facts.wall_s)
    return f"{seconds(facts.wall_s)} ({rate(facts.done / facts.wall_s)})"


def endpoint_details(endpoints: Mapping[Route, EndpointFacts]) -> list[tuple[str, str]]:
    """Return model and prices of both endpoints, as label and text."""
    found = []
    for route in ROUTES:
        end = endpoints[route]
        sums = [f"{price(end.price.input_nano)} input", f"{price(end.price.output_nano)} output"]
        if end.price.cached_input_nano != end.price.input_nano:
            sums.insert(1, f"{price(end.price.cached_input_nano)} cached input")
        name = route.capitalize()
        found += [(f"{name} model", end.model), (f"{name} price per million tokens", ", ".join(sums))]
    return found


def length_details(plan: Plan) -> list[tuple[str, str]]:
    """Say which earlier run the expected lengths of answers are from, as label and text; nothing where none is."""
    found = []
    for route, told in plan.lengths.items():
        spread = f"P10 {count(told['p10'])}, P90 {count(told['p90'])}; {count(told['answers'])} answers"
        text = f"{told['mean']:,.0f} tokens on average ({spread})"
        found.append((f"{route.capitalize()} answers in run {told['run']}", text))
    return found


def run_details(facts: RunFacts) -> list[tuple[str, str]]:
    """Return the facts of a run that no chart shows, as label and text."""
    return [
        ("Run", facts.run_id),
        ("Folder", facts.run_uri),
        *endpoint_details(facts.endpoints),
        *length_details(facts.plan),
        ("Router", facts.router),
        *facts.settings.items(),
        ("Rows that share another row's answer", count(facts.calls.copies)),
        ("Invalid rows", count(facts.plan.invalid)),
        ("Wall time", rate_text(facts)),
        ("Exit code", str(facts.exit_code)),
    ]


def spent_text(facts: RunFacts) -> str:
    """Say what was spent of what was planned, and on the run's own pilot, which no plan holds."""
    planned = f"of {usd(facts.plan.planned_nano)} planned"
    if facts.own_pilot is None:
        return f"spent {usd(facts.spent_nano)} {planned}"
    pilot = facts.own_pilot.spent_nano
    return (
        f"spent {usd(facts.spent_nano)}: {usd(facts.spent_nano - pilot)} {planned}, {usd(pilot)} on the pilot"
    )


def answers_text(facts: RunFacts) -> str:
    """Say what all answers cost; where a pilot had paid for some, what the run paid for the others."""
    paid, taken = usd(facts.calls.spent_nano), facts.calls.taken
    if not taken:
        return paid
    return f"about {usd(answers_nano(facts))}: {paid} here, and {count(taken)} answers that the pilot had paid for"


def closing_lines(facts: RunFacts, report_uri: str) -> list[str]:
    """Return the last lines that a run prints; the very last says where the report is."""
    spent = spent_text(facts)
    if facts.plan.cap_nano is not None:
        spent += f", hard cap {usd(facts.plan.cap_nano)}"
    lines = [f"{headline(facts)} in {rate_text(facts)}"]
    if facts.stop_reason:
        lines[0] += f": {facts.stop_reason}"
    lines += [f"  rows    {rows_text(facts)}", f"  share   {share_text(facts)}", f"  cost    {spent}"]
    if facts.done:
        all_strong, all_weak = (usd(counterfactual_nano(facts, route)) for route in ROUTES)
        lines.append(f"          all strong about {all_strong}, all weak about {all_weak}")
    graded = None if facts.quality is None else quality_text(facts.quality)
    if graded:
        lines.append(f"  quality {graded}")
    degraded = [degraded_text(facts.plan), *map(degrade_text, facts.degrades)]
    told = facts.plan.invalid and not facts.pending  # written with the answers of their shard
    invalid = f"What is wrong with each invalid row is in {facts.run_uri}/failed/." if told else ""
    notes = [invalid, presumed_text(facts), *degraded, *facts.notices]
    lines += [f"  note    {note}" for note in notes if note]
    following = next_step(facts)
    if following:
        lines.append(f"  next    {following}")
    return [*lines, f"  report  {public_uri(report_uri)}"]


ADVICE = {
    "auth": "an endpoint refused the key; check endpoints.*.api_key",
    "quota": "an endpoint says that its credit or quota is used up",
    "not_found": "an endpoint knows no such URL or model; check endpoints.*.base_url and model",
    "redirect": "an endpoint answered with a redirect, which is never followed; check endpoints.*.base_url",
    "over_reserve": "an endpoint counted more tokens than its request allowed, so the hard cap can't be kept",
}


def stop_words(reason: str | None, config: Config) -> str | None:
    """Return a stop's reason as a sentence for the user."""
    if reason == "error_rate":
        return f"more than {config.retry.max_error_rate:.0%} of the last rows failed (retry.max_error_rate)"
    return ADVICE.get(reason or "", reason)
