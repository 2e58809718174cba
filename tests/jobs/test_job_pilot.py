"""A pilot before a run: sampled, answered, graded, fitted; pinned, reused and never paid for twice."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, billing, nano, quick_waits
from helpers.stub import served_here

from routellm_batch.config.job import Config, check_config
from routellm_batch.core.errors import (
    BudgetError,
    ConfigError,
    DataError,
    RoutellmBatchError,
    RunMismatchError,
)
from routellm_batch.core.events import Event
from routellm_batch.core.halt import Halt
from routellm_batch.evaluation.outcomes import read_outcomes
from routellm_batch.pipeline.jobs import pilot_job, plan_job, run_job
from routellm_batch.routers.outcome.blend import fit, members

ROWS = 602
"""Of the bundled prompts."""
SMALL, LARGE = 64, 240
"""Rows of a pilot: too few to fit anything but the calibration, which takes no time; and enough."""
NUMERIC = {"kind": "numeric", "reference": "reference"}


@pytest.fixture(autouse=True)
def _small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit what a job needs to go through; how good a fit is, is for the tests of the router."""
    monkeypatch.setattr(members, "TREES", 40)
    monkeypatch.setattr(fit, "MANY_FOLDS", 3)


def tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return a job on the bundled prompts with a pilot; both models are simulated and keep their own bills."""

    def end(route: str, skill: float, price: str) -> dict[str, Any]:
        return {
            "kind": "simulated",
            "model": f"{route}-model",
            "price": {"input": price, "output": price},
            "params": {"max_completion_tokens": 256},
            "simulate": {
                "latency_ms": 0,
                "output_tokens": 40,
                "skill": skill,
                "reference": {"uri": "builtin:prompts"},
                "log": str(folder / f"{route}.jsonl"),
            },
        }

    plain: dict[str, Any] = {
        "run": {"id": "job", "root": str(folder / "root")},
        "input": {
            "uri": "builtin:prompts",
            "columns": {"id": "id", "prompt": "prompt"},
            "keep": ["category"],
            "shard_rows": 256,
        },
        "pilot": {"rows": SMALL, "usd": 1, "grader": NUMERIC},
        "budget": {"strong_share": "0.3", "hard_cap_usd": 5},
        "endpoints": {"strong": end("strong", 0.95, "5"), "weak": end("weak", 0.4, "0.2")},
        "cluster": {"kind": "serial"},
    }
    for path, value in changes.items():
        at = plain
        *parents, last = path.split("__")
        for part in parents:
            at = at[part]
        at[last] = value
    return plain


def config(folder: Path, **changes: Any) -> Config:
    return check_config(tree(folder, **changes), source="job.yaml")


def run(folder: Path, **changes: Any) -> Finished:
    return finished(run_job, config(folder, **changes))


def finished(verb: Any, settings: Config) -> Finished:
    events: list[Event] = []
    with quick_waits(), served_here():
        result = verb(settings, events.append)
    return Finished(result.exit_code, result.run_uri, result.outputs.lines, events)


def bills(folder: Path) -> list[dict[str, Any]]:
    logs = [folder / "strong.jsonl", folder / "weak.jsonl"]
    return [line for log in logs if log.exists() for line in billing(log)]


def stated(folder: Path, name: str = "job") -> dict[str, Any]:
    return dict(json.loads((folder / "root" / "pilots" / name / "_SUCCESS").read_bytes()))


def test_a_run_makes_its_pilot_and_buys_nothing_twice(tmp_path: Path) -> None:
    """The pilot's answers are the run's: no request is billed twice, and the report has every bill."""
    done = run(tmp_path)
    lines = bills(tmp_path)
    assert (0, ROWS) == (done.exit_code, len(done.by_id))
    assert [] == [key for key, count in Counter(line["request_key"] for line in lines).items() if count > 1]
    assert ROWS // 10 * 3 == done.cost["rows"]["strong"]
    assert sum(line["nano"] for line in lines) == nano(done.cost["spent_usd"])
    free = [row for row in done.rows if row["attempts"] == 0]
    assert 50 < len(free) <= SMALL
    assert all(row["cost_usd"] == 0 and row["answer"] for row in free)
    assert len(free) == sum(done.cost["endpoints"][route]["taken_over"] for route in ("strong", "weak"))
    before = len(lines)
    assert 0 == run(tmp_path).exit_code
    assert before == len(bills(tmp_path))


def test_the_pilot_leaves_outcomes_that_evaluate_reads(tmp_path: Path) -> None:
    """``outcomes.parquet`` has the contract's columns; rows without a grade are left out by their null."""
    result = finished(pilot_job, config(tmp_path, pilot__rows=LARGE))
    table = pq.read_table(tmp_path / "root" / "pilots" / "job" / "outcomes.parquet")
    said = stated(tmp_path)
    assert (0, LARGE, LARGE) == (result.exit_code, table.num_rows, said["rows"])
    known = table.filter(table.column("strong_score").is_valid())
    assert said["labelled"] == known.num_rows > 50
    pq.write_table(known, tmp_path / "known.parquet")
    found = read_outcomes(str(tmp_path / "known.parquet"), {})
    assert found.strong.mean() > found.weak.mean() + 0.2
    assert 1 == pytest.approx(sum(table.column("weight").to_pylist()) / LARGE)
    assert {"strong_input_tokens", "weak_output_tokens", "strong_cost_usd"} <= set(table.column_names)


