"""Passages to rewrite. There are many good answers, so none is given."""

from __future__ import annotations

from random import Random

from prompts.common import Prompt, graded, texts_of


def make(_: Random) -> list[Prompt]:
    """Return every task with every passage of its length; the task and the length make the difficulty."""
    return [
        Prompt(
            f"{task['task']}\n\n{passage}",
            "rewriting",
            graded(task["level"] + len(passage) / 5000),
            None,
            "none",
        )
        for group in texts_of("rewriting").values()
        for task in group["tasks"]
        for passage in group["passages"]
    ]
