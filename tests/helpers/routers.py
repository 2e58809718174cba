"""Every router of the table, ready to score: those that come without weights get tiny random ones."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TINY = {
    "bert": "tiny_bert",
    "causal_llm": "tiny_causal_llm",
    "outcome:pilot": "pilots",
    "sw_ranking": "tiny_sw_ranking",
}
"""Routers that come without weights, and the helper that writes some; after a colon, what makes them differ."""
TORCH = ("bert", "causal_llm")


def router_settings(name: str, folder: Path) -> dict[str, Any]:
    """Return keyword arguments for ``make_router(name, …)``; tiny weights are written to the folder."""
    if name not in TINY:
        return {}
    if name in TORCH:
        pytest.importorskip("torch", reason="the [torch] extra is not installed")
    settings: dict[str, Any] = import_module(f"helpers.{TINY[name]}").write_tiny(folder)
    return settings
