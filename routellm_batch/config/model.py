"""The base of all parts of the config: frozen models that refuse unknown keys, and JSON values."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Model(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def plain_json(value: Any) -> Any:
    """Return a value of YAML with its Decimals as floats, as JSON has them; lists and mappings are copied."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: plain_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain_json(inner) for inner in value]
    return value


PlainJson = Annotated[dict[str, Any], BeforeValidator(plain_json)]


Probability = Annotated[float, Field(ge=0, le=1)]
