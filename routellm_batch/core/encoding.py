"""How values are written as JSON objects on storage."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any) -> bytes:
    """Return readable JSON bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
