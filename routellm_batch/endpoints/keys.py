"""API keys: references in the config, the keys themselves only where a call is made."""

from __future__ import annotations

import os
from pathlib import Path

from routellm_batch.config.connection import is_reference, value_problem
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.logs import hide


def resolve_key(reference: str | None, config_key: str = "api_key") -> str:
    """Return the key that ``env:NAME`` or ``file:/path`` stands for; a dummy where the endpoint needs none.

    Raises:
        ConfigError: the variable or the file is absent or empty. The text names the reference, never the key.

    """
    if reference is None:
        return "none"
    kind, _, name = reference.partition(":")
    if kind == "env":
        key = os.environ.get(name, "")
        problem = f"environment variable {name} is not set"
    else:
        try:
            key = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            key = ""
        problem = f"key file {name} is absent, unreadable or empty"
    if not key.strip():
        raise ConfigError(config_key, problem)
    hide(key.strip())
    return key.strip()


def resolve_value(value: str, config_key: str) -> str:
    """Return a header's or a query's value: as it is written, or what its reference stands for.

    Raises:
        ConfigError: the variable or the file is absent or empty, or what it holds can't be sent. The text names the
            reference, never the value.

    """
    text = resolve_key(value, config_key) if is_reference(value) else value
    problem = value_problem(text) if is_reference(value) else None
    if problem is not None:
        raise ConfigError(config_key, f"{value} {problem}")
    return text
