"""Plans made with a pilot: who goes strong, what is predicted, and that resumes and degrades follow the same order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import jobs
from helpers.jobs import Finished, comparable, plan_job, prompts, run_job, write_prompts
from helpers.labelled import facts
from helpers.models import bills, two_models
from helpers.stub import Answer, answering, interrupting, stub_server

from routellm_batch.budget.plan import Plan
from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.budget.quality.pilot_facts import PilotFacts
from routellm_batch.budget.selection.ranking import BY_SCORE
from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.config.job import Config
from routellm_batch.core.errors import BudgetError, ConfigError
from routellm_batch.pipeline.run import PreparedJob
from routellm_batch.stages.call.degrade import load_degrades
from routellm_batch.stages.plan import make as planning
from routellm_batch.stages.plan.files import load_plan
from routellm_batch.storage.tables import from_parquet

ROWS = 60
USD = {"usd": Decimal("0.003"), "order": "gain_per_dollar"}
PILOT = facts(200, longest=40)
GENTLE = facts(200, slope=0.05, best=0.5, longest=40)
"""Its gain hardly rises with the score, so that what a row costs decides."""

Use = Callable[[PilotFacts], None]


def job_config(folder: Path, **settings: Any) -> Config:
    """Return a job that has a pilot; ``use`` says what that is."""
    grader = {"kind": "exact", "reference": "prompt"}
    return jobs.job_config(folder, pilot={"usd": 1, "grader": grader}, **settings)


@dataclass(frozen=True)
class GivenPilot:
    """A source of pilots that has one already, or none."""

    facts: PilotFacts | None

    def prepare(self, config: Config, *_: object) -> PreparedJob:
        """Return the job with what the pilot found."""
        return PreparedJob(config, self.facts)


@pytest.fixture(autouse=True)
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Have every plan made with a given pilot; with none, until one is given."""

    def plan_with(pilot: PilotFacts | None) -> None:
        monkeypatch.setattr("routellm_batch.pipeline.jobs.JobPilot", lambda **_: GivenPilot(pilot))

    plan_with(None)
    return plan_with


def plan_of(result: Finished) -> Plan:
    """Return the run's plan."""
    found = load_plan(result.run)
    assert found is not None
    return found


def scored(result: Finished) -> list[dict[str, Any]]:
    """Return the score rows of the whole run."""
    run = result.run
    tables = [from_parquet(run.store.read(f"score/{shard.name}.parquet")) for shard in run.shards]
    return [row for table in tables for row in table.to_pylist()]


def ranked(result: Finished) -> list[dict[str, Any]]:
    """Return the score rows by gain over extra cost and hash, highest first, with ``delta``: plain arithmetic."""
    rows, ranker = scored(result), plan_of(result).ranker
    assert ranker.gain is not None
    assert ranker.more is not None
    assert ranker.costs is not None
    scores = np.array([row["score"] for row in rows], np.float32)
    tokens = np.array([row["tokens"] for row in rows])
    strong, weak = (ranker.costs[route].nano(tokens, scores) for route in ("strong", "weak"))
    gain = ranker.gain.read(scores) + ranker.more.read(tokens)
    found = [
        {
            **row,
            "delta": int(d),
            "worth": (g / d if g > 0 else 0.0, row["score"] if g <= 0 else 0, row["tie"]),
        }
        for row, g, d in zip(rows, gain, strong - weak, strict=True)
    ]
    return sorted(found, key=lambda row: row["worth"], reverse=True)


