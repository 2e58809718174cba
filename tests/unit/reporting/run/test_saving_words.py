"""What a run saved, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.report_facts import calls, facts, pilot_view

from routellm_batch.reporting.run.facts import RunFacts
from routellm_batch.reporting.run.saving_words import saved, saved_line, saving_text


def with_pilot(spent: int, presumed: int) -> RunFacts:
    """Return a run whose own pilot cost so many nano-dollars, and perhaps so many more; its calls left nothing unknown."""
    routes = {route: replace(totals, presumed_nano=0) for route, totals in calls().routes.items()}
    pilot = replace(pilot_view(), here=True, spent_nano=spent, presumed_nano=presumed)
    return facts(calls=calls(routes=routes), pilot=pilot)


@pytest.mark.parametrize(
    ("spent", "presumed", "line", "tile"),
    [
        (0, 0, "saved about $0.744 (71.1%) against all strong", ("Saved against all strong", "$0.744")),
        (
            0,
            90_000_000,
            "saved up to $0.744 (71.1%) against all strong",
            ("Saved against all strong", "up to $0.744"),
        ),
        (1_000_000_000, 0, "about $0.256 (24.5%) more than all strong", ("Above all strong", "$0.256")),
        (
            1_000_000_000,
            90_000_000,
            "at least $0.256 (24.5%) more than all strong",
            ("Above all strong", "at least $0.256"),
        ),
    ],
)
def test_a_saving_in_a_few_words(spent: int, presumed: int, line: str, tile: tuple[str, str]) -> None:
    """A saving is about a sum, or up to one where much is presumed; a loss is said as a loss."""
    shown = with_pilot(spent, presumed)
    assert line == saved_line(shown)
    assert tile == (saved(shown) or ())[:2]


def test_a_saving_in_a_sentence() -> None:
    """The sentence names what is compared, what was spent and on what, and both sums where much is presumed."""
    compared = (
        "The rows that were answered would have cost about $1.05 with every one on the strong model, and about $0.0499 with "
        "every one on the weak model. "
    )
    assert (
        saving_text(facts()) == f"{compared}This run spent $0.303: about $0.743 (71%) less than all strong."
    )
    assert saving_text(with_pilot(0, 90_000_000)) == (
        f"{compared}This run spent $0.303, pilot included: up to $0.744 (71.1%) less than all strong, but about $0.654 "
        "(62.5%) less if all of the $0.09 that is presumed was billed."
    )


def test_nothing_is_said_of_a_run_that_answered_nothing() -> None:
    """No row was answered: no sum, no share, and the sentence says why."""
    none = facts(calls=calls(ok=0, failed=1000))
    assert (saved(none), saved_line(none)) == (None, "")
    assert saving_text(none) == "No row was answered, so there is nothing to compare."
