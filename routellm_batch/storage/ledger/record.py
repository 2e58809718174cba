"""What the ledger keeps of one send of a row, or of its end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import orjson

from routellm_batch.core.types import Route, Usage


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What one send of a row came to, or all its sends together (see ``after``)."""

    row: int
    """Row in the shard."""
    route: Route
    """Where it was sent."""
    status: str
    """ok | failed | unsent: it still needs a call, whatever its sends have cost so far."""
    request_key: str
    """Digest of endpoint and body."""
    error_kind: str | None = None
    """Why it failed (``ErrorKind``); None where it did not."""
    answer: str | None = None
    """What the model said; None where nothing came."""
    label: str | None = None
    """What was read out of the answer; None where the job asks for no label, or there is none in it."""
    finish_reason: str | None = None
    """As the endpoint gave it."""
    model: str | None = None
    """The model that the endpoint says answered."""
    attempts: int = 0
    """Requests sent."""
    reasks: int = 0
    """Times that the model was asked again for a label."""
    usage: Usage = Usage()
    """Tokens of all attempts that were answered."""
    cost_nano: int = 0
    """Settled cost of all attempts."""
    presumed_nano: int = 0
    """Worst cost of attempts whose fate is unknown."""
    latency_s: float | None = None
    """Of the answering attempt."""

    def to_json(self) -> str:
        """Return the record as one line."""
        return orjson.dumps(self).decode("utf-8")

    @classmethod
    def from_json(cls, line: str) -> CallRecord:
        """Return the record of one line."""
        fields = orjson.loads(line)
        return cls(**{**fields, "usage": Usage(**fields["usage"])})

    def after(self, earlier: CallRecord) -> CallRecord:
        """Return this record with an earlier one's spending added; an answer is never replaced by a failure."""
        keeps = self.status == "unsent" or (earlier.status == "ok" and self.status != "ok")
        last = earlier if keeps else self
        return replace(
            last,
            attempts=earlier.attempts + self.attempts,
            reasks=earlier.reasks + self.reasks,
            usage=earlier.usage + self.usage,
            cost_nano=earlier.cost_nano + self.cost_nano,
            presumed_nano=earlier.presumed_nano + self.presumed_nano,
        )
