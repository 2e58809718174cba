"""Which earlier run answers' lengths are learned from: ``lengths.json``, decided once, before anything is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routellm_batch.budget.costs.expected_costs import past_cost
from routellm_batch.budget.costs.expected_lengths import LEAST_ROWS, PastLengths, fit_past
from routellm_batch.budget.pricing import CallPrice
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.config.identity import identity
from routellm_batch.config.job import Config
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.storage.responses import read_shard_responses
from routellm_batch.storage.run import SUCCESS, Run, open_existing
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import from_parquet

PINNED = "lengths.json"
LATEST = "latest"
"""The run that ``lengths_from: latest`` stands for is the newest that can be learned from."""
READ_ROWS = 65_536
"""Rows of an earlier run that are read at most, in whole shards spread over it; one shard at least."""

Past = Mapping[Route, PastLengths | None]
"""Route → the lengths that were learned; None where there is nothing to learn from."""


def pin_lengths(config: Config, run: Run) -> None:
    """Decide which earlier runs ``estimate.lengths_from`` stands for, and keep their lengths in the run's own folder.

    Raises:
        ConfigError: the run that is named does not exist, isn't finished, asked another model, or has too few answers.

    """
    judge = config.endpoints.judge
    if judge is not None and judge.estimate.lengths_from is not None:
        raise ConfigError(
            "endpoints.judge.estimate.lengths_from", "is for strong and weak alone; leave it out"
        )
    asked = {route: config.endpoints.of(route).estimate.lengths_from for route in ROUTES}
    if not any(asked.values()) or run.read_json(PINNED) is not None:
        return
    earlier = _EarlierRuns(FsStore(config.run.root), run.id, identity(config))
    learned = {route: earlier.lengths(route, name) if name else None for route, name in asked.items()}
    fields = {route: None if past is None else past.to_fields() for route, past in learned.items()}
    run.store.create(PINNED, to_json(fields))


def pinned_lengths(run: Run) -> Past:
    """Return the lengths that ``pin_lengths`` kept, by route."""
    fields = run.read_json(PINNED) or {}
    return {route: PastLengths.from_fields(fields[route]) if fields.get(route) else None for route in ROUTES}


def past_ranker(prices: Mapping[Route, CallPrice], past: Past) -> Ranker:
    """Return the order by score, with the costs that follow from earlier runs' lengths.

    Args:
        prices: route → what a call is priced by.
        past: route → the lengths learned.

    """
    if not any(past.values()):
        return BY_SCORE
    return Ranker(costs={route: past_cost(past[route], call) for route, call in prices.items()})


def past_fields(past: Past) -> dict[str, Any]:
    """Return what a plan keeps of the runs that its lengths come from, as plain data."""
    names = ("run", "answers", "mean", "p10", "p90")
    return {route: {name: getattr(one, name) for name in names} for route, one in past.items() if one}


@dataclass(frozen=True, slots=True)
class _EarlierRuns:
    """The runs beside this one that lengths may be learned from."""

    root: FsStore
    """The folder that holds all runs."""
    own_id: str
    """This run's id."""
    identity: Mapping[str, Any]
    """The keys and values that say what this run is."""

    def lengths(self, route: Route, asked: str) -> PastLengths | None:
        """Return the lengths of the run that is asked for; of the latest, None where no run can be learned from.

        Raises:
            ConfigError: the run that is named can't be learned from.

        """
        if asked != LATEST:
            past = self._learn(asked, route)
            if isinstance(past, str):
                key = f"endpoints.{route}.estimate.lengths_from"
                raise ConfigError(key, f"the run {asked!r} {past}; name another, or leave it out")
            return past
        begun = [
            (str(open_existing(self.root.uri(f"runs/{name}"))[1]["begun"]), name)
            for name in self.root.folders("runs")
            if name != self.own_id and self.root.exists(f"runs/{name}/{SUCCESS}")
        ]
        for _, name in sorted(begun, reverse=True):
            past = self._learn(name, route)
            if not isinstance(past, str):
                return past
        return None

    def _learn(self, name: str, route: Route) -> PastLengths | str:
        """Return the lengths of a run's answers on a route, or why it can't be learned from."""
        try:
            earlier, manifest = open_existing(self.root.uri(f"runs/{name}"))
        except DataError:
            return "does not exist"
        if not earlier.store.exists(SUCCESS):
            return "isn't finished"
        if _asked(manifest["config"], route) != _asked(self.identity, route):
            return f"asked another {route} model, or asked with other params or labels"
        rows = _answers(earlier, route)
        if len(rows) < LEAST_ROWS:
            return (
                f"has {len(rows)} {route} answers of a single request, and at least {LEAST_ROWS} are needed"
            )
        return fit_past(name, *(list(column) for column in zip(*rows, strict=True)))


def _asked(config: Mapping[str, Any], route: Route) -> dict[str, Any]:
    """Return the keys of a config that an answer's length depends on."""
    decide = (f"endpoints.{route}.model", f"endpoints.{route}.params", "label")
    return {key: value for key, value in config.items() if key.startswith(decide)}


def _answers(run: Run, route: Route) -> list[tuple[int, int, int]]:
    """Return estimated and counted input tokens, and output tokens, of answers that took one request."""
    lengths: list[tuple[int, int, int]] = []
    wanted = max(1, READ_ROWS // run.shard_rows)
    for shard in run.shards[:: max(1, -(-len(run.shards) // wanted))]:
        columns = ["route", "status", "attempts", "input_tokens", "output_tokens"]
        answers = read_shard_responses(run, shard.name, columns)
        if answers is None:
            continue
        scored = from_parquet(run.store.read(f"score/{shard.name}.parquet"), ["id", "tokens"])
        tokens = dict(zip(scored.column("id").to_pylist(), scored.column("tokens").to_pylist(), strict=True))
        lengths += [
            (tokens[row["id"]], row["input_tokens"], row["output_tokens"])
            for row in answers.to_pylist()
            if row["route"] == route
            and row["status"] == "ok"
            and row["attempts"] == 1
            and row["output_tokens"]
        ]
    return lengths
