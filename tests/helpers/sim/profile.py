"""How long the model tests look: the same examples each time, or as many other ones as the variable says."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

VARIABLE = "MODEL_EXAMPLES"
"""A number: so many examples, drawn anew each time (``--hypothesis-seed`` names which)."""

_ASKED = os.environ.get(VARIABLE)
PROFILE = settings(
    max_examples=int(_ASKED or 150),
    stateful_step_count=50 if _ASKED else 40,
    derandomize=not _ASKED,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    phases=[Phase.generate, Phase.shrink],
    print_blob=True,
)
TIMEOUT_S = 0 if _ASKED else 600
"""Of each machine, if there is one: a world may come to no rest in a way that nobody foresaw."""
