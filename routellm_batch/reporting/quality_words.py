"""Grades, intervals and pilots in plain words, the same in the terminal and on the pages. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from routellm_batch.budget.frontier import Prediction
from routellm_batch.budget.marginal import Step
from routellm_batch.budget.quality.prediction import Quality, RecoverChoice
from routellm_batch.reporting.quality_view import Achieved, PilotView, QualityView
from routellm_batch.reporting.text import count, percent, rows, usd

PROBLEM_TEXTS: Mapping[str, str] = {
    "null_reference": "there is no reference answer",
    "bad_reference": "the reference answer can't be read",
    "no_answer": "there is no answer to grade",
    "unread": "the answer holds nothing that can be compared",
    "too_long": "the answer is too long to be compared",
    "no_label": "nobody labelled it",
    "no_verdict": "the judge gave no reply",
    "out_of_format": "the judge's reply holds no verdict",
}
"""Why an answer has no grade, or 0 for its form → what it means."""


def grade(value: float) -> str:
    """Return a grade, e.g. ``0.874``, ``87.40``."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def grades(lo: float, hi: float) -> str:
    """Return an interval of grades, e.g. ``0.862 – 0.899``."""
    return f"{grade(lo)} – {grade(hi)}"


def part(pgr: float | None, lo: float | None = None, hi: float | None = None) -> str | None:
    """Return a part of the gain with its interval, e.g. ``93% (90% – 96%)``; None where there is no gain."""
    if pgr is None:
        return None
    whole = percent(round(pgr, 3))
    return whole if lo is None or hi is None else f"{whole} ({span(lo, hi)})"


def span(lo: float, hi: float) -> str:
    """Return an interval of parts of the gain, e.g. ``90% – 96%``."""
    return f"{percent(round(lo, 3))} – {percent(round(hi, 3))}"


def known(value: float | None) -> str:
    """Return a grade; a dash where it is unknown."""
    return "–" if value is None else grade(value)


def graded(quality: Quality | Achieved) -> str:
    """Return a grade with its interval, e.g. ``0.881 (0.862 – 0.899)``."""
    return f"{grade(quality.mean)} ({grades(quality.lo, quality.hi)})"


def recovered(quality: Quality) -> str:
    """Return the part of the gain with its interval; a dash where there is no gain."""
    return part(quality.pgr, quality.pgr_lo, quality.pgr_hi) or "–"


def cost_interval(outlook: Prediction) -> str:
    """Return P10 and P90 of the cost, e.g. ``$0.31 – $0.40``; a dash where the pilot has no token counts."""
    if outlook.low_nano is None or outlook.high_nano is None:
        return "–"
    return f"{usd(outlook.low_nano)} – {usd(outlook.high_nano)}"


def held_text(choice: RecoverChoice | None) -> str | None:
    """Return what part of the gain the plan keeps, beside what was asked for; None where none was asked for."""
    if choice is None or choice.bound is None:
        return None
    text = (
        f"At least {part(choice.bound)} of the gain is kept with {percent(choice.confidence)} confidence; "
        f"{percent(choice.target)} was asked for"
    )
    if choice.lost is None or choice.lost_hi is None:
        return f"{text}."
    lost = f"{percent(round(choice.lost, 3))} of the rows, at most {percent(round(choice.lost_hi, 3))}"
    return f"{text}; {lost}, go weak though only the strong model gets them right."


def step_text(step: Step) -> str:
    """Return what a step adds to the mean grade, with its interval, e.g. ``+0.041 (+0.012 – +0.070)``."""
    return f"{_signed(step.gain)} ({_signed(step.lo)} – {_signed(step.hi)})"


def _signed(value: float) -> str:
    text = grade(abs(value))
    return text if not float(text) else f"{'+' if value > 0 else '−'}{text}"


def quality_text(quality: QualityView) -> str | None:
    """Return achieved and predicted grade, e.g. ``graded 0.874; 0.881 predicted (0.862 – 0.899)``; None without either."""
    parts: list[str] = []
    if quality.achieved is not None:
        parts.append(f"graded {grade(quality.achieved.mean)}")
    if quality.predicted is not None:
        predicted = quality.predicted
        parts.append(f"{grade(predicted.mean)} predicted ({grades(predicted.lo, predicted.hi)})")
    return "; ".join(parts) or None


def met_text(quality: QualityView) -> str | None:
    """Return whether the grade lies within the predicted interval; None where either is missing."""
    predicted, achieved = quality.predicted, quality.achieved
    if predicted is None or achieved is None:
        return None
    if predicted.lo <= achieved.mean <= predicted.hi:
        return "The grade lies within the interval that the pilot predicted."
    side = "above" if achieved.mean > predicted.hi else "below"
    return f"The grade lies {side} the interval that the pilot predicted, which happens by chance in one run of ten."


def problem_rows(problems: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """Return kind, meaning and number of answers of each problem, the commonest first."""
    ordered = sorted(problems.items(), key=lambda item: (-item[1], item[0]))
    return [(kind, PROBLEM_TEXTS.get(kind, ""), count(number)) for kind, number in ordered if number]


def ungradable_text(pilot: PilotView) -> str | None:
    """Return how many rows a pilot was not drawn from; None where all can be graded."""
    if not pilot.ungradable:
        return None
    return (
        f"{rows(pilot.ungradable)} can't be graded, for want of a usable reference or label: none of them was asked, and "
        "the sampled rows stand for them"
    )


def missed_text(quality: QualityView | None, choice: RecoverChoice | None) -> str | None:
    """Return that a run recovered less of the gain than was asked for; None where it did not, or what it did is unknown.

    What counts are the rows that the pilot did not see, where there are such.
    """
    if quality is None or choice is None:
        return None
    achieved = quality.pgr if quality.unseen is None else quality.unseen_pgr
    if achieved is None or round(achieved, 3) >= choice.target:
        return None
    where = "" if quality.unseen is None else " on rows that the pilot did not see"
    return (
        f"Asked to recover {percent(choice.target)} of the strong model's gain, the run achieved "
        f"{part(achieved)}{where}."
    )


def pilot_text(pilot: PilotView) -> str:
    """Return what the pilot consists of and what it cost."""
    paid = (
        f"{usd(pilot.spent_nano)}, which is part of what this run spent"
        if pilot.here
        else usd(pilot.spent_nano)
    )
    return (
        f"Made on {pilot.made}: {count(pilot.labelled)} of {rows(pilot.rows)} have a grade for both models' answers, "
        f"from the grader {pilot.grader}. It cost {paid}."
    )
