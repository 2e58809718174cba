"""Keys by gain and dollar, length models, and a pilot seen from a job."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from decimal import Decimal

import numpy as np
import pytest
from helpers.labelled import calibration, facts, lengths

from routellm_batch.budget.costs.expected_costs import AnswerCost
from routellm_batch.budget.costs.expected_lengths import measure_lengths
from routellm_batch.budget.costs.tables import Table
from routellm_batch.budget.pricing import CallPrice, Price
from routellm_batch.budget.quality.calibration import fit_calibration
from routellm_batch.budget.quality.forecast import PilotPredictor, build_predictor
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.selection.cut import RankedRows, cut_by_spend, in_chunks, score_key
from routellm_batch.budget.selection.ranking import BY_SCORE, Ranker
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import ROUTES

PRICES = {
    "strong": CallPrice(Price.from_usd(Decimal(10), Decimal(30)), 1000, 2000),
    "weak": CallPrice(Price.from_usd(Decimal("0.2"), Decimal("0.6")), 256),
}
LEVEL = Table((0.0,), (1.0,))


def flat_cost(nano_per_token: int, tokens: float) -> AnswerCost:
    """Return the cost of answers of one length, input free."""
    return AnswerCost(0, nano_per_token * 1_000_000, 1.0, Table((0.0,), (tokens,)), LEVEL, None)


def ranker(gain: Table, strong: AnswerCost, weak: AnswerCost, rate: float = 1000.0) -> Ranker:
    """Return a ranker by gain and dollar."""
    return Ranker("gain_per_dollar", gain, None, rate, {"strong": strong, "weak": weak})


def seen(order: str = "gain_per_dollar", rows: int = 300, **made: object) -> PilotPredictor:
    """Return a pilot as seen from a job of a thousand scores."""
    pilot = facts(rows, **made)
    scores = np.random.default_rng(7).random(1000, dtype=np.float32)
    return build_predictor(pilot.calibration, pilot.lengths, PRICES, order, scores)


def test_table_is_straight_between_points_and_level_beyond() -> None:
    """Values agree with numpy's, also outside; NaN reads as the first point."""
    table = Table((1.0, 2.0, 4.0), (0.0, 10.0, 0.0))
    x = np.array([0.0, 1.0, 1.5, 2.0, 3.9, 4.0, 9.0])
    assert np.interp(x, table.at, table.value) == pytest.approx(table.read(x))
    assert [0.0] == table.read(np.array([np.nan])).tolist()


def test_by_score_is_the_score() -> None:
    """Without a pilot the keys are those of the scores, to the bit."""
    scores = np.random.default_rng(0).random(100, dtype=np.float32)
    assert (score_key(scores) == BY_SCORE.keys(scores, np.zeros(100))).all()


def test_rows_rank_by_gain_over_extra_cost() -> None:
    """Keys order rows as gain divided by extra cost does."""
    gain = Table((0.0, 1.0), (0.1, 0.9))
    dear = AnswerCost(0, 1_000_000, 1.0, Table((1.0, 100.0), (50.0, 5000.0)), LEVEL, None)
    made = ranker(gain, dear, flat_cost(0, 1.0))
    random = np.random.default_rng(1)
    scores, tokens = random.random(500, dtype=np.float32), random.integers(1, 100, 500)
    exact = gain.read(scores) / (50.0 * tokens)
    keys = made.keys(scores, tokens)
    assert (np.diff(exact[np.argsort(keys, kind="stable")]) >= -1e-9).all()


def test_rows_without_gain_come_last_by_score() -> None:
    """Below every row with a gain, however dear, and among themselves as their scores say."""
    gain = Table((0.0, 0.5, 1.0), (-0.2, 0.0, 0.2))
    made = ranker(gain, flat_cost(10**6, 1e6), flat_cost(0, 1.0), rate=1e9)
    scores = np.array([0.1, 0.4, 0.2, 0.51, 0.9, 0.0], np.float32)
    values = made.values(scores, np.ones(6))
    assert [4, 3, 1, 2, 0, 5] == np.argsort(-values, kind="stable").tolist()
    assert (0.0, True) == (values[5], bool((values <= 1).all()))


