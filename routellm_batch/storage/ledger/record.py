"""What the ledger keeps of one send of a row, or of its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from routellm_batch.core.encoding import storable
from routellm_batch.core.types import ErrorDetail, Route, Usage


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
    usage: Usage = Usage()
    """Tokens of all attempts that were answered."""
    cost_nano: int = 0
    """Settled cost of all attempts."""
    presumed_nano: int = 0
    """Worst cost of attempts whose fate is unknown."""
    latency_s: float | None = None
    """Of the answering attempt."""
    counted: bool = True
    """The endpoint said how many tokens the answer took; where it did not, the answer's worst cost is presumed."""
    detail: ErrorDetail | None = None
    """What the error that it failed with says for programs; None where the endpoint sent none."""
    reasks: int = 0
    """Times that the model was asked again for a label."""

    @property
    def has_answer(self) -> bool:
        """Whether the model said anything, be it of use or not."""
        return bool((self.answer or "").strip())

    def to_json(self) -> str:
        """Return the record as one line; lone surrogates, which no file can hold, become question marks."""
        try:
            return orjson.dumps(self).decode("utf-8")
        except TypeError:
            return orjson.dumps(_cleaned(asdict(self))).decode("utf-8")

    @classmethod
    def from_json(cls, line: str) -> CallRecord:
        """Return the record of one line, as this version or an older one wrote it."""
        fields = orjson.loads(line)
        detail = fields.get("detail")
        known = {
            "usage": Usage(**fields["usage"]),
            "detail": None if detail is None else ErrorDetail(**detail),
        }
        return cls(**{**fields, **known})

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


def _cleaned(value: Any) -> Any:
    """Return plain values with every text, keys too, as a file can hold it."""
    if isinstance(value, dict):
        return {storable(name): _cleaned(inner) for name, inner in value.items()}
    return storable(value) if isinstance(value, str) else value
