"""What a run did, in plain sentences: the same in the terminal and on the page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from routellm_batch.budget.plan import Degrade, Plan
from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.budget.spend.projection import WHOLE
from routellm_batch.budget.spend.summary import RouteTotals
from routellm_batch.core.types import ROUTES, ErrorKind, Route
from routellm_batch.reporting.quality_words import quality_text
from routellm_batch.reporting.run.comparison import answers_nano, counterfactual_nano
from routellm_batch.reporting.run.facts import EndpointFacts, LabelFacts, RunFacts
from routellm_batch.reporting.run.failures import MOST_LINES, failure_lines, truncated_text, uncounted_text
from routellm_batch.reporting.run.promises import missed_promises
from routellm_batch.reporting.run.saving_words import saved_line
from routellm_batch.reporting.text import by_kind, count, percent, price, public_uri, rate, rows, seconds, usd

KIND_TEXTS: dict[str, str] = {
    ErrorKind.TIMEOUT: "no whole reply within timeout_s",
    ErrorKind.CONNECTION: "the connection broke",
    ErrorKind.UNREACHABLE: "no connection could be made",
    ErrorKind.RATE_LIMITED: "still rate limited at the deadline",
    ErrorKind.SERVER_ERROR: "the endpoint failed (HTTP 5xx)",
    ErrorKind.BAD_REQUEST: "the endpoint refused the request",
    ErrorKind.CONTEXT_LENGTH: "prompt and answer don't fit the model's context",
    ErrorKind.CONTENT_FILTER: "the provider's content filter refused it",
    ErrorKind.REFUSAL: "the model refused to answer",
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
MADE_UP: Mapping[str, str] = {"simulated": "simulated", "replay": "replayed"}
"""Kind of an endpoint that is no provider's → what it is."""


def headline(facts: RunFacts) -> str:
    """Return how the run ended, in a few words."""
    if facts.state == "budget":
        return "Stopped by the budget"
    if facts.bad_labels:
        return "Stopped by invalid labels"
    if facts.state == "errors":
        return "Stopped by endpoint errors"
    if facts.state == "interrupted":
        return "Interrupted"
    if facts.state == "running":
        return "Running"
    return f"Finished, {rows(facts.calls.failed)} failed" if facts.calls.failed else "Finished"


def next_step(facts: RunFacts) -> str | None:
    """Return what to do next; None where nothing is left to do."""
    if facts.state == "budget":
        return "Raise budget.hard_cap_usd, then run the same command: it resumes."
    if facts.bad_labels:
        return (
            "The endpoints answer, but most answers are not valid labels. Look at the answers of a few failed rows, then "
            "change label.values, label.schema or label.instruction, or the model, under a new run.id; to accept so many "
            "failed rows, raise retry.max_error_rate and run the same command: it resumes."
        )
    if facts.state == "errors":
        return "Fix the endpoint, then run the same command: it resumes."
    if facts.state == "interrupted":
        return "Run the same command again: it resumes."
    if facts.state == "running":
        return None
    if facts.calls.failed:
        return "Run the same command with --retry-failed to call the failed rows again."
    return None


def asked_text(plan: Plan) -> str:
    """Return the budget that was asked for, in words."""
    value = plan.asked["value"]
    if plan.asked["mode"] == "usd":
        return f"the best routing for {usd_asked(value)}"
    if plan.asked["mode"] == "recover":
        return f"the least strong share that recovers {percent(float(value))} of the gain"
    return f"{percent(float(value))} of the rows strong"


def ranked_by(plan: Plan) -> str:
    """Return the name of what rows are ranked by, which is also the unit of the cut."""
    return "gain per dollar" if plan.ranker.order == "gain_per_dollar" else "score"


def usd_asked(value: str) -> str:
    """Return dollars as configured (a decimal string), with all of their decimals."""
    return price(usd_to_nano(Decimal(value)))


def rows_text(facts: RunFacts) -> str:
    """Return how many rows were answered, failed and so on."""
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
    if facts.plan.invalid:
        parts[-1] += by_kind(facts.plan.invalid_kinds)
    return ", ".join(parts)