def test_a_strong_model_that_is_cheaper_ranks_first() -> None:
    """Where gain costs nothing the key is one; without gain it still comes last."""
    made = ranker(Table((0.0, 1.0), (-1.0, 1.0)), flat_cost(1, 1.0), flat_cost(2, 1.0))
    assert [1.0, True] == [
        made.values(np.array([0.9], np.float32), np.ones(1))[0],
        1e-8 > made.values(np.array([0.1], np.float32), np.ones(1))[0],
    ]


def test_null_scores_do_no_harm() -> None:
    """Invalid rows have no score; their keys are as good as any."""
    values = seen().ranker.values(np.array([np.nan], np.float32), np.zeros(1))
    assert np.isfinite(values).all()


@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("nano", [0, 10**6, 10**8, 10**10])
def test_selection_by_density_agrees_with_sorting(levels: int | None, nano: int) -> None:
    """The cut takes what a full sort by (gain per dollar, hash) takes, tied and untied."""
    made = seen().ranker
    random = np.random.default_rng(3)
    scores, tokens = random.random(2000, dtype=np.float32), random.integers(5, 400, 2000)
    if levels:
        scores = (np.floor(scores * levels) / levels).astype(np.float32)
        tokens = np.full(2000, 50)
    delta = made.costs["strong"].nano(tokens, scores) - made.costs["weak"].nano(tokens, scores)
    rows = RankedRows(made.keys(scores, tokens), random.integers(0, 2**64, 2000, dtype=np.uint64), delta)
    order = np.lexsort((rows.tie, rows.key))[::-1]
    expected = set(order[: np.searchsorted(np.cumsum(delta[order]), nano, side="right")].tolist())
    cut = cut_by_spend(lambda: in_chunks(rows, 300), nano)
    assert expected == set(np.flatnonzero(cut.strong(rows.key, rows.tie)).tolist())


def test_ranker_survives_its_file() -> None:
    """Keys are the same to the bit after JSON."""
    made = seen().ranker
    again = Ranker.from_fields(json.loads(json.dumps(asdict(made))))
    scores = np.random.default_rng(4).random(500, dtype=np.float32)
    tokens = np.arange(500)
    assert (made, True) == (again, bool((made.keys(scores, tokens) == again.keys(scores, tokens)).all()))


def test_a_key_is_of_its_row_alone() -> None:
    """Neither the rows beside it nor their number change a key."""
    made = seen().ranker
    scores = np.random.default_rng(5).random(200, dtype=np.float32)
    tokens = np.arange(200) * 3
    alone = [made.keys(scores[n : n + 1], tokens[n : n + 1])[0] for n in range(200)]
    assert (made.keys(scores, tokens) == np.array(alone)).all()


def test_length_models_sum_to_what_was_counted() -> None:
    """Predicted output tokens of the pilot's rows add up to the counted ones, and rise with the prompt as they do."""
    made, weight = lengths(400), np.linspace(0.5, 1.5, 400)
    where = np.random.default_rng(0).random(400)
    for route, one in made.fit(where, weight).items():
        design = made.design(np.array(made.estimated), where)
        predicted = np.exp(design @ np.array([one.level, one.by_size, one.by_position]))
        assert weight @ np.array(made.outputs[route]) == pytest.approx(weight @ predicted)
        spread = made.size[1]
        assert 0.5 == pytest.approx(one.by_size / spread, abs=0.15)  # as the square root


def test_nothing_is_extrapolated() -> None:
    """A prompt larger than any of the pilot's is expected to be answered as the largest one."""
    made = seen()
    cost = made.ranker.costs["strong"]
    most = max(made.lengths.estimated)
    known, beyond = cost.output_tokens(np.array([most, 100 * most]), np.array([0.5, 0.5], np.float32))
    assert known == beyond


def test_answers_are_not_expected_above_their_limit() -> None:
    """``max_completion_tokens`` bounds what is expected."""
    cost = AnswerCost(1, 1, 1.0, Table((0.0,), (500.0,)), LEVEL, 64)
    assert [64.0] == cost.output_tokens(np.array([10]), np.array([0.5])).tolist()


