"""Pilots drawn from recorded outcomes: some rows are labelled, a router is fitted on them, the others are the job."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import cast

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.prompts import shared_data
from routellm_batch.budget.costs.expected_lengths import Lengths, measure_lengths
from routellm_batch.budget.pricing import CallPrice, Price
from routellm_batch.budget.quality.calibration_maps import positions
from routellm_batch.core.arrays import Floats
from routellm_batch.core.types import ROUTES, Route
from routellm_batch.evaluation.outcomes import Outcomes, read_outcomes
from routellm_batch.evaluation.pilot import draw_pilot
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.blend.fit import PilotRows, fit_pilot
from routellm_batch.routers.outcome.blend.router import BlendRouter, Reading, members, read
from routellm_batch.routers.outcome.fitting import Penalties, fit_heads
from routellm_batch.routers.outcome.router import OutcomeRouter, design_matrix
from routellm_batch.routers.training.held_out import FOLDS
from routellm_batch.routers.training.rows import TrainingRows, to_unit

PAIRS = {
    "MMLU": "mmlu_gpt4-1106_vs_mixtral",
    "GSM8K": "gsm8k_gpt4-1106_vs_mixtral",
    "GSM8K, GPT-4o": "gsm8k_gpt4o_vs_llama3-8b",
    "MMLU-Pro": "mmlupro-visible_llama31-70b_vs_mixtral",
    "AlpacaEval": "alpacaeval_gpt4-1106_vs_mixtral",
    "MT-Bench": "mtbench_gpt4-1106_vs_mixtral",
}
"""Name in a table → part of the files' names."""
TRAINED_ON = ("MMLU-Pro",)
"""Sets of which the shipped weights have seen rows: pilots of these begin with nothing."""
PRICES: dict[Route, CallPrice] = {
    "strong": CallPrice(Price.from_usd(Decimal(10), Decimal(30)), 0),
    "weak": CallPrice(Price.from_usd(Decimal("0.24"), Decimal("0.24")), 0),
}
"""What RouteLLM's paper takes GPT-4 and Mixtral to cost; the same for the other pairs, so that sets compare."""
PENALTIES = Penalties(3.0, 300.0)
"""Of the simple fit; not chosen on these rows."""
SPLITS = 3
"""Times that the simple fit splits its rows into folds, to average over."""


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """One data set with both models' grades, and token counts where the answers are recorded."""

    name: str
    outcomes: Outcomes
    design: Floats
    """[N, D + F], what the outcome router reads."""
    tokens: Mapping[str, NDArray[np.int64]]
    """``prompt``, ``strong`` and ``weak`` → [N], characters / 4; empty where answers are not recorded."""


@dataclass(frozen=True, slots=True, eq=False)
class Pilot:
    """A labelled sample, a router fitted on it, and the rest of the job."""

    drawn: NDArray[np.int64]
    """[n], its rows."""
    rest: NDArray[np.int64]
    """[N − n] or less: rows that share no prompt with it."""
    out_of_fold: Floats
    """[n], scores by models that did not see the row."""
    scores: Floats
    """Scores of the rest, by the model that saw all n."""


Fit = Callable[[Recorded, NDArray[np.int64], NDArray[np.int64], int], tuple[Floats, Floats]]
"""(data, pilot rows, other rows, seed) → out-of-fold scores of the pilot rows, and scores of the others."""


def load(name: str, *, answers: bool = False, rows: int | None = None) -> Recorded:
    """Read a data set without its contaminated rows; with ``answers`` its token counts too."""
    part = PAIRS[name]
    whole = read_outcomes(str(shared_data() / f"outcomes_{part}.parquet"), {})
    data = whole.take(np.arange(len(whole))[:rows])
    tokens = _tokens(part, data.ids) if answers else {}
    return Recorded(name, data, design_matrix(get_embedder("static"), data.prompts), tokens)


