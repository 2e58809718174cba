"""What must hold of a run whatever died: checked against the input, the endpoints' own bills and storage alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from helpers.jobs import billing, nano, responses

from routellm_batch.storage.run import open_existing

MAY_DIFFER = frozenset({"attempts", "latency_s", "request_key"})
"""Columns in which two equal runs may differ; a request key holds the endpoint's port."""


def answers(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``responses/``, the newest of each id."""
    return responses(open_existing(str(run))[0])


def invalid(run: Path) -> list[dict[str, Any]]:
    """Return the rows of ``failed/``."""
    return [row for name in sorted(run.glob("failed/*.parquet")) for row in pq.read_table(name).to_pylist()]


def cost(run: Path) -> dict[str, Any]:
    """Return ``report/cost.json``."""
    return dict(json.loads((run / "report" / "cost.json").read_bytes()))


def bills(log: Path) -> list[dict[str, Any]]:
    """Return the lines of the billing log that ask for money."""
    return [line for line in billing(log) if line["nano"]]


def check_every_row_once(run: Path, ids: Iterable[Any]) -> None:
    """A: each input row is in responses or failed, once."""
    found = Counter(row["id"] for row in [*answers(run), *invalid(run)])
    expected = Counter(ids)
    assert expected == found, (
        f"missing {sorted(expected - found)[:9]}, too many {sorted(found - expected)[:9]}"
    )


def check_cap(log: Path, cap_usd: str) -> None:
    """B: at no event of the billing log was more billed than the cap."""
    total = 0
    for line in billing(log):
        total += line["nano"]
        assert total <= nano(cap_usd), f"{total} nano-dollars were billed"


def paid_again(run: Path, log: Path) -> int:
    """Return how many billed requests brought no answer that storage holds."""
    answered = sum(row["status"] == "ok" and row["attempts"] > 0 for row in answers(run))  # a copy has none
    return len(bills(log)) - answered


def check_accounted(run: Path, log: Path, *, most: int) -> None:
    """C: at most so many bills brought no answer, and the report has all money, as spent or as presumed."""
    again = paid_again(run, log)
    assert 0 <= again <= most, f"{again} bills brought no answer; at most {most} calls were open"
    check_booked(run, log)


def check_booked(run: Path, log: Path) -> None:
    """The money part of C: what was billed is in the report, as spent or as presumed."""
    found = cost(run)
    billed = sum(line["nano"] for line in bills(log))
    booked = nano(found["spent_usd"]) + nano(found["presumed_usd"])
    assert billed <= booked, f"{billed} nano-dollars were billed, {booked} are in the report"


def check_same(run: Path, undisturbed: Sequence[Mapping[str, Any]]) -> None:
    """D: the responses are those of an undisturbed run."""
    expected, found = _comparable(undisturbed), _comparable(answers(run))
    different = [row for row in expected if expected[row] != found.get(row)]
    assert [] == different, f"{len(different)} rows differ"
    assert expected.keys() == found.keys()


def _comparable(rows: Sequence[Mapping[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {row["id"]: {name: value for name, value in row.items() if name not in MAY_DIFFER} for row in rows}


def check_silent(folders: Iterable[Path], canaries: Sequence[str]) -> None:
    """E: no file below these folders holds a canary, or is named after one."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            text = str(path) + (_text(path) if path.is_file() else "")
            assert [] == [canary for canary in canaries if canary in text], f"in {path}"


def _text(path: Path) -> str:
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    return path.read_bytes().decode("utf-8", "replace")
