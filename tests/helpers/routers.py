"""Every router of the table, ready to score: those that come without weights get tiny random ones."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TINY = ("bert", "causal_llm", "sw_ranking")
"""Routers that come without weights."""


def router_settings(name: str, folder: Path) -> dict[str, Any]:
    """Return keyword arguments for ``make_router(name, …)``; tiny weights are written to the folder."""
    if name not in TINY:
        return {}
    if name != "sw_ranking":
        pytest.importorskip("torch", reason="the [torch] extra is not installed")
    settings: dict[str, Any] = import_module(f"helpers.tiny_{name}").write_tiny(folder)
    return settings
