"""What makes a run the run it is: the settings that may not change between its start and a resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from routellm_batch.config.connection import CONNECTION_KEYS
from routellm_batch.config.job import Config
from routellm_batch.core.types import ENDPOINTS, EndpointName

ENDPOINT_OPERATIONAL = ("limits", "timeout_s", "api_key", "headers", "query", "ca_file", "allow_http")
"""Keys of an endpoint that say how it is reached and called, not what answers."""
OPERATIONAL = (
    "cluster",
    "retry",
    "run.deadline_s",
    "run.date",
    "run.root",
    "input.part_tokens",
    "router.embedder.timeout_s",
    "router.embedder.attempts",
    "router.embedder.batch_texts",
    "budget.hard_cap_usd",
    "budget.on_overrun",
    *(f"router.embedder.{key}" for key in CONNECTION_KEYS),
    *(f"endpoints.{name}.{key}" for name in ENDPOINTS for key in ENDPOINT_OPERATIONAL),
)
"""Keys that may change between a run and its resume; where a run lies is not part of its identity."""
BEFORE_AN_ANSWER = ("base_url", "model", "params")
"""Keys of an endpoint that may change too, as long as it has answered no row of the run."""
LATER: dict[str, Any] = {"budget.order": "auto", "pilot": None, "grade": None, "judge": None}
LATER |= {f"{grader}.options": None for grader in ("grade", "pilot.grader")}
LATER |= {f"{grader}.reference_is": "auto" for grader in ("grade", "pilot.grader")}
LATER["label.columns"] = False
LATER |= {f"endpoints.{name}.estimate.lengths_from": None for name in ("strong", "weak", "judge")}
"""Keys that older runs don't have, each with the value that means what those runs do: it is left out of the identity."""


def identity(config: Config) -> dict[str, Any]:
    """Return a run's identity: its config, flat (``a.b.c`` → JSON value), without the keys that may change on a resume."""
    flat: dict[str, Any] = {}
    _flatten("", config.model_dump(mode="json", by_alias=True), flat)
    return {k: value for k, value in lasting(flat).items() if LATER.get(k, flat) != value}


def lasting(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields without those that may change on a resume; older runs' identities hold some that now may."""
    return {key: value for key, value in fields.items() if not _is_part(key, OPERATIONAL)}


def without_models(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without which models its endpoints are: what the newest run of a template is found by."""
    return {key: value for key, value in lasting(fields).items() if changed_endpoint(key) is None}


def changed_endpoint(key: str) -> EndpointName | None:
    """Return the endpoint that a key of an identity belongs to, if the key may change before that one's first answer."""
    for name in ENDPOINTS:
        if _is_part(key, [f"endpoints.{name}.{last}" for last in BEFORE_AN_ANSWER]):
            return name
    return None


def _is_part(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(name + ".") for name in names)


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), inner, into)
    else:
        into[prefix] = value
