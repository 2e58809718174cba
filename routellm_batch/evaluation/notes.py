"""What a reader of an evaluation must be told, and scores that can't be evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routellm_batch.core.errors import DataError
from routellm_batch.core.types import STRONG, WEAK
from routellm_batch.evaluation.figures import Measured
from routellm_batch.evaluation.outcomes import Outcomes


def check_scores(scores: NDArray[np.floating], data: Outcomes) -> None:
    """Refuse scores that are no numbers.

    Raises:
        DataError: one is not finite.

    """
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DataError("the router gave a score that is not a number", file=data.uri, row=int(bad[0]))


def notes(
    found: Mapping[str, Any], data: Outcomes, mine: Sequence[Measured], disputed: Mapping[str, int]
) -> list[str]:
    """Return what keeps the figures of one router from saying what they seem to say, a clause each."""
    said: list[str] = []
    weak, strong = found[WEAK], found[STRONG]
    if not strong > weak:
        how = "the same" if strong == weak else "worse"
        said.append(
            f"the strong model is not better than the weak one on these rows ({how}: {strong:.4f} against "
            f"{weak:.4f}): there is no gap to recover"
        )
    elif np.ptp(data.gain) == 0:
        said.append("every row gains the same, so no order of them is better than another")
    if all(measured.constant for measured in mine):
        said.append("the router gives every prompt the same score, so its order is chance")
    if disputed["prompts"]:
        many = disputed["prompts"] > 1
        said.append(
            f"{disputed['prompts']:,} prompt{'s occur' if many else ' occurs'} more than once with different grades "
            f"({disputed['rows']:,} rows): no router can satisfy all of them"
        )
    return said
