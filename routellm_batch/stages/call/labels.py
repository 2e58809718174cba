"""Label jobs: how to ask again where an answer was not a label. Pure."""

from __future__ import annotations

from routellm_batch.config.job import LabelConfig


def ask_again(config: LabelConfig, problem: str) -> str:
    """Return the user turn that asks again, naming the problem and what a valid answer is."""
    wanted = (
        f"exactly one of: {', '.join(config.values)}" if config.values else "JSON that holds to the schema"
    )
    return f"That answer can't be used: {problem} Answer again with {wanted}, and nothing else."
