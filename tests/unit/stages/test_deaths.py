"""Which tasks are run again after their workers died."""

from __future__ import annotations

import pytest

from routellm_batch.stages.deaths import Deaths


@pytest.mark.parametrize(
    ("losses", "suspect", "hopeless"),
    [
        ([], False, False),
        ([(1, 5)], False, False),
        ([(1, 0)], True, False),
        ([(1, 0)] * 7, True, False),
        ([(1, 0)] * 8, True, True),
        ([(1, n) for n in range(1, 99)], False, False),
        ([(1, 0)] * 7 + [(1, 1)] * 8, True, False),
        ([(1, 0)] * 7 + [(1, 1)] * 9, True, True),
        ([(8, 0)], True, False),
        ([(4, 0), (4, 0)], True, True),
        ([(4, 0), (4, 1), (4, 2)], False, False),
    ],
)
def test_only_deaths_without_progress_count(
    losses: list[tuple[int, int]], *, suspect: bool, hopeless: bool
) -> None:
    """Each loss is (deaths, what is done by then): after progress the count begins anew; one loss is never enough."""
    deaths = Deaths()
    for died, done in losses:
        deaths = deaths.after(died, done)
    assert (suspect, hopeless) == (deaths.suspect, deaths.hopeless)