def share_text(facts: RunFacts) -> str:
    """Return which share of the rows went strong, and what was asked for."""
    achieved = facts.achieved_share
    if achieved is None:
        return f"No row has been called yet; asked for {asked_text(facts.plan)}"
    done = f"{count(facts.calls.strong_rows)} of {count(facts.done)}"
    return f"{percent(achieved)} strong ({done}); asked for {asked_text(facts.plan)}"


def simulated_text(endpoints: Mapping[Route, EndpointFacts]) -> str | None:
    """Return that no bill comes for models that are simulated or replayed; None where there are none."""
    made_up = [route for route in ROUTES if endpoints[route].kind in MADE_UP]
    if not made_up:
        return None
    how = " and ".join(dict.fromkeys(MADE_UP[endpoints[route].kind] for route in made_up))
    if len(made_up) == len(ROUTES):
        return f"Both models are {how} on this machine, so no bill comes: costs are what the config's prices make of them."
    return (
        f"The {made_up[0]} model is {how} on this machine, so no bill comes for it, whatever it costs here."
    )


INVALID_TEXTS: Mapping[str, str] = {
    "no_label": "no label is named",
    "several_labels": "more than one is named",
    "not_json": "not JSON, or broken JSON",
    "breaks_schema": "JSON that breaks the schema",
    "too_large": "too long, too deep or too large",
}
"""Kind of an invalid label → what it means."""
SHOWN_LABELS = 8
"""Labels that the terminal shows."""


def labels_text(labels: LabelFacts) -> str:
    """Return how often each label was given, and how many answers were asked for again or gave none."""
    given = list(labels.given.items())
    parts = [f"{name} {count(number)}" for name, number in given[:SHOWN_LABELS]]
    rest = sum(number for _, number in given[SHOWN_LABELS:]) + labels.others
    parts += [f"others {count(rest)}"] if rest else []
    text = ", ".join(parts) or f"{rows(labels.labelled)} labelled"
    notes = [f"{count(labels.reasked)} asked again"] if labels.reasked else []
    if labels.invalid:
        kinds = ", ".join(
            f"{count(number)} {INVALID_TEXTS.get(kind, kind)}" for kind, number in labels.invalid.items()
        )
        notes.append(f"{count(sum(labels.invalid.values()))} invalid ({kinds})")
    return "; ".join([text, *notes])


def failures_text(facts: RunFacts) -> str:
    """Return the heading of the list of failed rows, which says how many of them the list names."""
    named, failed = len(facts.calls.failures), facts.calls.failed
    return "Failed row" if named == failed else f"Failed row ({named} of {count(failed)})"


def unfunded_text(facts: RunFacts) -> str | None:
    """Return how many rows the budget left out; None where it left out none."""
    unfunded = facts.calls.unfunded
    if not unfunded:
        return None
    was, is_ = ("was", "is") if unfunded == 1 else ("were", "are")
    return f"The budget left out {rows(unfunded)}, which {was} not called and {is_} not in the responses."


def presumed_text(facts: RunFacts) -> str | None:
    """Return what presumed spending means and how much there is; None where there is none."""
    presumed = facts.presumed_nano
    if not presumed:
        return None
    return (
        f"Up to {usd(presumed)} more may have been billed: some requests got no usable reply or no count of tokens, "
        "and only the provider's bill shows whether they were charged. Against a cap, each counts at its worst case."
    )


def degraded_text(plan: Plan) -> str | None:
    """Return how the hard cap lowered the plan; None where it did not."""
    lowered, cap = plan.degraded, plan.cap_nano
    if lowered is None or cap is None:
        return None
    before = int(lowered["strong_rows"])
    return (
        f"The plan was lowered to fit the hard cap of {price(cap)}: the {count(before)} strong rows that were asked for "
        f"would have cost about {usd(usd_to_nano(Decimal(lowered['planned_usd'])))}; {count(plan.strong)} fit."
    )