def test_empty_answers_cost_nothing() -> None:
    """A model that never says anything is expected to go on so."""
    zeros = {"strong": [0] * 30, "weak": [0] * 30}
    made = measure_lengths(list(range(1, 31)), zeros, zeros)
    scores = np.linspace(0, 1, 100, dtype=np.float32)
    there = build_predictor(calibration(30), made, PRICES, "score", scores)
    assert [0.0] == there.ranker.costs["strong"].output_tokens(np.array([5]), np.array([0.5])).tolist()


@pytest.mark.parametrize(
    ("rows", "count", "expected"),
    [(19, 5, "19 answers say too little"), (30, -1, "a count of tokens is below zero")],
)
def test_token_counts_are_checked(rows: int, count: int, expected: str) -> None:
    """Too few answers and negative counts are refused."""
    column = [count] * rows
    with pytest.raises(DataError, match=expected):
        measure_lengths(
            [5] * rows, {"strong": [5] * rows, "weak": [5] * rows}, {"strong": column, "weak": column}
        )


def test_pilot_rows_are_ranked_as_the_jobs() -> None:
    """The pilot's order and that of a job whose scores are the pilot's agree, but for the row's own label."""
    pilot = facts(300)
    scores = np.array(pilot.calibration.scores, np.float32)
    there = build_predictor(pilot.calibration, pilot.lengths, PRICES, "gain_per_dollar", scores)
    values = there.ranker.values(scores, np.array(pilot.lengths.estimated))
    assert np.corrcoef(np.argsort(np.argsort(values)), np.argsort(np.argsort(there.order)))[0, 1] > 0.97


def test_a_small_job_is_predicted_less_surely() -> None:
    """With as many rows to come as were labelled intervals are wider by √2, and a target asks for more; below, no more."""
    pilot, scores = facts(300), np.linspace(0, 1, 500)

    def there(rows: int | None) -> PilotPredictor:
        return build_predictor(pilot.calibration, pilot.lengths, PRICES, "score", scores, rows=rows)

    def widths(rows: int | None) -> list[float]:
        one = there(rows)
        ((lo, hi),) = one.cost_interval([0.3]) or []
        row = 2 / 300  # that bounds count more than was seen
        return [hi - lo, *(q.hi - q.lo - row for way in (one.quality, one.random) for q in way([0.3]))]

    endless, small = np.array(widths(None)), widths(600)
    assert small[1:] == pytest.approx(np.sqrt(2) * endless[1:])
    assert endless[0] < small[0] < np.sqrt(2) * endless[0]
    assert small == widths(301)
    shares = [there(rows).recover(0.8, 0.9).share or 2 for rows in (None, 1000, 600)]
    assert shares == sorted(set(shares))


def test_cost_intervals_hold_what_the_pilot_paid() -> None:
    """Where the rows of the highest scores have answers that no slope explains, the interval reaches to their price."""
    rows = 200
    written = np.where(np.arange(rows) >= 180, 1000, 100).tolist()
    sizes = dict.fromkeys(ROUTES, [10] * rows)
    made = measure_lengths(sizes["weak"], sizes, {"strong": written, "weak": [10] * rows})
    scores, strong, weak = np.arange(rows) / rows, np.ones(rows), np.zeros(rows)
    there = build_predictor(fit_calibration(scores, strong, weak, seed=0), made, PRICES, "score", scores)
    predicted = there.ranker.costs["strong"].nano(np.full(20, 10), scores[180:]).sum()
    ((_, hi),) = there.cost_interval([0.1]) or []
    assert hi * predicted > 20 * (1000 * 30_000 + 10 * 10_000)


def test_cost_intervals_lie_about_the_plan_and_narrow_with_labels() -> None:
    """P10 and P90 are below and above what is expected, and closer for a larger pilot."""
    few, many = (seen(rows=rows).cost_interval([0.0, 0.3, 1.0]) for rows in (60, 1000))
    for intervals in (few, many):
        assert all(0 < lo <= 1 <= hi for lo, hi in intervals)
    assert few[1][1] - few[1][0] > many[1][1] - many[1][0]


