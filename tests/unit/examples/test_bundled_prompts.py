"""The prompts that come with the package: their answers are worked out again, another way."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

BUNDLED = Path(str(files("routellm_batch") / "examples" / "prompts.parquet"))
COLUMNS = {
    "id": "string",
    "prompt": "string",
    "category": "string",
    "difficulty": "double",
    "reference": "string",
    "grader": "string",
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Return the bundled rows."""
    return pq.read_table(BUNDLED).to_pylist()


def _minutes_to_fill(size: int, inside: int, fill: int, leak: int) -> int:
    minutes = 0
    while inside < size:
        inside, minutes = inside + fill - leak, minutes + 1
    return minutes


def _months(income: int, spent: int, have: int, price: int) -> int:
    months = 0
    while have < price:
        have, months = have + income - spent, months + 1
    return months


def _wages(*numbers: int) -> int:
    wage, normal, extra, weeks, hours, kept = numbers
    week = [wage if hour <= normal else wage + extra for hour in range(1, hours + 1)]
    return sum(week * weeks) - kept


def _tiles(length: int, width: int, side: int, each: int, cost: int) -> int:
    tiles = Fraction(length * width * 10_000, side * side)
    return next(boxes for boxes in count() if boxes * each >= tiles) * cost


def _sharing(a: int, less: int) -> Fraction:
    return Fraction(a + 2 * a + (2 * a - less), 3) - a


def _town(people: int, rise: int, fall: int, gone: int) -> Fraction:
    return people * (1 + Fraction(rise, 100)) * (1 - Fraction(fall, 100)) - gone


def _adults(adult: int, child: int, sold: int, taken: int) -> int:
    fitting = [n for n in range(sold + 1) if n * adult + (sold - n) * child == taken]
    return fitting[0] if len(fitting) == 1 else -1


SOLVERS: dict[str, Callable[..., int | Fraction]] = {
    "more in the attic": lambda a, b: len(range(a)) + len(range(b)),
    "into boxes that hold": lambda total, each: next(k for k in count() if k * each >= total),
    "seats in each row": lambda rows, seats: sum(seats for _ in range(rows)),
    "dollars of it on": lambda start, cost: next(x for x in count() if x + cost == start),
    "get off and": lambda a, b, c: a + c - b,
    "pages every day": lambda pages, daily, days: pages - sum(daily for _ in range(days)),
    "A recipe for": lambda people, grams, more: Fraction(grams, people) * more,
    "bag of soil": lambda p, q, n, m: sum([p] * n + [q] * m),
    "takes a break": lambda v, h, w, k: sum([v] * h + [w] * k),
    "lost through a leak": _minutes_to_fill,
    "each further hour": lambda first, more, hours: sum([first, *[more] * (hours - 1)]),
    "voucher": lambda price, percent, voucher: Fraction(price * (100 - percent), 100) - voucher,
    "A fourth test": lambda a, b, c, goal: next(x for x in count() if Fraction(a + b + c + x, 4) == goal),
    "exactly twice as old": lambda gap, years, _=0: next(
        y for y in count() if y + gap + years == 2 * (y + years)
    ),
    "off the longer piece": lambda length, times, cut: Fraction(length * times, times + 1) - cut,
    "A fence is to go": lambda length, width, gate, cost: cost * (length + width + length + width - gate),
    "adult ticket": _adults,
    "old machine": lambda a, b, hours, late, bad: sum([a] * late + [a + b] * (hours - late)) - bad,
    "inhabitants": _town,
    "savings account": _months,
    "paid out": _wages,
    "A trader buys": lambda crates, price, each, bad, cents: (
        cents * crates * each - cents * bad - 100 * crates * price
    ),
    "square tiles": _tiles,
    "share it equally": _sharing,
}


