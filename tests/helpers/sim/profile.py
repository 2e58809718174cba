"""How long the model tests look: the same few examples each time, or more and other ones where the variable says so."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

VARIABLE = "ROUTELLM_MODEL"
"""``long``: many examples, drawn anew each time."""

_PLAIN = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    "print_blob": True,
}
settings.register_profile("model", max_examples=20, stateful_step_count=30, derandomize=True, **_PLAIN)
settings.register_profile("model-long", max_examples=3_000, stateful_step_count=50, **_PLAIN)
PROFILE = settings.get_profile("model-long" if os.environ.get(VARIABLE) == "long" else "model")
