"""How values are written on storage: JSON objects, and text that a file can hold."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any) -> bytes:
    """Return readable JSON bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def storable(text: str) -> str:
    """Return a text with question marks for lone surrogates, which no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