@pytest.mark.parametrize("cluster", ["serial", "local"])
def test_dollars_buy_the_best_gain_by_dollar(tmp_path: Path, use: Use, cluster: str) -> None:
    """A dollar plan sends the rows strong that a sort by gain over extra cost picks, on every runtime."""
    use(GENTLE)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    kind = {"kind": cluster} if cluster == "serial" else {"kind": cluster, "workers": 1}
    with two_models(tmp_path) as urls:
        result = run_job(job_config(tmp_path, **urls, budget=USD, cluster=kind))
    plan, order = plan_of(result), ranked(result)
    room = 3_000_000 - plan.all_weak_nano
    fitting = [spent <= room for spent in accumulate(row["delta"] for row in order)]
    expected = sorted(row["id"] for row, fits in zip(order, fitting, strict=True) if fits)
    assert (expected, len(expected)) == (result.strong_ids(), plan.strong)
    assert expected != sorted(row["id"] for row in sorted(order, key=lambda r: -r["score"])[: plan.strong])
    assert 0 < plan.strong < ROWS
    assert plan.planned_nano <= 3_000_000


def test_both_runtimes_give_equal_rows(tmp_path: Path, use: Use) -> None:
    """Serial and local runs of one plan answer every row alike."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    found = []
    with two_models(tmp_path) as urls:
        for kind in ({"kind": "serial"}, {"kind": "local", "workers": 1}):
            config = job_config(tmp_path, **urls, budget=USD, cluster=kind, run__id=kind["kind"])
            found.append(comparable(run_job(config).rows))
    assert found[0] == found[1]


def test_the_plan_says_what_the_pilot_foretells(tmp_path: Path, use: Use) -> None:
    """Predicted quality and cost with intervals are there for the plan and for each point, and random beside them."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    plan = plan_of(plan_job(job_config(tmp_path, budget=USD)))
    assert {"uri": "memory://pilot", "rows": 200, "note": None} == {
        name: value for name, value in plan.pilot.items() if name != "kind"
    }
    for outlook, cost in [(plan.outlook, plan.planned_nano)] + [
        (p.outlook, p.planned_nano) for p in plan.frontier
    ]:
        assert outlook is not None
        assert outlook.quality.lo <= outlook.quality.mean <= outlook.quality.hi
        assert outlook.low_nano is not None
        assert outlook.high_nano is not None
        assert outlook.low_nano <= cost <= outlook.high_nano
        assert outlook.random.share == outlook.quality.share
    ends = [plan.frontier[n].outlook for n in (0, -1)]
    assert [(0.0, plan.all_weak_nano), (1.0, plan.all_strong_nano)] == [
        (one.quality.pgr, one.random_nano) for one in ends if one is not None
    ]
    assert plan.strong / plan.valid == plan.outlook.quality.share if plan.outlook else False


def test_share_plans_stay_by_score(tmp_path: Path, use: Use) -> None:
    """With a pilot a share still means the K rows with the highest scores; what it brings is foretold."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    bare = plan_of(plan_job(job_config(tmp_path, run__id="bare")))
    use(PILOT)
    plan = plan_of(plan_job(job_config(tmp_path)))
    assert (bare.cut, bare.strong) == (plan.cut, plan.strong)
    assert plan.outlook is not None
    assert plan.ranker.gain is None


def test_order_can_be_chosen(tmp_path: Path, use: Use) -> None:
    """``order: score`` keeps a dollar plan by score; its cost still knows the pilot's lengths."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    plan = plan_of(plan_job(job_config(tmp_path, budget={**USD, "order": "score"})))
    assert ("score", None, False) == (plan.ranker.order, plan.ranker.gain, plan.ranker.costs is None)


def test_recover_takes_the_cheapest_share_that_holds(tmp_path: Path, use: Use) -> None:
    """As many of the highest scores go strong as the pilot's bound asks for; the plan says which bound."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with two_models(tmp_path) as urls:
        budget = {"recover": Decimal("0.6"), "confidence": Decimal("0.8")}
        result = run_job(job_config(tmp_path, **urls, budget=budget))
    plan = plan_of(result)
    assert plan.recover is not None
    assert plan.recover.share is not None
    assert plan.recover.bound is not None
    count = ceil(Decimal(str(plan.recover.share)) * ROWS)
    best = sorted(scored(result), key=lambda row: (row["score"], row["tie"]), reverse=True)[:count]
    assert (sorted(row["id"] for row in best), True) == (result.strong_ids(), plan.recover.bound >= 0.6)
    assert 0 < count < ROWS


def test_recover_that_nothing_holds_spends_nothing(tmp_path: Path, use: Use) -> None:
    """Without a certain gap the run ends before any call and says why."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    config = job_config(tmp_path, budget={"recover": Decimal("0.9")})
    use(PilotFacts(_flipped(PILOT), PILOT.lengths, PILOT.uri))
    with pytest.raises(BudgetError, match=r"can't be held with confidence 0.9: .* no cut can hold any part"):
        plan_job(config)
    assert load_plan(plan_job(job_config(tmp_path, run__id="other")).run) is not None


