"""A made-up model: seeded answers of seeded length, right as often as its skill implies. No clock, no I/O.

Everything is drawn from a keyed hash of (seed, model, prompt), so that a run is the same in any order of requests. It
describes no real model; it gives jobs, tests and back-tests something to call that behaves like one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import NormalDist

from routellm_batch.budget.pricing import CHARS_PER_TOKEN
from routellm_batch.core.types import Usage
from routellm_batch.endpoints.simulator.chat import ChatRequest, Decision, draws, text_tokens, unit
from routellm_batch.endpoints.simulator.faults import FaultPlan
from routellm_batch.endpoints.simulator.spec import SimulateSpec
from routellm_batch.endpoints.simulator.text import answer_text, filler, wrong_answer

LENGTH_SIGMA = 0.5
"""Standard deviation of the logarithm of an answer's length."""
MAX_ANSWER_TOKENS = 16_384
"""The longest answer, whatever the request allows."""
DISCRIMINATION = 6.0
"""Factor of skill − difficulty in ``chance_right``."""
EASE = 1.0
"""The constant beside it."""
_MAX_OTHERS = 64
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Reference:
    """One prompt with its right answer."""

    answer: str
    difficulty: float
    """0 to 1."""
    category: str = ""
    """Wrong answers are taken from the same category."""


def chance_right(skill: float, difficulty: float) -> float:
    """Return the chance of a right answer, 1 / (1 + exp(−(6·(skill − difficulty) + 1))).

    This is the two-parameter logistic model of item response theory (Birnbaum 1968), with constants such that a model of
    skill 0.9 answers nearly all easy prompts and one of skill 0.5 fails most hard ones.
    """
    return 1 / (1 + math.exp(-(DISCRIMINATION * (skill - difficulty) + EASE)))


def answer_tokens(mean: int, draw: int) -> int:
    """Return a length in tokens from a log-normal distribution with this mean, from 1 to ``MAX_ANSWER_TOKENS``."""
    centre = math.log(mean) - LENGTH_SIGMA**2 / 2
    drawn = math.exp(centre + LENGTH_SIGMA * _NORMAL.inv_cdf(unit(draw)))
    return max(1, min(MAX_ANSWER_TOKENS, round(drawn)))


def weighted(weights: Mapping[str, float], draw: int) -> str:
    """Return one of the keys, drawn in proportion to its weight."""
    keys = list(weights)
    reached = list(accumulate(weights.values()))
    return keys[bisect_right(reached, unit(draw) * reached[-1])]


class SimulatedModel:
    """Decides what a simulated endpoint replies."""

    def __init__(self, spec: SimulateSpec, references: Mapping[str, Reference] | None = None) -> None:
        self._spec = spec
        self._plan = FaultPlan(spec.faults, spec.script, spec.seed)
        self._references = references or {}
        self._others = _by_category(self._references.values())

    def decide(self, request: ChatRequest, request_key: str, index: int, attempt: int) -> Decision:
        """Return the reply to one request.

        Args:
            request: the request.
            request_key: names the request over its attempts.
            index: number of other requests that arrived before its first attempt.
            attempt: number of earlier attempts at this request.

        """
        step = self._plan.step(request_key, index, attempt)
        if isinstance(step, Mapping):
            return self._scripted(request, step["answer"])
        answer = self._answer(request)
        if step == "ok":
            return answer
        chance = draws(self._spec.seed, step, request_key, str(attempt))[0]
        text, finish, usage = answer.answer, answer.finish_reason, answer.usage
        if step == "empty":
            text, finish, usage = "", "stop", replace(usage, output_tokens=0, reasoning_tokens=0)
        elif step == "overrun":
            tokens = (request.max_tokens or usage.output_tokens) * 3 // 2 + 8
            text, usage = "overrun " * (tokens // 2), replace(usage, output_tokens=tokens)
        return Decision(step, text, finish, usage, chance)

    def is_right(self, model: str, prompt: str) -> bool | None:
        """Whether the model answers a prompt right; None where no right answer is known."""
        reference = self._references.get(prompt)
        if reference is None:
            return None
        draw = draws(self._spec.seed, "skill", model, prompt)[0]
        return unit(draw) < chance_right(self._spec.skill, reference.difficulty)

    def _answer(self, request: ChatRequest) -> Decision:
        length, opening, choice, name = draws(self._spec.seed, "answer", request.model, request.prompt)
        tokens = answer_tokens(self._spec.output_tokens, length)
        reference = self._references.get(request.prompt)
        if self._spec.replies:
            last = weighted(self._spec.replies, choice)
            text, whole = answer_text(last, tokens, request.max_tokens, opening, mark="")
            return self._reply(request, text, whole=whole, name=name)
        if reference is None:
            limit = request.max_tokens
            cut = limit is not None and limit < tokens
            text = filler((limit if limit is not None and cut else tokens) * CHARS_PER_TOKEN, opening)
            return self._reply(request, text, whole=not cut, name=name)
        answer = reference.answer
        if not self.is_right(request.model, request.prompt):
            answer = wrong_answer(answer, self._others.get(reference.category, ()), request.prompt, choice)
        text, whole = answer_text(answer, tokens, request.max_tokens, opening)
        return self._reply(request, text, whole=whole, name=name)

    def _scripted(self, request: ChatRequest, text: str) -> Decision:
        chars = len(text) if request.max_tokens is None else request.max_tokens * CHARS_PER_TOKEN
        name = draws(self._spec.seed, "answer", request.model, request.prompt)[3]
        return self._reply(request, text[:chars], whole=len(text) <= chars, name=name)

    def _reply(self, request: ChatRequest, text: str, *, whole: bool, name: int) -> Decision:
        visible = text_tokens(text)
        reasoning = int(visible * self._spec.reasoning_share)
        if request.max_tokens is not None:
            reasoning = min(reasoning, request.max_tokens - visible)
        cached = int(request.input_tokens * self._spec.cached_share)
        usage = Usage(request.input_tokens, cached, visible + reasoning, reasoning)
        return Decision("", text, "stop" if whole else "length", usage, name)


def _by_category(references: Iterable[Reference]) -> dict[str, list[str]]:
    by_category: dict[str, dict[str, None]] = {}
    for reference in references:
        answers = by_category.setdefault(reference.category, {})
        if len(answers) < _MAX_OTHERS:
            answers[reference.answer] = None
    return {category: list(answers) for category, answers in by_category.items()}