def test_a_run_takes_the_pilot_that_was_made_for_it(tmp_path: Path) -> None:
    """``pilot`` first, then ``run``: the second begins with the first's answers and router."""
    finished(pilot_job, config(tmp_path))
    before = len(bills(tmp_path))
    assert 2 * SMALL == before
    done = run(tmp_path)
    assert (0, str(tmp_path / "root/pilots/job")) == (
        done.exit_code,
        (done.run.read_json("pilot.json") or {})["uri"],
    )
    assert len(bills(tmp_path)) < before + ROWS - SMALL // 2
    plan = done.run.read_json("plan.json") or {}
    assert (stated(tmp_path)["labelled"], True) == (
        plan["pilot"]["rows"],
        plan["outlook"]["quality"]["lo"] <= 1,
    )


def test_the_next_night_takes_a_fresh_pilot(tmp_path: Path) -> None:
    """Another run of the same job makes none and pays for none; one whose models differ does."""
    run(tmp_path, run__date="2026-11-01", run__id="night-{date}")
    again = run(tmp_path, run__date="2026-11-20", run__id="night-{date}")
    assert {"uri": str(tmp_path / "root/pilots/night-2026-11-01"), "here": False} == again.run.read_json(
        "pilot.json"
    )
    late = run(tmp_path, run__date="2026-12-20", run__id="night-{date}")
    assert (late.run.read_json("pilot.json") or {})["here"]
    other = run(tmp_path, run__date="2026-12-21", run__id="night-{date}", endpoints__weak__model="another")
    assert (other.run.read_json("pilot.json") or {})["here"]