def degrade_text(one: Degrade) -> str:
    """Return how many rows went weak while the run was under way, when and why."""
    moved = f"{one.at.replace('+00:00', ' UTC')}: {count(one.moved)} pending strong {_noun(one.moved)} went weak, "
    if one.reason == "worst_case":
        left = usd(max(0, one.cap_nano - one.spent_nano))
        return f"{moved}as the remaining {left} did not cover the worst case of any strong request."
    ratios = " and ".join(f"{one.ratio_ppm[route] / WHOLE:.2f} times ({route})" for route in ROUTES)
    limit = f"{'budget.usd' if one.soft else 'cap'} of {price(one.cap_nano)}"
    return (
        f"{moved}{count(one.kept)} stayed strong. Answers cost {ratios} what was planned, so the run was heading for "
        f"{usd(one.projected_nano)} against a {limit}; it is now heading for {usd(one.lowered_nano)}."
    )


def beyond_text(facts: RunFacts) -> str | None:
    """Return by how much the calls cost more than the dollars that were asked for; None where they did not."""
    if facts.plan.asked["mode"] != "usd":
        return None
    asked, spent = usd_to_nano(Decimal(facts.plan.asked["value"])), facts.calls.spent_nano
    if spent <= asked:
        return None
    more = f" ({percent(spent / asked - 1)} more)"
    return (
        f"The calls cost {usd(spent)}, above the budget.usd of {price(asked)}{more}: prompts or answers had more tokens "
        "than planned. budget.usd is an expectation; set budget.hard_cap_usd for a limit that is never exceeded."
    )


def _noun(number: int) -> str:
    return "row" if number == 1 else "rows"


def rate_text(facts: RunFacts) -> str:
    """Return how long the run took, and rows per second."""
    if facts.wall_s <= 0 or not facts.done:
        return seconds(facts.wall_s)
    return f"{seconds(facts.wall_s)} ({rate(facts.done / facts.wall_s)})"


def endpoint_details(endpoints: Mapping[Route, EndpointFacts]) -> list[tuple[str, str]]:
    """Return model and prices of both endpoints, as label and text."""
    details = []
    for route in ROUTES:
        model, prices = endpoints[route].model, endpoints[route].price
        sums = [f"{price(prices.input_nano)} input", f"{price(prices.output_nano)} output"]
        if prices.cached_input_nano != prices.input_nano:
            sums.insert(1, f"{price(prices.cached_input_nano)} cached input")
        name = route.capitalize()
        details += [(f"{name} model", model), (f"{name} price per million tokens", ", ".join(sums))]
    return details


def length_details(plan: Plan) -> list[tuple[str, str]]:
    """Return the lengths of answers in the earlier run that the plan relies on, as label and text; empty without one."""
    details = []
    for route, lengths in plan.lengths.items():
        spread = (
            f"P10 {count(lengths['p10'])}, P90 {count(lengths['p90'])}; {count(lengths['answers'])} answers"
        )
        text = f"{lengths['mean']:,.0f} tokens on average ({spread})"
        details.append((f"{route.capitalize()} answers in run {lengths['run']}", text))
    return details


def run_details(facts: RunFacts) -> list[tuple[str, str]]:
    """Return the facts of a run that no chart or table shows, as label and text."""
    return [
        ("Run", facts.run_id),
        ("Folder", facts.run_uri),
        *endpoint_details(facts.endpoints),
        *length_details(facts.plan),
        ("Router", facts.router),
        *facts.settings.items(),
        ("Rows that share another row's answer", count(facts.calls.copies)),
        ("Invalid rows", f"{count(facts.plan.invalid)}{by_kind(facts.plan.invalid_kinds)}"),
        ("Wall time", rate_text(facts)),
        ("Exit code", str(facts.exit_code)),
    ]


def spent_text(facts: RunFacts) -> str:
    """Return what was spent beside what was planned, and what the run's own pilot cost, which is in no plan."""
    planned = f"of {usd(facts.plan.planned_nano)} planned"
    if facts.own_pilot is None:
        return f"spent {usd(facts.spent_nano)} {planned}"
    pilot = facts.own_pilot.spent_nano
    return (
        f"spent {usd(facts.spent_nano)}: {usd(facts.spent_nano - pilot)} {planned}, {usd(pilot)} on the pilot"
    )


