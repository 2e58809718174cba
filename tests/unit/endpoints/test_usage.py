"""Tokens are read in every spelling that is in use, and each is priced as what it is: input, cached input or output."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routellm_batch.core.types import Usage
from routellm_batch.endpoints.usage import usage_of


def _counted(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def _reasoned(tokens: Any) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": tokens}}


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        (_counted(100, 20), Usage(100, 0, 20)),
        (_counted(100, 20, total_tokens=120), Usage(100, 0, 20)),
        # cached tokens, within the prompt's
        (_counted(100, 20, prompt_tokens_details={"cached_tokens": 60}), Usage(100, 60, 20)),
        (_counted(100, 20, prompt_cache_hit_tokens=60, prompt_cache_miss_tokens=40), Usage(100, 60, 20)),
        (_counted(100, 20, total_tokens=120, cached_tokens=60), Usage(100, 60, 20)),
        (_counted(100, 20, total_tokens=120, cache_read_input_tokens=60), Usage(100, 60, 20)),
        (
            _counted(100, 20, cached_tokens=60, prompt_tokens_details={"cached_tokens": None}),
            Usage(100, 60, 20),
        ),
        (_counted(100, 20, prompt_tokens_details={"cached_tokens": "60"}), Usage(100, 0, 20)),
        (_counted(100, 20, prompt_tokens_details=None), Usage(100, 0, 20)),
        # cached tokens, beside the prompt's
        (_counted(40, 20, total_tokens=120, cached_tokens=60), Usage(100, 60, 20)),
        (_counted(70, 20, total_tokens=150, cached_tokens=60), Usage(130, 60, 20)),
        (_counted(4, 20, total_tokens=24, cache_read_input_tokens=60), Usage(64, 60, 20)),
        (
            _counted(70, 20, total_tokens=190, cache_read_input_tokens=60, cache_creation_input_tokens=40),
            Usage(170, 60, 20),
        ),
        (
            {
                "input_tokens": 70,
                "output_tokens": 20,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 40,
            },
            Usage(170, 60, 20),
        ),
        ({"input_tokens": 70, "output_tokens": 20, "cache_read_input_tokens": None}, Usage(70, 0, 20)),
        (
            {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 60}},
            Usage(100, 60, 20),
        ),
        # other input that a total counts beside the prompt
        (_counted(100, 20, total_tokens=150, tool_use_prompt_tokens=30), Usage(130, 0, 20)),
        (_counted(100, 20, total_tokens=150, prompt_tokens_details={"audio_tokens": 30}), Usage(130, 0, 20)),
        (_counted(100, 20, total_tokens=150, citation_tokens=30), Usage(130, 0, 20)),
        (
            _counted(100, 20, total_tokens=155, prompt_tokens_details={"audio_tokens": 30}, **_reasoned(5)),
            Usage(130, 0, 25, 5),
        ),
        # reasoning within the completion, as OpenAI counts it, or beside it
        (_counted(10, 30, total_tokens=40, **_reasoned(20)), Usage(10, 0, 30, 20)),
        (_counted(10, 30, total_tokens=60, **_reasoned(20)), Usage(10, 0, 50, 20)),
        (_counted(25, 30, total_tokens=75, cached_tokens=20, **_reasoned(20)), Usage(25, 20, 50, 20)),
        (_counted(10, 30, total_tokens=60, **_reasoned(None)), Usage(10, 0, 50)),
        (_counted(10, 30, total_tokens=None, **_reasoned(45)), Usage(10, 0, 75, 45)),
        (_counted(21, 0, total_tokens=81, **_reasoned(60)), Usage(21, 0, 60, 60)),
        (_counted(10, 30, total_tokens=5, **_reasoned(20)), Usage(10, 0, 30, 20)),
        (_counted(10, 30, total_tokens="x", **_reasoned(20)), Usage(10, 0, 30, 20)),
        (_counted(10, 30, reasoning_tokens=20), Usage(10, 0, 30, 20)),
        # no count
        (None, None),
        ({}, None),
        ([1], None),
        ({"prompt_tokens": 10}, None),
        ({"completion_tokens": 10}, None),
        ({"prompt_tokens": 10.0, "completion_tokens": 5}, None),
        ({"prompt_tokens": "10", "completion_tokens": 5}, None),
    ],
)
def test_tokens_are_read_in_every_spelling(fields: Any, usage: Usage | None) -> None:
    """Cached tokens are part of the input; what a total has beyond is input where a count explains it, else output."""
    assert usage == usage_of(fields)


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "tool_tokens"]
        ),
        st.integers(0, 50),
    )
)
def test_no_token_that_is_told_goes_unpaid(fields: dict[str, int]) -> None:
    """Input and output together are never below prompt, completion or total."""
    usage = usage_of(fields)
    if usage is not None:
        assert usage.input_tokens >= fields["prompt_tokens"]
        assert usage.output_tokens >= fields["completion_tokens"]
        assert usage.input_tokens + usage.output_tokens >= fields.get("total_tokens", 0)
        assert usage.cached_input_tokens <= usage.input_tokens
