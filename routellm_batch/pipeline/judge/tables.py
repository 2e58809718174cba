"""The results of judging: outcomes, battles, unlabelled pairs, and the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from routellm_batch.budget.pricing import usd_text
from routellm_batch.config.job import Config
from routellm_batch.core.errors import RunMismatchError
from routellm_batch.core.types import ROUTES
from routellm_batch.evaluation.graders.grade import Problem
from routellm_batch.evaluation.graders.judge import Pair, Verdicts
from routellm_batch.pipeline.ask import AskResult
from routellm_batch.reporting.text import count, usd
from routellm_batch.storage.prompts import tie_hash
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import OUTCOME_COST, outcome_schema, to_parquet

OUTCOMES, BATTLES, UNLABELLED = "outcomes.parquet", "battles.parquet", "unlabelled.parquet"
_OUTCOME = outcome_schema(("turned", pa.bool_()))
_BATTLE = pa.schema(
    [
        *((name, pa.string()) for name in ("prompt_id", "prompt", "model_a", "model_b", "winner")),
        ("preference", pa.float64()),
        ("judge", pa.string()),
        ("score_a", pa.float64()),
        ("score_b", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Judged:
    """Pairs with their verdicts."""

    config: Config
    """The job."""
    pairs: Sequence[Pair]
    """All pairs, in input order."""
    verdicts: Verdicts
    """Of these pairs."""
    asks: Mapping[str, AskResult]
    """Run id → the ask's result."""

    @cached_property
    def labelled(self) -> list[tuple[Pair, float, float]]:
        """Pairs that have a verdict, with the scores of the strong and the weak model."""
        graded = ((pair, self.verdicts.grades[str(pair.id)]) for pair in self.pairs)
        return [
            (pair, grade.strong.score, grade.weak.score)
            for pair, grade in graded
            if grade.strong.score is not None and grade.weak.score is not None
        ]

    @cached_property
    def unlabelled(self) -> list[tuple[Pair, Problem]]:
        """Pairs without a verdict, and why."""
        graded = ((pair, self.verdicts.grades[str(pair.id)].strong) for pair in self.pairs)
        return [(pair, grade.problem or Problem.NO_VERDICT) for pair, grade in graded if grade.score is None]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of pairs by their verdict."""
        better = sum(strong > weak for _, strong, weak in self.labelled)
        worse = sum(strong < weak for _, strong, weak in self.labelled)
        return {
            "pairs": len(self.pairs),
            "labelled": len(self.labelled),
            "strong_better": better,
            "weak_better": worse,
            "ties": len(self.labelled) - better - worse,
            "turned": self.verdicts.turned,
        }


def write_tables(store: FsStore, judged: Judged) -> None:
    """Write outcomes, battles and unlabelled pairs.

    Raises:
        RunMismatchError: the folder holds other labels already.

    """
    tables = {OUTCOMES: outcomes(judged), BATTLES: battles(judged)}
    if judged.unlabelled:
        tables[UNLABELLED] = pa.table(
            {
                "prompt_id": [str(pair.id) for pair, _ in judged.unlabelled],
                "problem": [str(problem) for _, problem in judged.unlabelled],
            }
        )
    for path, table in tables.items():
        if not store.create(path, to_parquet(table)):
            message = f"{store.uri(path)} exists already with other labels; choose another run.id"
            raise RunMismatchError(message)


def outcomes(judged: Judged) -> pa.Table:
    """Return a row for each labelled prompt: both scores, and the tokens and cost of answers that were asked for."""
    costs = {route: _costs(judged.asks.get(route)) for route in ROUTES}
    rows = [
        {
            "prompt_id": str(pair.id),
            "prompt": pair.question,
            "strong_score": strong,
            "weak_score": weak,
            **{f"{r}_{name}": costs[r].get(pair.id, {}).get(name) for r in ROUTES for name in OUTCOME_COST},
            "turned": judged.verdicts.grades[str(pair.id)].turned,
        }
        for pair, strong, weak in judged.labelled
    ]
    return pa.Table.from_pylist(rows, schema=_OUTCOME)


def battles(judged: Judged) -> pa.Table:
    """Return a battle for each labelled prompt; which model is ``model_a`` is drawn from the id, by the run's seed."""
    endpoints = judged.config.endpoints
    name = endpoints.judge.model if endpoints.judge else ""
    rows = []
    for pair, strong, weak in judged.labelled:
        sides = [(endpoints.strong.model, strong), (endpoints.weak.model, weak)]
        if tie_hash(pair.id, judged.config.run.seed) & 1:
            sides.reverse()
        (model_a, score_a), (model_b, score_b) = sides
        preference = 0.5 if score_a == score_b else float(score_a > score_b)
        winner = {1.0: "model_a", 0.0: "model_b", 0.5: "tie"}[preference]
        rows.append(
            (str(pair.id), pair.question, model_a, model_b, winner, preference, name, score_a, score_b)
        )
    return pa.Table.from_pylist([dict(zip(_BATTLE.names, row, strict=True)) for row in rows], schema=_BATTLE)


def _costs(result: AskResult | None) -> dict[object, dict[str, Any]]:
    if result is None or result.rows is None:
        return {}
    return {row["id"]: row for row in result.rows.select(["id", *OUTCOME_COST]).to_pylist()}


def cost_facts(judged: Judged, cap_nano: int, exit_code: int) -> dict[str, Any]:
    """Return ``cost.json``: verdicts and what each ask cost, in USD as text.

    Args:
        judged: pairs with their verdicts.
        cap_nano: the cap of the job, in nano-dollars.
        exit_code: of the job.

    """
    asks = {
        name: {
            "calls": sum(totals.calls for totals in result.summary.routes.values()),
            "ok": result.summary.ok,
            "failed": result.summary.failed,
            "spent_usd": usd_text(result.spent_nano),
            "presumed_usd": usd_text(result.presumed_nano),
            "run": result.run_uri,
        }
        for name, result in judged.asks.items()
    }
    problems: dict[str, int] = {}
    for _, problem in judged.unlabelled:
        problems[str(problem)] = problems.get(str(problem), 0) + 1
    return {
        "exit_code": exit_code,
        "rows": {**judged.counts, "unlabelled": problems},
        "asks": asks,
        "spent_usd": usd_text(_spent(judged)),
        "presumed_usd": usd_text(sum(result.presumed_nano for result in judged.asks.values())),
        "cap_usd": usd_text(cap_nano),
    }


def _spent(judged: Judged) -> int:
    return sum(result.spent_nano for result in judged.asks.values())


def judged_lines(judged: Judged, store: FsStore) -> list[str]:
    """Return the closing lines of the job, for a user."""
    n = judged.counts
    parts = ", ".join(f"{name} {usd(result.spent_nano)}" for name, result in judged.asks.items())
    turned = f", {count(n['turned'])} of them turned with the order of the answers" if n["turned"] else ""
    split = f"strong better in {count(n['strong_better'])}, weak in {count(n['weak_better'])}, ties {count(n['ties'])}"
    lines = [
        f"Judged {count(n['labelled'])} of {count(n['pairs'])} pairs: {split}{turned}.",
        f"Spent {usd(_spent(judged))}{f' ({parts})' if parts else ''}.",
    ]
    if judged.unlabelled:
        lines.append(f"{count(len(judged.unlabelled))} unlabelled: {store.uri(UNLABELLED)}")
    return [*lines, f"Outcomes: {store.uri(OUTCOMES)}", f"Battles: {store.uri(BATTLES)}"]