def test_the_hard_cap_includes_the_pilot(tmp_path: Path) -> None:
    """What the pilot took is taken off what calls may spend; all bills together stay below the cap."""
    free = run(tmp_path / "free", budget__hard_cap_usd=5)
    whole = nano(free.cost["spent_usd"])
    cap = Decimal(whole * 7 // 10).scaleb(-9)
    done = run(tmp_path / "tight", budget__hard_cap_usd=cap)
    assert done.exit_code in {0, 4}
    assert sum(line["nano"] for line in bills(tmp_path / "tight")) <= nano(str(cap))
    assert nano(done.cost["spent_usd"]) == sum(line["nano"] for line in bills(tmp_path / "tight"))


def test_a_pilot_holds_to_its_own_sum(tmp_path: Path) -> None:
    """A sample that ``pilot.usd`` can't pay for is made smaller, and says so; its bills stay below the sum."""
    result = finished(pilot_job, config(tmp_path, pilot__rows=LARGE, pilot__usd="0.02"))
    rows = stated(tmp_path)["rows"]
    assert (0, True) == (result.exit_code, 20 < rows < LARGE)
    assert any("pilot.usd=0.02 pays for" in text for text in result.notices)
    assert sum(line["nano"] for line in bills(tmp_path)) <= nano("0.02")
    with pytest.raises(BudgetError, match=r"pilot\.usd=0\.0001 pays for no pilot"):
        pilot_job(config(tmp_path / "none", pilot__usd="0.0001"), lambda _: None)
    assert [] == bills(tmp_path / "none")


def test_a_plan_needs_the_pilot_first(tmp_path: Path) -> None:
    """``plan`` calls nothing, so it makes no pilot: it names the command that does; afterwards it foretells quality."""
    with pytest.raises(ConfigError, match="routellm-batch pilot CONFIG"):
        plan_job(config(tmp_path), lambda _: None)
    finished(pilot_job, config(tmp_path))
    before = len(bills(tmp_path))
    planned = finished(plan_job, config(tmp_path))
    points = (planned.run.read_json("plan.json") or {})["frontier"]
    assert (0, before) == (planned.exit_code, len(bills(tmp_path)))
    assert all(0 <= point["outlook"]["quality"]["mean"] <= 1 for point in points)


def test_recover_picks_the_least_share_that_holds(tmp_path: Path) -> None:
    """A target of the gain is met with fewer strong calls than all; one out of reach says the best that can be held."""
    done = run(tmp_path, pilot__rows=LARGE, budget={"recover": "0.5", "confidence": "0.8"})
    assert (0, True) == (done.exit_code, 0 < done.cost["rows"]["strong"] < ROWS)
    with pytest.raises(
        RoutellmBatchError, match=r"recover=1 can't be held .* the best that a cut can hold is 0\.\d+|no cut"
    ):
        run(
            tmp_path / "far",
            budget={"recover": "1", "confidence": "0.999"},
            endpoints__weak=_weak(tmp_path / "far", 0.93),
        )


def _weak(folder: Path, skill: float) -> dict[str, Any]:
    end = dict(tree(folder)["endpoints"]["weak"])
    end["simulate"] = {**end["simulate"], "skill": skill}
    return end


def test_too_few_labels_leave_the_router_as_it_was(tmp_path: Path) -> None:
    """With 16 sampled rows nothing is fitted: the run says so and goes on with the config's router."""
    done = run(tmp_path, pilot__rows=16)
    assert (0, False) == (done.exit_code, stated(tmp_path)["fitted"])
    assert any("at least 20 are needed" in text for text in done.notices)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"recover": "0.9"}, r"budget.recover needs a pilot with enough labels"),
        ({"usd": 1, "order": "gain_per_dollar"}, r"needs a pilot whose answers' tokens were counted"),
    ],
)
def test_a_budget_that_the_pilot_cannot_tell_is_refused_before_scoring(
    tmp_path: Path, budget: dict[str, Any], words: str
) -> None:
    """With too few labels the pilot itself ends well; its run is refused before a row is scored or called."""
    settings = config(tmp_path, pilot__rows=16, budget=budget)
    assert 0 == finished(pilot_job, settings).exit_code
    before = len(bills(tmp_path))
    for verb in (plan_job, run_job):
        with pytest.raises(BudgetError, match=words):
            finished(verb, settings)
    run_folder = tmp_path / "root" / "runs" / "job"
    assert (before, False) == (len(bills(tmp_path)), (run_folder / "score").exists())


def test_a_pilot_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    """The error says how many distinct prompts there are; nothing is called."""
    with pytest.raises(
        ConfigError, match=r"pilot\.rows: is 5000, but the input has only \d+ (distinct )?valid"
    ):
        run(tmp_path, pilot__rows=5000)
    assert [] == bills(tmp_path)


