"""The ``usage`` of a reply, in the spellings that are in use. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain, combinations
from typing import Any

from routellm_batch.core.types import Usage

MAX_TOKENS = 10**9
"""A larger count in a reply's usage is nonsense, and would not fit the columns."""
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
"""How endpoints name input tokens that their cache held, beside ``prompt_tokens_details.cached_tokens``."""
_OF_OUTPUT = re.compile(
    r"completion|output|reason|thought|think|predict|total|^prompt_tokens$|^input_tokens$"
)
"""Names of counts that are not input on top of the prompt's: tool, cached, audio or citation tokens may be."""
_MOST_COUNTS = 8
"""Counts of which sums are tried, at most."""


def usage_of(fields: Any) -> Usage | None:
    """Return the tokens that a reply's ``usage`` counts; None where it does not say what was put in and what came out.

    Args:
        fields: as the reply has it, whatever it is.

    """
    if not isinstance(fields, dict):
        return None
    prompt, completion = _first(fields, _INPUT), _first(fields, _OUTPUT)
    if prompt is None or completion is None:
        return None
    details_in = _details(fields, ("prompt_tokens_details", "input_tokens_details"))
    details_out = _details(fields, ("completion_tokens_details", "output_tokens_details"))
    reasoning = _first(details_out, ("reasoning_tokens",)) or _first(fields, ("reasoning_tokens",)) or 0
    cached = _first(details_in, ("cached_tokens",)) or _first(fields, _CACHED) or 0
    apart = _input_apart(fields, details_in, prompt, cached)
    # Some endpoints count reasoning apart from the completion, and bill it all the same: then the total shows it,
    # or there is more of it than could be within the completion.
    total = _first(fields, ("total_tokens",))
    rest = total - prompt - completion if total is not None else 0
    more_in = apart or _explained(rest, reasoning, _counts(fields, details_in))
    more_out = max(0, rest - more_in, reasoning if reasoning > completion else 0)
    return Usage(prompt + more_in, min(cached, prompt + more_in), completion + more_out, reasoning)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of tokens of a likely size."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the first of some counts that is there and is one."""
    return next((fields[name] for name in names if is_count(fields.get(name))), None)


def _details(fields: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return next((fields[name] for name in names if isinstance(fields.get(name), dict)), {})


def _input_apart(fields: Mapping[str, Any], details_in: Mapping[str, Any], prompt: int, cached: int) -> int:
    """Return the input tokens that an endpoint surely counts beside the prompt's: in Anthropic's form, those of its cache.

    There, ``input_tokens`` are those that were neither read from the cache nor written to it.
    """
    written = _first(fields, ("cache_creation_input_tokens",)) or 0
    anthropic = not details_in and "prompt_tokens" not in fields and "cache_read_input_tokens" in fields
    return cached + written if anthropic or cached > prompt else 0


def _counts(fields: Mapping[str, Any], details_in: Mapping[str, Any]) -> list[int]:
    """Return the counts of input, beside the prompt's own, that a usage names."""
    named = chain(fields.items(), details_in.items())
    counts = [value for name, value in named if "token" in name and not _OF_OUTPUT.search(name) and value]
    return [value for value in counts if is_count(value)][:_MOST_COUNTS]


def _explained(rest: int, reasoning: int, counts: list[int]) -> int:
    """Return how much of what a total has beyond prompt and completion is input.

    That is a sum of counts of the input which leaves nothing over, or just the reasoning. What nothing explains is
    taken as output, which is the dearer.
    """
    if rest <= 0 or rest == reasoning:
        return 0
    sums = {sum(some) for size in range(1, len(counts) + 1) for some in combinations(counts, size)}
    return next((part for part in (rest, rest - reasoning) if part > 0 and part in sums), 0)