def test_without_token_counts_rows_rank_by_score() -> None:
    """A pilot of labels alone predicts quality, but no cost."""
    there = build_predictor(calibration(50), None, PRICES, "gain_per_dollar", np.linspace(0, 1, 99))
    assert (BY_SCORE, None, 3) == (there.ranker, there.cost_interval([0.5]), len(there.quality([0, 0.5, 1])))


def test_tied_scores_make_one_knot() -> None:
    """A job whose scores are all equal has one expected gain: that of the middle."""
    pilot = facts(300)
    there = build_predictor(pilot.calibration, pilot.lengths, PRICES, "gain_per_dollar", np.full(50, 0.25))
    assert ((0.25,), pilot.calibration.gains[50]) == (there.ranker.gain.at, there.ranker.gain.value[0])


def proven(pilot: PilotFacts) -> str:
    """Return the order that a plan which may choose takes from a pilot."""
    scores = np.linspace(0, 1, 500, dtype=np.float32)
    return build_predictor(
        pilot.calibration, pilot.lengths, PRICES, "gain_per_dollar", scores, prove=True
    ).ranker.order


def priced(pilot: PilotFacts, factor: np.ndarray) -> PilotFacts:
    """Return the pilot with strong answers as long as ``factor`` [N] says, and prompts that tell so."""
    sizes = np.rint(100 * factor).astype(int).tolist()
    inputs, weak = dict.fromkeys(ROUTES, sizes), [10] * len(sizes)
    made = measure_lengths(sizes, inputs, {"strong": sizes, "weak": weak})
    return PilotFacts(pilot.calibration, made, pilot.uri)


def test_dollars_rank_only_where_scores_are_shown_to_tell() -> None:
    """Costs that vary apart from a known gain are ranked by; where scores do no better than chance, cost alone is not."""
    varied = np.random.default_rng(2).choice([0.2, 5.0], 400)
    found = [proven(priced(pilot, varied)) for pilot in (facts(400), facts(400, slope=0.0, best=0.5))]
    assert ["gain_per_dollar", "score"] == found


def test_pilot_rows_are_ranked_without_their_own_labels() -> None:
    """A row's grades turned round leave its own place as it was, and move others'."""
    pilot = facts(200)
    made = pilot.calibration
    strong, weak = list(made.strong), list(made.weak)
    at = next(n for n in range(200) if strong[n] != weak[n])
    strong[at], weak[at] = weak[at], strong[at]
    turned = replace(made, strong=tuple(strong), weak=tuple(weak))
    scores = np.linspace(0, 1, 100)
    orders = [
        build_predictor(one, pilot.lengths, PRICES, "gain_per_dollar", scores).order for one in (made, turned)
    ]
    fold = np.random.default_rng(made.seed).permutation(200) % 5
    mine = fold == fold[at]
    assert orders[0][mine] == pytest.approx(orders[1][mine])
    assert (orders[0][~mine] != orders[1][~mine]).any()


def test_gain_that_grows_with_the_size_counts() -> None:
    """Two jobs whose scores say nothing: where large prompts gain more, their price is not held against them alone."""
    random = np.random.default_rng(6)
    sizes = random.integers(10, 1000, 2000)
    strong = (random.random(2000) < 0.3 + 0.6 * (np.log(sizes / 10) / np.log(100))).astype(float)
    made = fit_calibration(random.random(2000), strong, np.zeros(2000), seed=0)
    counts = [50] * 2000
    tokens = measure_lengths(
        sizes.tolist(), dict.fromkeys(ROUTES, sizes.tolist()), dict.fromkeys(ROUTES, counts)
    )
    there = build_predictor(made, tokens, PRICES, "gain_per_dollar", np.linspace(0, 1, 100))
    small, large = there.ranker.more.read(np.array([20, 800]))
    truth = 0.6 * np.log(800 / 20) / np.log(100)
    assert pytest.approx(truth, abs=0.1) == large - small
