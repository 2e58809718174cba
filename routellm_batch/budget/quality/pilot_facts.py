"""What a plan takes from a pilot, and the file that holds it: ``calibration.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from routellm_batch.budget.costs.expected_lengths import Lengths
from routellm_batch.budget.quality.calibration import Calibration
from routellm_batch.core.errors import DataError

FORMAT = 1
"""Of ``calibration.json``."""


@dataclass(frozen=True, slots=True)
class PilotFacts:
    """A pilot's calibration and token counts."""

    calibration: Calibration
    """The map from score to gain, and the rows that it was fitted to."""
    lengths: Lengths | None
    """Token counts of the same rows, in the same order; None where labels came without answers."""
    uri: str
    """The pilot's folder."""

    def __post_init__(self) -> None:
        """Refuse token counts of other rows."""
        if self.lengths is not None and len(self.lengths) != len(self.calibration):
            rows = f"{len(self.lengths)} rows of token counts, {len(self.calibration)} of grades"
            raise DataError(f"a pilot's columns differ in length: {rows}", file=self.uri)

    def to_json(self) -> bytes:
        """Return ``calibration.json``."""
        lengths = None if self.lengths is None else self.lengths.to_fields()
        fields = {"calibration": self.calibration.to_fields(), "lengths": lengths, "uri": self.uri}
        return json.dumps({"format": FORMAT, **fields}, allow_nan=False).encode()


def load_pilot_facts(data: bytes) -> PilotFacts:
    """Read ``calibration.json``.

    Raises:
        DataError: it is of another format, or damaged.

    """
    try:
        fields: dict[str, Any] = json.loads(data)
        if fields["format"] != FORMAT:
            problem = f"calibration.json has format {fields['format']}, this version reads {FORMAT}; make a new pilot"
            raise DataError(problem)
        lengths = None if fields["lengths"] is None else Lengths.from_fields(fields["lengths"])
        return PilotFacts(Calibration.from_fields(fields["calibration"]), lengths, str(fields["uri"]))
    except (ValueError, KeyError, TypeError) as error:
        problem = f"calibration.json is damaged ({type(error).__name__}); make a new pilot"
        raise DataError(problem) from None
