"""The grading part of the configuration: how answers are graded, and the pilot that needs grades.

A grader is one mapping with a ``kind``. The reference graders compare an answer with a column of the input;
``judge`` asks ``endpoints.judge``; ``labels`` reads scores that people gave.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from routellm_batch.config.endpoints import Sum, Uri
from routellm_batch.config.model import Model, plain_json

PLACEHOLDER = re.compile(r"\{(question|answer|answer_a|answer_b|reference)\}")
"""What a judge's template may have filled in; any other brace is text."""
JUDGED: dict[str, tuple[str, ...]] = {
    "pairwise": ("question", "answer_a", "answer_b"),
    "single": ("question", "answer"),
}
"""Mode of a judge → the placeholders that its template must hold."""

Unread = Literal["wrong", "unlabelled"]
Tolerance = Annotated[float, BeforeValidator(plain_json), Field(ge=0, lt=1)]


def _letters(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{2,26}", value) or len(set(value)) != len(value):
        message = "must be two or more different capital letters, such as ABCD"
        raise ValueError(message)
    return value


def _pattern(value: str) -> str:
    import re2  # late: few configs hold a pattern

    options = re2.Options()
    options.log_errors = False
    try:
        groups = re2.compile(value, options).groups
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        message = f"can't be used: {text[:200]} (RE2 syntax: no look-around, no back-references)"
        raise ValueError(message) from None
    if groups == 0:
        message = "can't be used: it has no group; put (…) around what is to be compared"
        raise ValueError(message)
    if groups > 1:
        message = "must have one group, which is what is compared; write (?:…) for the others"
        raise ValueError(message)
    return value


class _Reference(Model):
    """What all reference graders share."""

    reference: Annotated[str, Field(min_length=1)]
    """Input column that holds the right answer."""
    unread: Unread = "wrong"
    """How to score an answer that contains nothing to compare; such answers are counted either way."""


class ExactConfig(_Reference):
    """The same text, apart from surrounding space, runs of space, and case unless ``case`` is set."""

    kind: Literal["exact"]
    """Names the grader."""
    case: bool = False
    """Whether upper and lower case differ."""
    punctuation: bool = True
    """False leaves punctuation out of the comparison."""


class NumericConfig(_Reference):
    """The same number."""

    kind: Literal["numeric"]
    """Names the grader."""
    read: Literal["auto", "last", "first", "boxed", "marker"] = "auto"
    """Where the number stands; ``auto``: after the marker, else boxed, else after "answer is", else the last."""
    marker: Annotated[str, Field(min_length=1)] = "####"
    """Text that stands before the number."""
    tolerance: Tolerance = 1e-6
    """Allowed difference, as a share of the reference (of 1 where the reference is smaller)."""


class ChoiceConfig(_Reference):
    """The same letter of a multiple-choice question."""

    kind: Literal["choice"]
    """Names the grader."""
    letters: Annotated[str, AfterValidator(_letters)] = "ABCDEFGHIJ"
    """The letters that may be chosen."""
    reference_is: Literal["auto", "letter", "from_0", "from_1", "text"] = "auto"
    """How the column names the right option: its letter, its number counted from 0 or from 1, or its text."""
    options: Annotated[str, Field(min_length=1)] | None = None
    """Input column with the list of each row's options."""


class RegexConfig(_Reference):
    """The same text as the one group of a pattern finds, compared as by ``exact``."""

    kind: Literal["regex"]
    """Names the grader."""
    pattern: Annotated[str, AfterValidator(_pattern)]
    """RE2 pattern with one group, whose match is compared."""
    match: Literal["first", "last"] = "last"
    """Which match counts where there are several."""
    case: bool = False
    """Whether upper and lower case differ."""


class JsonConfig(_Reference):
    """The same JSON value, whatever the order of keys."""

    kind: Literal["json"]
    """Names the grader."""
    keys: tuple[str, ...] = ()
    """Keys of the outermost object to compare; all if none is named."""
    tolerance: Tolerance = 1e-9
    """Allowed difference of numbers, as a share of the reference."""


class JudgeConfig(Model):
    """A model that compares two answers, or rates one."""

    kind: Literal["judge"]
    """Names the grader."""
    mode: Literal["pairwise", "single"] = "pairwise"
    """``pairwise`` asks in both orders; a preference that turns with the order is a tie. ``single`` rates from 1 to 10."""
    template: str | None = None
    """Prompt in place of the built-in one, with {question}, {answer_a} and {answer_b} (single: {answer})."""
    reference: str | None = None
    """Input column with a right answer to show the judge."""

    @model_validator(mode="after")
    def _whole_template(self) -> JudgeConfig:
        if self.template is None:
            return self
        placeholders = set(PLACEHOLDER.findall(self.template))
        needed = JUDGED[self.mode]
        for name in needed:
            if name not in placeholders:
                message = f"template lacks {{{name}}}, which mode {self.mode} needs"
                raise ValueError(message)
        if ("reference" in placeholders) != (self.reference is not None):
            message = "a template that holds {reference} needs reference: COLUMN, and the other way round"
            raise ValueError(message)
        other = sorted(placeholders - {*needed, "reference"})
        if other:
            message = f"template has {{{other[0]}}}, which mode {self.mode} does not fill in"
            raise ValueError(message)
        return self


class LabelsConfig(Model):
    """Scores that people gave, in Parquet: one row per id; a null score leaves that answer unlabelled."""

    kind: Literal["labels"]
    """Names the grader."""
    uri: Uri
    """Parquet file of scores."""
    id: str = "id"
    """Its column of row ids."""
    strong_score: str = "strong_score"
    """Its column of scores of the strong model's answers."""
    weak_score: str = "weak_score"
    """Its column of scores of the weak model's answers."""


class JudgePairsConfig(JudgeConfig):
    """How ``jobs/judge_pairs.py`` gets the answers that are judged: asked of both endpoints, or recorded."""

    kind: Literal["judge"] = "judge"
    """Names the judge."""
    strong_answer: str | None = None
    """Input column with the strong model's answer; none asks for it."""
    weak_answer: str | None = None
    """Input column with the weak model's answer; none asks for it."""


AnswerGrader = Annotated[
    ExactConfig | NumericConfig | ChoiceConfig | RegexConfig | JsonConfig | LabelsConfig,
    Field(discriminator="kind"),
]
"""A grader that calls no model."""
GraderConfig = Annotated[
    ExactConfig | NumericConfig | ChoiceConfig | RegexConfig | JsonConfig | LabelsConfig | JudgeConfig,
    Field(discriminator="kind"),
]


def reference_of(grader: BaseModel | None) -> str | None:
    """Return the input column that a grader compares answers with; None for people's labels, or a judge without one."""
    column: str | None = getattr(grader, "reference", None)
    return column


def columns_of(grader: BaseModel | None) -> list[str]:
    """Return the input columns that a grader reads: of the right answers, and of the options where it names one."""
    options: str | None = getattr(grader, "options", None)
    return [name for name in (reference_of(grader), options) if name is not None]


class PilotConfig(Model):
    """A labelled sample of the job: what it may cost, and who grades it."""

    rows: Annotated[int, Field(ge=2)] = 500
    """Rows to sample, with distinct prompts."""
    usd: Sum
    """Dollars that all of the pilot's calls may cost, the judge's too."""
    grader: GraderConfig
    """Who says how good an answer is."""
    seed: int = 0
    """Seed of the sample and the fit."""
    max_age_days: Annotated[float, Field(gt=0)] = 30
    """Age in days beyond which a finished pilot is not taken again, and a new one is made."""
