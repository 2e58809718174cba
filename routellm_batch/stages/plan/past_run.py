"""Which earlier run the lengths of answers are taken from: ``lengths.json``, decided once, before anything is scored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routellm_batch.budget.costs.expected_costs import answer_cost
from routellm_batch.budget.costs.expected_lengths import LEAST_ROWS, PastLengths, fit_past
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.config.job import Config, identity
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import SUCCESS, Run, open_existing
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import from_parquet

PINNED = "lengths.json"
LATEST = "latest"
READ_ROWS = 65_536
"""As many rows of an earlier run are read, in whole shards spread over it; one shard at least."""

Past = Mapping[Route, PastLengths | None]


def pin_lengths(config: Config, run: Run) -> None:
    """Decide which earlier runs ``estimate.lengths_from`` stands for, and keep what they teach in the run's own folder.

    Raises:
        ConfigError: the run that was named isn't there, isn't finished, asked another model, or has too few answers.

    """
    judge = config.endpoints.judge
    if judge is not None and judge.estimate.lengths_from is not None:
        raise ConfigError(
            "endpoints.judge.estimate.lengths_from", "is of strong and weak alone; leave it out"
        )
    asked = {route: config.endpoints.of(route).estimate.lengths_from for route in ROUTES}
    if not any(asked.values()) or run.read_json(PINNED) is not None:
        return
    found = {route: _find(config, run, route, name) if name else None for route, name in asked.items()}
    fields = {route: None if past is None else past.to_fields() for route, past in found.items()}
    run.store.create(PINNED, to_json(fields))


def pinned_lengths(run: Run) -> Past:
    """Return what was pinned, by route."""
    fields = run.read_json(PINNED) or {}
    return {route: PastLengths.from_fields(fields[route]) if fields.get(route) else None for route in ROUTES}


def past_ranker(config: Config, past: Past) -> Ranker:
    """Return the order by score, with what is known of costs from earlier runs."""
    if not any(past.values()):
        return BY_SCORE
    ends = config.endpoints.by_route()
    return Ranker(
        costs={
            route: answer_cost(past[route], end.nano_price, end.expected_output_tokens, end.max_output_tokens)
            for route, end in ends.items()
        }
    )


def past_words(past: Past) -> dict[str, Any]:
    """Return what a plan says of where its lengths come from."""
    names = ("run", "answers", "mean", "p10", "p90")
    return {route: {name: getattr(one, name) for name in names} for route, one in past.items() if one}


def _find(config: Config, run: Run, route: Route, asked: str) -> PastLengths | None:
    """Return what the run that was asked for teaches; of the latest, None where no run has anything to teach."""
    root = FsStore(config.run.root)
    if asked != LATEST:
        found = _read(config, root, asked, route)
        if isinstance(found, str):
            key = f"endpoints.{route}.estimate.lengths_from"
            raise ConfigError(key, f"the run {asked!r} {found}; name another, or leave it out")
        return found
    begun = [
        (str(open_existing(root.uri(f"runs/{name}"))[1]["begun"]), name)
        for name in root.folders("runs")
        if name != run.id and root.exists(f"runs/{name}/{SUCCESS}")
    ]
    for _, name in sorted(begun, reverse=True):
        found = _read(config, root, name, route)
        if not isinstance(found, str):
            return found
    return None


def _read(config: Config, root: FsStore, name: str, route: Route) -> PastLengths | str:
    """Return what a run teaches of a route, or why it teaches nothing."""
    try:
        earlier, manifest = open_existing(root.uri(f"runs/{name}"))
    except DataError:
        return "isn't there"
    if not earlier.store.exists(SUCCESS):
        return "isn't finished"
    if _asked(manifest["config"], route) != _asked(identity(config), route):
        return f"asked another {route} model, or with other params or labels"
    rows = _answers(earlier, route)
    if len(rows) < LEAST_ROWS:
        return f"has {len(rows)} {route} answers of a single request, and at least {LEAST_ROWS} are needed"
    return fit_past(name, *(list(column) for column in zip(*rows, strict=True)))


def _asked(config: Mapping[str, Any], route: Route) -> dict[str, Any]:
    """Return the keys of a config that an answer's length depends on."""
    decide = (f"endpoints.{route}.model", f"endpoints.{route}.params", "label")
    return {key: value for key, value in config.items() if key.startswith(decide)}


def _answers(run: Run, route: Route) -> list[tuple[int, int, int]]:
    """Return estimated and counted input tokens, and output tokens, of answers that took one request."""
    found: list[tuple[int, int, int]] = []
    wanted = max(1, READ_ROWS // run.shard_rows)
    for shard in run.shards[:: max(1, -(-len(run.shards) // wanted))]:
        columns = ["route", "status", "attempts", "input_tokens", "output_tokens"]
        answers = read_shard_responses(run, shard.name, columns)
        if answers is None:
            continue
        scored = from_parquet(run.store.read(f"score/{shard.name}.parquet"), ["id", "tokens"])
        tokens = dict(zip(scored.column("id").to_pylist(), scored.column("tokens").to_pylist(), strict=True))
        found += [
            (tokens[row["id"]], row["input_tokens"], row["output_tokens"])
            for row in answers.to_pylist()
            if row["route"] == route
            and row["status"] == "ok"
            and row["attempts"] == 1
            and row["output_tokens"]
        ]
    return found