def test_an_interrupted_pilot_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its deadline it exits 75 with what it spent in the report; the same command asks only what is missing."""
    slow = tree(tmp_path)["endpoints"]
    for end in slow.values():
        end["simulate"]["latency_ms"] = 10
        end["limits"] = {"concurrency": 4}
    check, billed_before = Halt.check_deadline, 0  # on the deadline's clock each answer takes a second
    monkeypatch.setattr(
        Halt,
        "check_deadline",
        lambda halt, now_s: check(halt, now_s + len(bills(tmp_path)) - billed_before),
    )
    codes = []
    for _ in range(20):
        done = run(
            tmp_path, run={"id": "job", "root": str(tmp_path / "root"), "deadline_s": 100}, endpoints=slow
        )
        codes.append(done.exit_code)
        lines = bills(tmp_path)
        billed_before = len(lines)
        booked = nano(done.cost["spent_usd"]) + nano(done.cost["presumed_usd"])
        assert sum(line["nano"] for line in lines) <= booked
        if done.exit_code == 0:
            break
    assert (75, 0) == (codes[0], codes[-1]), codes
    assert [] == [key for key, count in Counter(line["request_key"] for line in lines).items() if count > 1]


def test_a_judge_grades_where_there_is_no_reference(tmp_path: Path) -> None:
    """Both orders are asked; the pilot's labels are 1, 0 and ties, and the judge's bills are the pilot's too."""
    judge = {
        "kind": "simulated",
        "model": "judge",
        "price": {"input": 1, "output": 1},
        "params": {"max_completion_tokens": 64},
        "simulate": {
            "latency_ms": 0,
            "replies": {"[[A]]": 5, "[[B]]": 2, "[[C]]": 1, "I can't say": 1},
            "log": str(tmp_path / "judge.jsonl"),
        },
    }
    ends = {**tree(tmp_path)["endpoints"], "judge": judge}
    changes = {"pilot": {"rows": 60, "usd": 1, "grader": {"kind": "judge"}}, "endpoints": ends}
    done = finished(pilot_job, config(tmp_path, **changes))
    said = stated(tmp_path)
    scores = pq.read_table(tmp_path / "root/pilots/job/outcomes.parquet").column("strong_score").to_pylist()
    assert (0, {0.0, 0.5, 1.0}) == (
        done.exit_code,
        {score for score in scores if score is not None} | {0.0, 0.5, 1.0},
    )
    assert 0 < said["labelled"] <= 60
    spent = sum(line["nano"] for line in [*bills(tmp_path), *billing(tmp_path / "judge.jsonl")])
    assert spent == nano(said["spent_usd"])


def test_a_pilot_that_died_after_its_router_was_written_goes_on(tmp_path: Path) -> None:
    """A checkpoint is written once; a start of the next day that finds it, or a part, ends the pilot and asks nobody."""
    finished(pilot_job, config(tmp_path, run__date="2026-11-01"))
    before, folder = len(bills(tmp_path)), tmp_path / "root" / "pilots" / "job"
    for lost in (["_SUCCESS"], ["_SUCCESS", "router/router.json"]):
        for name in lost:
            (folder / name).unlink()
        assert 0 == finished(pilot_job, config(tmp_path, run__date="2026-11-02")).exit_code
    assert (before, True) == (len(bills(tmp_path)), stated(tmp_path)["fitted"])
    assert 0 == run(tmp_path, run__date="2026-11-02").exit_code


@pytest.mark.parametrize("key", ["pilot", "grade"])
def test_a_missing_reference_column_is_named_before_anything_is_paid(tmp_path: Path, key: str) -> None:
    """The file and the column are named, and those that are there; no model was called."""
    grader = {"kind": "numeric", "reference": "solution"}
    changes: dict[str, Any] = {"pilot": None, "grade": grader}
    if key == "pilot":
        changes = {"pilot__grader": grader}
    with pytest.raises(
        DataError, match=r"prompts\.parquet.* 'solution': no such column; there are: .*reference"
    ):
        run(tmp_path, **changes)
    assert [] == bills(tmp_path)


def test_a_run_keeps_the_models_that_its_pilot_measured(tmp_path: Path) -> None:
    """Once the pilot is finished another strong model is refused, though the run itself has called none."""
    finished(pilot_job, config(tmp_path))
    other = tree(tmp_path)
    other["endpoints"]["strong"]["model"] = "another"
    with pytest.raises(RunMismatchError, match="this pilot was made with other endpoints"):
        finished(run_job, check_config(other, source="job.yaml"))
    assert 0 == run(tmp_path).exit_code
