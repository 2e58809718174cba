"""What every category is made of: one prompt, and how hard it is said to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

NAMES = (
    *("Amara", "Bilal", "Chloe", "Dmitri", "Elena", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kavya"),
    *("Liam", "Mei", "Nadia", "Oscar", "Priya", "Quentin", "Rosa", "Samuel", "Tara", "Umar", "Vera", "Wei"),
)


@dataclass(frozen=True)
class Prompt:
    """One row of the file."""

    prompt: str
    category: str
    difficulty: float
    """0 (any model can) to 1 (few can), by the rule of its category."""
    reference: str | None
    """The one right answer, where there is one."""
    grader: str
    """How an answer is marked: ``numeric``, ``exact`` or ``none``."""


def graded(value: float) -> float:
    """Return a difficulty within [0.02, 0.98], to three places."""
    return round(min(0.98, max(0.02, value)), 3)


def texts_of(category: str) -> Any:
    """Return the texts of a category, from the YAML file beside its module."""
    return yaml.safe_load((Path(__file__).parent / f"{category}.yaml").read_text(encoding="utf-8"))