def _flipped(pilot: PilotFacts) -> Any:
    from routellm_batch.budget.quality.calibration import fit_calibration

    made = pilot.calibration
    return fit_calibration(np.array(made.scores), np.array(made.weak), np.array(made.strong), seed=0)


def test_gain_per_dollar_needs_token_counts(tmp_path: Path, use: Use) -> None:
    """Asked for by name, it is refused where the pilot has labels alone; auto falls back to the score."""
    use(PilotFacts(PILOT.calibration, None, PILOT.uri))
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with pytest.raises(BudgetError, match="needs a pilot whose answers' tokens were counted"):
        plan_job(job_config(tmp_path, budget=USD))
    plan = plan_of(plan_job(job_config(tmp_path, run__id="auto", budget={"usd": USD["usd"]})))
    assert (BY_SCORE, None) == (plan.ranker, plan.outlook.low_nano if plan.outlook else 0)


def test_a_share_by_dollars_is_refused(tmp_path: Path) -> None:
    """A strong share is of the highest scores, whatever the order."""
    with pytest.raises(ConfigError, match="order gain_per_dollar needs usd or recover"):
        job_config(tmp_path, budget={"strong_share": Decimal("0.5"), "order": "gain_per_dollar"})


def test_an_interrupted_run_keeps_its_order(tmp_path: Path, use: Use) -> None:
    """Resumed without the pilot at hand, the run follows its plan's own table; nothing is called twice."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with stub_server(interrupting(answering(), 20)) as stub:
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, budget=USD)
        first = run_job(config)
        use(facts(200, seed=9, longest=40))
        second = run_job(config)
        keys = [call.key for call in stub.calls]
    plan = plan_of(second)
    expected = sorted(row["id"] for row in ranked(second)[: plan.strong])
    assert (75, 0, len(keys)) == (first.exit_code, second.exit_code, len(set(keys)))
    assert expected == second.strong_ids()


def test_a_degrade_moves_the_rows_that_buy_least(tmp_path: Path, use: Use) -> None:
    """Dearer than planned, the pending rows with the least gain by dollar go weak, and the cap holds."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    cap = 6_000_000
    settings: dict[str, Any] = {
        "budget": {**USD, "usd": nano_to_usd(5_500_000), "hard_cap_usd": nano_to_usd(cap)},
        "endpoints__strong__limits": {"concurrency": 4},
        "endpoints__weak__limits": {"concurrency": 4},
        "endpoints__strong__params": {"max_completion_tokens": 100},
    }
    with two_models(tmp_path, output_tokens=90) as urls:
        result = run_job(job_config(tmp_path, **urls, **settings))
    made, plan = load_degrades(result.run), plan_of(result)
    assert (0, True) == (result.exit_code, bool(made))
    assert max(accumulate(line["nano"] for line in bills(tmp_path))) <= cap
    rows = {row["id"]: n for n, row in enumerate(ranked(result))}
    strong = {rows[row_id] for row_id in result.strong_ids()}
    keys = _keys(result)
    kept = {n for row_id, n in rows.items() if made[-1].cut.strong(*keys[row_id])[0]}
    assert (True, True) == (kept <= strong, strong <= set(range(plan.strong)))
    assert kept == set(range(len(kept)))


