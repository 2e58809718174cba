"""Whether a task whose worker died is run again: the driver's own count, of deaths that brought nothing. Pure.

Machines are taken away all night, and what a task had done by then stays. So a death after which more is done than
before says nothing against the task; one that kills its workers gets no further, however often it is tried.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_DEATHS = 8
"""Deaths in a row without progress that a task may have; at this many it is given up.

Where something else kills workers every second or two, a task can be there by chance four times before it gets further.
"""
LEAST_LOSSES = 2
"""A task is given up only after so many losses: a cluster may count several deaths as one, of tasks side by side."""


@dataclass(frozen=True, slots=True)
class Deaths:
    """The deaths of a task's workers since it last got further."""

    done: int = 0
    """What was done when its worker last died, such as rows that need no further call; 0 before the first death."""
    deaths: int = 0
    """Deaths in a row without progress."""
    losses: int = 0
    """Times that it was lost meanwhile: Dask itself may have run it again after a death."""

    def after(self, deaths: int, done: int) -> Deaths:
        """Return the same after a further loss.

        Args:
            deaths: worker processes that died with it this time.
            done: what is done by now; it never falls.

        """
        if done > self.done:
            return Deaths(done)
        return Deaths(self.done, self.deaths + deaths, self.losses + 1)

    @property
    def suspect(self) -> bool:
        """Whether it may be what kills its workers."""
        return self.losses > 0

    @property
    def hopeless(self) -> bool:
        """Whether it is not run again."""
        return self.deaths >= MOST_DEATHS and self.losses >= LEAST_LOSSES