def test_every_word_problem_has_the_answer_found_another_way(rows: list[dict[str, Any]]) -> None:
    """Each word problem is of one known kind, and its reference is what that kind's other solution gives."""
    problems = [row for row in rows if row["category"] == "word_problem"]
    used = set()
    for row in problems:
        (kind,) = [phrase for phrase in SOLVERS if phrase in row["prompt"]]
        numbers = [int(digits) for digits in re.findall(r"\d+", row["prompt"])]
        assert (row["id"], Fraction(row["reference"])) == (row["id"], Fraction(SOLVERS[kind](*numbers)))
        assert int(row["reference"]) >= 0
        used.add(kind)
    assert used == set(SOLVERS)


def test_every_program_prints_its_reference(rows: list[dict[str, Any]]) -> None:
    """Running a program whose output is asked for prints exactly the reference."""
    programs = [row for row in rows if row["category"] == "code" and row["reference"] is not None]
    for row in programs:
        code = row["prompt"].split("```python\n")[1].split("\n```")[0]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        assert (row["id"], printed.getvalue()) == (row["id"], row["reference"] + "\n")
    assert len(programs) == 72


def test_every_label_is_named_in_its_prompt(rows: list[dict[str, Any]]) -> None:
    """A text to classify names the label that is right, and names it before the text itself."""
    labelled = [row for row in rows if row["category"] == "classification"]
    outside = [row["id"] for row in labelled if row["reference"] not in row["prompt"].split("\n\n")[0]]
    assert (outside, len(labelled)) == ([], 104)


def test_columns_and_ranges(rows: list[dict[str, Any]]) -> None:
    """Columns and types are as documented, ids and prompts are distinct, difficulties lie in [0, 1]."""
    assert {field.name: str(field.type) for field in pq.read_schema(BUNDLED)} == COLUMNS
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == len(rows) == 602
    assert all(0 <= row["difficulty"] <= 1 for row in rows)
    assert all((row["grader"] == "none") == (row["reference"] is None) for row in rows)
    assert {row["grader"] for row in rows} == {"numeric", "exact", "none"}
    assert BUNDLED.stat().st_size < 150_000


def test_harder_prompts_are_longer(rows: list[dict[str, Any]]) -> None:
    """In every category the harder half is clearly longer on average than the easier half."""
    for category in {row["category"] for row in rows}:
        found = sorted((r for r in rows if r["category"] == category), key=lambda r: r["difficulty"])
        easy, hard = found[: len(found) // 2], found[len(found) // 2 :]
        lengths = [sum(len(r["prompt"]) for r in half) / len(half) for half in (easy, hard)]
        assert lengths[1] > 1.15 * lengths[0], category


@pytest.fixture
def script(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return the script's ``main``, to be called with its arguments."""
    monkeypatch.syspath_prepend(str(repo / "tools"))
    module = importlib.import_module("make_prompts")

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["make_prompts.py", *arguments])
        module.main()

    return run


def test_the_script_makes_the_same_file_again(tmp_path: Path, script: Callable[..., None]) -> None:
    """Made anew with seed 0 the rows are the bundled ones; by the same pyarrow, so are the bytes."""
    path = tmp_path / "made.parquet"
    script("--out", str(path))
    assert pq.read_table(path).equals(pq.read_table(BUNDLED))
    same_writer = pq.read_metadata(path).created_by == pq.read_metadata(BUNDLED).created_by
    assert (path.read_bytes() == BUNDLED.read_bytes()) or not same_writer


def test_another_seed_makes_other_problems(
    tmp_path: Path, script: Callable[..., None], rows: list[dict[str, Any]]
) -> None:
    """The seed draws the numbers: with another one the word problems are others, under the same ids."""
    path = tmp_path / "other.parquet"
    script("--out", str(path), "--seed", "1")
    other = {row["id"]: row["prompt"] for row in pq.read_table(path).to_pylist()}
    same = [row for row in rows if other[row["id"]] == row["prompt"] and row["category"] == "word_problem"]
    assert (other.keys(), len(same)) == ({row["id"] for row in rows}, 0)