def _keys(result: Finished) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each row's key and hash, as arrays of one."""
    ranker = plan_of(result).ranker
    return {
        row["id"]: (
            ranker.keys(np.array([row["score"]], np.float32), np.array([row["tokens"]])),
            np.array([row["tie"]], np.uint64),
        )
        for row in scored(result)
    }


def test_a_hard_cap_lowers_the_plan_by_the_same_order(tmp_path: Path, use: Use) -> None:
    """A plan above its cap keeps the rows that buy the most, and says that it was lowered."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    budget = {**USD, "usd": Decimal("0.005"), "hard_cap_usd": Decimal("0.003")}
    result = plan_job(job_config(tmp_path, budget=budget))
    plan = plan_of(result)
    assert plan.degraded is not None
    room = 3_000_000 - plan.all_weak_nano
    expected = sum(spent <= room for spent in accumulate(row["delta"] for row in ranked(result)))
    assert (expected, True) == (plan.strong, plan.outlook is not None)


def test_a_lowered_plan_keeps_what_the_pilot_cost(
    tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the run's own pilot cost comes off the cap of calls, also where the cap lowers the plan."""
    use(PILOT)
    paid = EmbeddingUse(spent_nano=400_000, presumed_nano=100_000)
    monkeypatch.setattr(planning, "own_pilot_use", lambda _run: paid)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    budget = {**USD, "usd": Decimal("0.005"), "hard_cap_usd": Decimal("0.003")}
    plan = plan_of(plan_job(job_config(tmp_path, budget=budget)))
    assert (500_000, 2_500_000) == (plan.pilot_nano, plan.calls_cap_nano)
    assert plan.degraded is not None
    assert plan.planned_nano <= 2_500_000


def test_identical_prompts_are_paid_once(tmp_path: Path, use: Use) -> None:
    """Copies share one call in a plan by gain per dollar as in any other."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", [prompts(ROWS)[n // 3] for n in range(ROWS)])
    with stub_server() as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, budget=USD))
        calls = len(stub.calls)
    plan = plan_of(result)
    assert (0, sum(t.calls for t in plan.endpoints.values())) == (result.exit_code, calls)
    assert calls < ROWS


def test_what_is_followed_on_the_way_sums_to_the_plan(tmp_path: Path, use: Use) -> None:
    """Spread evenly over a route's calls, the plan's cost is what all its calls are expected to cost."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    plan = plan_of(plan_job(job_config(tmp_path, budget=USD)))
    prices = plan.run_prices
    assert prices is not None
    for route, totals in plan.endpoints.items():
        expected = prices.lines[route].nano(totals.input_tokens, totals.calls)  # type: ignore[index]
        assert expected == pytest.approx(totals.planned_nano, abs=totals.calls)


def test_plans_of_older_versions_rank_by_score(tmp_path: Path) -> None:
    """A ``plan.json`` without the newer fields is read, and its run goes on by score."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    config = job_config(tmp_path)
    made = plan_of(plan_job(config))
    path = tmp_path / "root" / "runs" / "job" / "plan.json"
    fields = json.loads(path.read_text())
    for name in ("ranker", "pilot", "outlook", "recover"):
        del fields[name]
    for point in fields["frontier"]:
        del point["outlook"]
    path.write_text(json.dumps(fields))
    with stub_server(lambda _call: Answer()) as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, run__id="job2"))
    again = Plan.from_json(fields)
    assert (made, BY_SCORE) == (again, again.ranker)
    best = sorted(scored(result), key=lambda row: (row["score"], row["tie"]), reverse=True)[: made.strong]
    assert sorted(row["id"] for row in best) == result.strong_ids()


def test_a_plan_survives_its_file(tmp_path: Path, use: Use) -> None:
    """All that a plan says, its order and what is foretold among it, comes back equal."""
    use(PILOT)
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    made = plan_of(plan_job(job_config(tmp_path, budget={"recover": Decimal("0.5")})))
    assert made == Plan.from_json(json.loads(made.to_json()))
