"""Endpoints that a run changed before they had answered: another URL, model or params, each kept as ``run.c<n>.json``.

``run.json`` says what a run was begun with and never changes. A change is an object of its own, written by the start
that drives the run, and the newest one says what holds now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from routellm_batch.config.endpoints import shown_url
from routellm_batch.config.identity import changed_endpoint, identity, lasting
from routellm_batch.config.job import Config
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import RunMismatchError
from routellm_batch.core.types import EndpointName
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.store import FsStore, read_json

MANIFEST = "run.json"


def current(store: FsStore, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's manifest with its newest change in it.

    Args:
        store: rooted at the run.
        manifest: its ``run.json``.

    """
    return {**manifest, **(_newest(store)[1] or {})}


def changed_since_begun(store: FsStore) -> frozenset[EndpointName]:
    """Return the endpoints that a run has changed since it began."""
    return frozenset((_newest(store)[1] or {}).get("changed", ()))


def check_change(
    store: FsStore, manifest: Mapping[str, Any], fields: Mapping[str, Any]
) -> frozenset[EndpointName]:
    """Return the endpoints whose URL, model or params a start would change.

    Args:
        store: rooted at the run.
        manifest: what holds for the run so far, as ``current``.
        fields: identity of the config that the start has.

    Raises:
        RunMismatchError: a key differs that may not change, or that of an endpoint that has answered; the text lists
            them.

    """
    was = lasting(manifest["config"])
    differing = sorted(key for key in was.keys() | fields.keys() if was.get(key) != fields.get(key))
    changed = {name for key in differing if (name := changed_endpoint(key)) is not None}
    answered = changed & _answered(store) if changed else set()
    refused = [key for key in differing if changed_endpoint(key) is None or changed_endpoint(key) in answered]
    if refused:
        raise RunMismatchError(_refusal(store, was, fields, refused, answered))
    return frozenset(changed)


def adopt_change(store: FsStore, config: Config) -> frozenset[EndpointName]:
    """Keep what this start changes, as the one that drives the run.

    Args:
        store: rooted at the run.
        config: of this start.

    Returns:
        The endpoints that were changed since the run began, now or by an earlier start.

    Raises:
        RunMismatchError: as ``check_change``: an endpoint may have answered since the run was opened.

    """
    fields = identity(config)
    begun = json.loads(store.read(MANIFEST))
    while changed := check_change(store, current(store, begun), fields):
        number, newest = _newest(store)
        change = {
            "changed": sorted(changed.union((newest or {}).get("changed", ()))),
            "config": fields,
            "job": config.model_dump(mode="json", by_alias=True, exclude_none=True),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        store.create(_path(number + 1), to_json(change))
    return changed_since_begun(store)


def is_changed(store: FsStore, config: Config) -> bool:
    """Return whether this start would change an endpoint of a run, which was opened with this config."""
    return bool(check_change(store, current(store, json.loads(store.read(MANIFEST))), identity(config)))


def _newest(store: FsStore) -> tuple[int, dict[str, Any] | None]:
    """Return the number of changes, and the last of them."""
    newest = None
    for number in count(1):
        change = read_json(store, _path(number))
        if change is None:
            return number - 1, newest
        newest = change
    raise AssertionError


def _shown(key: str, value: Any) -> str:
    """Return a value for people: a URL's query, which may hold what nobody else should read, only as a digest."""
    if not key.endswith(".base_url") or not isinstance(value, str) or "?" not in value:
        return json.dumps(value)
    query = hashlib.sha256(value.partition("?")[2].encode()).hexdigest()[:8]
    return f"{json.dumps(shown_url(value))} with the query of digest {query}"


def _path(number: int) -> str:
    return f"run.c{number}.json"


def _answered(store: FsStore) -> set[EndpointName]:
    """Return the endpoints that have answered a row of the run."""
    return {
        record.route
        for shard in store.folders("call")
        for record in ShardLedger(store, shard).load(sure=True).records.values()
        if record.has_answer
    }


def _refusal(
    store: FsStore,
    was: Mapping[str, Any],
    fields: Mapping[str, Any],
    refused: list[str],
    answered: set[EndpointName],
) -> str:
    lines = [
        f"  {key}: was {_shown(key, was.get(key))}, is {_shown(key, fields.get(key))}" for key in refused
    ]
    reasons = [
        f"The {name} endpoint has answered already, so its base_url, model and params must stay."
        for name in sorted(answered)
    ]
    if any(".price." in key for key in refused):
        reasons.append("A price that differs needs a new run.id, as the plan and what was paid rest on it.")
    listed = "\n".join([f"{store.root} was begun with another config:", *lines, *reasons])
    return f"{listed}\nPut the config back, or choose another run.id"
