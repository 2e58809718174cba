"""Graders beside the scores that were recorded with real answers, on the shared data sets.

    python -m benchmarks.graders

The data hold scores but no right answers. So an answer is graded against what another model said that was recorded as
right, read by a plain pattern of its own; questions that no other model got right are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from benchmarks.prompts import shared_data
from benchmarks.table import Table, machine
from routellm_batch.config.graders import ChoiceConfig, NumericConfig
from routellm_batch.evaluation.graders import Question, ReferenceGrader

NUMERIC = ReferenceGrader(NumericConfig(kind="numeric", reference="reference"))
CHOICE = ReferenceGrader(ChoiceConfig(kind="choice", reference="reference"))
GSM8K = ("gsm8k_gpt4-1106_vs_mixtral", "gsm8k_gpt4o_vs_llama3-8b")
MMLU_PRO = "mmlupro-visible_llama31-70b_vs_mixtral"
ZEROS = re.compile(r"\.0+\b")
QUICK_ROWS = 50

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """One model's answers, with their recorded scores, and the references that others' right answers give."""

    model: str
    answers: Sequence[tuple[str, float, str]]
    """Answer, recorded score, reference."""


def run(*, quick: bool) -> Table:
    """Grade every answer that has a reference; without the data there is nothing to grade."""
    title = "graders: agreement with recorded scores"
    headings = ["answers of", "grader", "compared", "unread", "agree", "…with .00 written off"]
    folder = shared_data()
    if not folder.is_dir():
        return Table(title, headings, [], ["The shared data sets are not there (set ROUTELLM_SHARED)."])
    cut = QUICK_ROWS if quick else None
    sets = {
        name: pq.read_table(folder / f"responses_{name}.parquet").slice(0, cut).to_pylist()
        for name in (*GSM8K, MMLU_PRO)
    }
    lines = [
        _line(f"{recorded.model}, {name.partition('_')[0]}", grader, recorded)
        for name, recorded, grader in [
            *(
                (GSM8K[0], recorded, NUMERIC)
                for recorded in _numbers(sets[GSM8K[0]], sets[GSM8K[1]], _json_answer)
            ),
            *(
                (GSM8K[1], recorded, NUMERIC)
                for recorded in _numbers(sets[GSM8K[1]], sets[GSM8K[0]], _marked)
            ),
            *((MMLU_PRO, recorded, CHOICE) for recorded in _letters(sets[MMLU_PRO])),
        ]
    ]
    return Table(title, headings, lines)


def _line(name: str, grader: ReferenceGrader, recorded: Told) -> list[str]:
    agree, written_off, unread = 0, 0, 0
    for answer, score, reference in recorded.answers:
        grade = grader.grade(Question("", "", reference), answer)
        unread += grade.problem is not None
        agree += grade.score == score
        # Recorded by comparing texts: "20.00" was graded as wrong where "20" is right.
        written_off += grade.score != score and (grade.score == 1) and bool(ZEROS.search(answer[-40:]))
    n = len(recorded.answers)
    kind = "numeric" if grader is NUMERIC else "choice"
    return [name, kind, f"{n:,}", f"{unread}", f"{agree / n:.2%}", f"{agree / (n - written_off):.2%}"]


def _numbers(rows: Sequence[Row], others: Sequence[Row], read: Callable[[str], str | None]) -> list[Told]:
    """Return both models of a file, with references from another file's right answers to the same questions."""
    known: dict[str, str] = {}
    for row in others:
        for side in ("weak", "strong"):
            if row[f"{side}_score"] == 1 and (found := read(row[f"{side}_response"])):
                known[" ".join(row["prompt"].split())] = found
    return [
        Told(
            rows[0][f"{side}_model"],
            [
                (row[f"{side}_response"], row[f"{side}_score"], known[prompt])
                for row in rows
                if (prompt := " ".join(row["prompt"].split())) in known
            ],
        )
        for side in ("strong", "weak")
    ]


def _letters(rows: Sequence[Row]) -> list[Told]:
    """Return both models of a file, each with references from the other's right answers."""
    return [
        Told(
            rows[0][f"{side}_model"],
            [
                (row[f"{side}_response"], row[f"{side}_score"], found[-1])
                for row in rows
                if row[f"{other}_score"] == 1
                and (found := re.findall(r"answer is \(?([A-J])\)?", row[f"{other}_response"]))
            ],
        )
        for side, other in (("strong", "weak"), ("weak", "strong"))
    ]


def _json_answer(text: str) -> str | None:
    found = re.findall(r'"answer"\s*:\s*"?([^"\n]+)', text)
    return found[-1] if found else None


def _marked(text: str) -> str | None:
    found = re.findall(r"####\s*(.+)", text)
    return found[-1] if found else None


if __name__ == "__main__":
    print(f"{machine()}\n\n{run(quick=False)}")