def _tokens(part: str, ids: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    table = pq.read_table(shared_data() / f"responses_{part}.parquet")
    place = {str(row_id): n for n, row_id in enumerate(table.column("prompt_id").to_pylist())}
    rows = [place[row_id] for row_id in ids]
    columns = {"prompt": "prompt", "strong": "strong_response", "weak": "weak_response"}
    return {
        name: table.column(f"{stem}_tokens_est").to_numpy()[rows].astype(np.int64)
        for name, stem in columns.items()
    }


def draw(data: Recorded, rows: int, seed: int, fit: Fit) -> Pilot:
    """Draw a pilot of rows with distinct prompts, and fit on it."""
    marked = replace(data.outcomes, ids=list(map(str, range(len(data.outcomes)))))
    pilot, rest = (np.array(part.ids, dtype=np.int64) for part in draw_pilot(marked, rows, seed))
    with threadpool_limits(limits=1, user_api="blas"):
        return Pilot(pilot, rest, *fit(data, pilot, rest, seed))


def costs(data: Recorded, rows: NDArray[np.int64]) -> dict[Route, Floats]:
    """Return what calls for some rows cost, in nano-dollars, from the recorded answers."""
    size = data.tokens["prompt"][rows]
    return {
        route: (size * end.price.input_nano + data.tokens[route][rows] * end.price.output_nano) / 1e6
        for route, end in PRICES.items()
    }


def counted(data: Recorded, rows: NDArray[np.int64]) -> Lengths:
    """Return the token counts of a pilot's rows."""
    sizes = data.tokens["prompt"][rows].tolist()
    outputs: dict[Route, Sequence[int]] = {route: data.tokens[route][rows].tolist() for route in ROUTES}
    return measure_lengths(sizes, dict.fromkeys(ROUTES, sizes), outputs)


def simple_fit(
    data: Recorded, pilot: NDArray[np.int64], rest: NDArray[np.int64], seed: int
) -> tuple[Floats, Floats]:
    """Fit outcome heads of fixed penalties, and three times once for each of five folds."""
    strong, weak = to_unit(data.outcomes.strong[pilot], data.outcomes.weak[pilot])
    n = len(pilot)
    rows = TrainingRows(
        prompts=[data.outcomes.prompts[row] for row in pilot],
        strong=strong,
        weak=weak,
        weight=np.ones(n),
        file=np.zeros(n, dtype=np.int64),
        task=["0"] * n,
        held_out=np.zeros(n, dtype=np.bool_),
    )
    read = data.design[pilot]
    random, found = np.random.default_rng(seed), np.zeros(n)
    for _ in range(SPLITS):
        fold = random.permutation(n) % FOLDS
        for number in range(FOLDS):
            held = fold == number
            scores = fit_heads(rows, read, ~held, PENALTIES, alpha=1).score(read[held])
            found[held] += positions(scores, np.ones(len(scores)))  # Levels differ between folds.
    heads = fit_heads(rows, read, np.ones(n, dtype=np.bool_), PENALTIES, alpha=1)
    return found / SPLITS, heads.score(data.design[rest])


def pilot_fit(
    data: Recorded, pilot: NDArray[np.int64], rest: NDArray[np.int64], seed: int
) -> tuple[Floats, Floats]:
    """Fit as a run's pilot does, with the shipped weights as what is known before."""
    part = data.outcomes.take(pilot)
    rows = PilotRows(part.prompts, part.strong, part.weak, np.ones(len(part)))
    fitted = fit_pilot(rows, prior=_prior(data.name), embedder="static", seed=seed)
    router, others = cast("BlendRouter", fitted.router), _reading(data).take(rest)
    raw = members(others, router.learned.predict(others) if router.learned else None)
    return fitted.out_of_fold, router.blend.combine(raw).astype(np.float32).astype(np.float64)


@cache
def _prior(name: str) -> OutcomeRouter | None:
    return None if name in TRAINED_ON else cast("OutcomeRouter", make_router("outcome"))


@cache
def _reading(data: Recorded) -> Reading:
    """Read a set once for all of its pilots."""
    static = get_embedder("static")
    return read(data.outcomes.prompts, static, static, _prior(data.name))


FITS: Mapping[str, Fit] = {"simple": simple_fit, "pilot": pilot_fit}


def chosen_fit(usual: str) -> str:
    """Return the name of the fit that ``PILOT_FIT`` asks for."""
    return os.environ.get("PILOT_FIT", usual)
