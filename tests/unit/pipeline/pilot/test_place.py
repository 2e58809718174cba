"""Which pilot a job takes: the newest finished one of the same kind that is not too old."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from routellm_batch.pipeline.pilot.place import newest_fresh, pilot_uri

TODAY = date(2026, 3, 31)


def finish(root: Path, run_id: str, made: str, digest: str = "same") -> None:
    """Put down a finished pilot."""
    folder = Path(pilot_uri(str(root), run_id))
    folder.mkdir(parents=True)
    (folder / "_SUCCESS").write_text(json.dumps({"made": made, "digest": digest}))


@pytest.mark.parametrize(
    ("max_age_days", "expected"), [(30, "newest"), (9, None), (10, "newest"), (0.5, None)]
)
def test_the_newest_pilot_that_fits_is_taken(
    run_root: Path, max_age_days: float, expected: str | None
) -> None:
    """One of another job, one that is not finished and one that is too old are passed over."""
    finish(run_root, "newest", "2026-03-21")
    finish(run_root, "older", "2026-03-20")
    finish(run_root, "another", "2026-03-31", digest="another")
    Path(pilot_uri(str(run_root), "unfinished")).mkdir()
    uri = newest_fresh(str(run_root), "same", max_age_days, TODAY)
    assert (None if expected is None else pilot_uri(str(run_root), expected)) == uri


def test_without_a_folder_there_is_no_pilot(run_root: Path) -> None:
    """A root that holds no pilots yet is no error."""
    assert newest_fresh(str(run_root), "same", 30, TODAY) is None