def answers_text(facts: RunFacts) -> str:
    """Return what all answers cost; where a pilot had paid for some, also what the run paid for the others."""
    paid, taken = usd(facts.calls.spent_nano), facts.calls.taken
    if not taken:
        return paid
    return f"about {usd(answers_nano(facts))}: {paid} here, and {count(taken)} answers that the pilot had paid for"


def closing_lines(facts: RunFacts, report_uri: str) -> list[str]:
    """Return the last lines that a run prints; the very last one says where the report is."""
    spent = spent_text(facts)
    if facts.plan.cap_nano is not None:
        spent += f", hard cap {price(facts.plan.cap_nano)}"
    lines = [f"{headline(facts)} in {rate_text(facts)}"]
    if facts.stop_reason:
        lines[0] += f": {facts.stop_reason}"
    lines += [f"  missed  {text}" for text in missed_promises(facts)]
    lines += [f"  rows    {rows_text(facts)}", f"  share   {share_text(facts)}", f"  cost    {spent}"]
    if facts.calls.ok:
        all_strong, all_weak = (usd(counterfactual_nano(facts, route)) for route in ROUTES)
        lines.append(f"          all strong about {all_strong}, all weak about {all_weak}")
        lines.append(f"          {saved_line(facts)}")
    if facts.labels is not None:
        lines.append(f"  labels  {labels_text(facts.labels)}")
    labels = ("errors ", *("       " for _ in range(MOST_LINES)))
    lines += [f"  {label} {text}" for label, text in zip(labels, failure_lines(facts), strict=False)]
    graded = None if facts.quality is None else quality_text(facts.quality)
    if graded:
        lines.append(f"  quality {graded}")
    degraded = [degraded_text(facts.plan), *map(degrade_text, facts.degrades)]
    listed = facts.plan.invalid and not facts.pending  # They are written with the answers of their shard.
    invalid = f"What is wrong with each invalid row is in {facts.run_uri}/failed/." if listed else ""
    notes = [
        simulated_text(facts.endpoints),
        invalid,
        beyond_text(facts),
        truncated_text(facts),
        uncounted_text(facts),
        presumed_text(facts),
        *degraded,
        *facts.notices,
    ]
    lines += [f"  note    {note}" for note in notes if note]
    step = next_step(facts)
    if step:
        lines.append(f"  next    {step}")
    return [*lines, f"  report  {public_uri(report_uri)}"]


ADVICE: Mapping[str, str] = {
    "auth": "an endpoint refused the key; check endpoints.*.api_key",
    "quota": "an endpoint says that its credit or quota is used up",
    "not_found": "an endpoint knows no such URL or model; check endpoints.*.base_url and model",
    "redirect": "an endpoint answered with a redirect, which is never followed; check endpoints.*.base_url",
    "over_reserve": "an endpoint counted more tokens than the request allowed, so the hard cap can't be kept; "
    "where prompts hold images, audio or files, give their real maximum in input.part_tokens",
}
"""Reason of a halt → what happened and what to check."""


def stop_words(reason: str | None, max_error_rate: float) -> str | None:
    """Return why a run stopped, as a clause for the user.

    Args:
        reason: as the halt has it; None for no stop.
        max_error_rate: ``retry.max_error_rate``.

    """
    if reason == "error_rate":
        return f"more than {max_error_rate:.0%} of the last rows failed (retry.max_error_rate)"
    return ADVICE.get(reason or "", reason)


def failing_words(name: str, totals: RouteTotals) -> str:
    """Return that an endpoint failed every row, as a clause for the user, and what may be changed then.

    Args:
        name: of the endpoint, as ``strong endpoint``.
        totals: what its calls did.

    """
    failed = "its only row" if totals.calls == 1 else f"all its {rows(totals.calls)}"
    if totals.answered:
        return f"the {name} failed {failed}: it answers, but no answer is of use"
    return (
        f"the {name} failed {failed} and has answered none, so its base_url, model and params may still be changed; "
        "if you fix it elsewhere, add --retry-failed"
    )
