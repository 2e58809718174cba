"""Lengths observed by the endpoints' own counts: tokens in a character, and how long answers are. Pure.

Answer lengths are kept as a histogram over the logarithm, which adds up over shards. How well its P10 and P90 predict the
next answer is measured as answers come: each is compared with those before it, and only then counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BINS_PER_OCTAVE = 8
"""A quantile is right to 4.5 %."""
LEAST_SEEN = 30
"""Fewer answers predict nothing."""
LOW, HIGH = 0.1, 0.9
"""Quantiles of the lengths that a prediction states: P10 and P90."""


@dataclass(frozen=True, slots=True)
class ObservedLengths:
    """Lengths that one endpoint's answers showed; these add."""

    chars: int = 0
    """Characters of the prompts that were answered at the first try, each to within three."""
    input_tokens: int = 0
    """Tokens that the endpoint counted in them."""
    bins: Mapping[int, int] = field(default_factory=dict)
    """round(8·log2(output tokens)) → answers."""
    judged: int = 0
    """Answers that were compared with those before them in their shard."""
    covered: int = 0
    """Those of them that fell between P10 and P90."""

    def __add__(self, other: ObservedLengths) -> ObservedLengths:
        """Return the sum, field by field."""
        bins = dict(self.bins)
        for number, answers in other.bins.items():
            bins[number] = bins.get(number, 0) + answers
        return ObservedLengths(
            self.chars + other.chars,
            self.input_tokens + other.input_tokens,
            bins,
            self.judged + other.judged,
            self.covered + other.covered,
        )

    @property
    def tokens_per_char(self) -> float | None:
        """Input tokens in a character; None before the first answer."""
        return self.input_tokens / self.chars if self.chars else None

    @property
    def coverage(self) -> float | None:
        """Share of the compared answers between P10 and P90; None if none was compared."""
        return self.covered / self.judged if self.judged else None

    def output_tokens(self, quantile: float) -> int | None:
        """Return a quantile of the answers' lengths, in tokens; None before the first answer."""
        number = bin_at(self.bins, quantile)
        return None if number is None else round(2 ** (number / BINS_PER_OCTAVE))


def length_bin(tokens: int) -> int:
    """Return the bin of an answer of so many tokens."""
    return round(BINS_PER_OCTAVE * math.log2(max(1, tokens)))


def bin_at(bins: Mapping[int, int], quantile: float) -> int | None:
    """Return the bin in which a quantile lies; None if there are none."""
    total, seen = sum(bins.values()), 0
    for number in sorted(bins):
        seen += bins[number]
        if seen >= quantile * total:
            return number
    return None


class OutputModel:
    """Predicts each answer's length from those before it, and counts how often that was right."""

    def __init__(self) -> None:
        self.bins: dict[int, int] = {}
        self.judged = 0
        self.covered = 0
        self._seen = 0

    def observe(self, tokens: int) -> None:
        """Compare an answer of so many tokens with those before it, then count it."""
        number = length_bin(tokens)
        if self._seen >= LEAST_SEEN:
            low, high = bin_at(self.bins, LOW), bin_at(self.bins, HIGH)
            self.judged += 1
            self.covered += low is not None and high is not None and low <= number <= high
        self.bins[number] = self.bins.get(number, 0) + 1
        self._seen += 1


def observe_lengths(answers: Iterable[tuple[int, int, int]]) -> ObservedLengths:
    """Return the lengths of some answers: (characters of the prompt, tokens of the prompt, tokens of the answer) each."""
    model, chars, tokens = OutputModel(), 0, 0
    for prompt_chars, input_tokens, output_tokens in answers:
        chars, tokens = chars + prompt_chars, tokens + input_tokens
        model.observe(output_tokens)
    return ObservedLengths(chars, tokens, model.bins, model.judged, model.covered)
