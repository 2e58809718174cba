"""Lengths of answers from an earlier run: found, pinned, planned with, and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Finished, job_config, plan_job, prompts, run_job, write_prompts
from helpers.stub import Answer, Call, stub_server

from routellm_batch.budget.plan import Plan
from routellm_batch.core.errors import ConfigError
from routellm_batch.stages.plan.files import load_plan

ROWS = 60
LATEST: dict[str, Any] = {
    f"endpoints__{route}__estimate": {"lengths_from": "latest"} for route in ("strong", "weak")
}


def answered(folder: Path, run_id: str, tokens: int, **changes: Any) -> Finished:
    """Run half of the rows strong against endpoints whose answers all have so many tokens."""

    def reply(_call: Call) -> Answer:
        return Answer(output_tokens=tokens)

    with stub_server(reply) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        return run_job(job_config(folder, **urls, run__id=run_id, budget__strong_share="0.5", **changes))


def planned(folder: Path, run_id: str, **changes: Any) -> Plan:
    """Plan half of the rows strong."""
    found = load_plan(plan_job(job_config(folder, run__id=run_id, budget__strong_share="0.5", **changes)).run)
    assert found is not None
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an input."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    return tmp_path


def test_a_plan_expects_what_the_latest_run_had(folder: Path) -> None:
    """Of two earlier runs the later one's lengths are planned with; plan and page name it, and quote its figures."""
    answered(folder, "first", 9)
    second = answered(folder, "second", 21)
    plan = planned(folder, "next", **LATEST)
    told = {"run": "second", "answers": ROWS // 2, "mean": 21.0, "p10": 21, "p90": 21}
    assert {"strong": told, "weak": told} == plan.lengths
    assert second.cost["endpoints"]["strong"]["output_tokens"] == plan.endpoints["strong"].output_tokens
    spent = second.cost["endpoints"]["strong"]["spent_usd"]
    assert float(spent) == pytest.approx(plan.endpoints["strong"].planned_nano / 1e9, rel=0.01)
    page = (folder / "root" / "runs" / "next" / "report" / "plan.html").read_text()
    assert "Strong answers in run second" in page
    assert "21 tokens on average (P10 21, P90 21; 30 answers)" in page


def test_a_run_keeps_what_it_pinned(folder: Path) -> None:
    """What a run found before it scored holds for its resume, whatever has finished since."""
    answered(folder, "first", 9)
    before = planned(folder, "next", **LATEST)
    answered(folder, "second", 21)
    (folder / "root" / "runs" / "next" / "plan.json").unlink()
    assert before == planned(folder, "next", **LATEST)
    assert "first" == before.lengths["strong"]["run"]


def test_a_run_is_followed_by_what_it_expects(folder: Path) -> None:
    """A capped run whose answers are as long as the earlier run's ends as planned, with nothing degraded."""
    answered(folder, "first", 21)
    done = answered(folder, "next", 21, budget__hard_cap_usd="0.05", **LATEST)
    plan = load_plan(done.run)
    assert plan is not None
    assert (0, [], ROWS // 2) == (done.exit_code, done.cost["degraded_running"], done.cost["rows"]["strong"])
    assert float(done.cost["spent_usd"]) == pytest.approx(plan.planned_nano / 1e9, rel=0.01)


def test_the_latest_that_fits_is_taken(folder: Path) -> None:
    """A run that is not finished, or asked another model, is passed over; with none the config's length holds."""
    alone = planned(folder, "alone", **LATEST)
    assert ({}, 16 * ROWS // 2) == (alone.lengths, alone.endpoints["strong"].output_tokens)
    answered(folder, "fits", 9)
    answered(folder, "other", 21, endpoints__strong__model="another")
    planned(folder, "unfinished")
    plan = planned(folder, "next", **LATEST)
    assert {"strong": "fits", "weak": "other"} == {route: told["run"] for route, told in plan.lengths.items()}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "the run 'nowhere' does not exist"),
        ("unfinished", "the run 'unfinished' isn't finished"),
        ("other", "the run 'other' asked another strong model"),
        ("few", "the run 'few' has 5 strong answers of a single request, and at least 20 are needed"),
    ],
)
def test_a_run_that_was_named_must_be_of_use(folder: Path, name: str, words: str) -> None:
    """A named run that has nothing to teach is refused by key and reason, before anything is scored."""
    if name == "unfinished":
        planned(folder, name)
    elif name == "other":
        answered(folder, name, 9, endpoints__strong__model="another")
    elif name == "few":
        write_prompts(folder / "few.parquet", prompts(10))
        answered(folder, name, 9, source="few.parquet")
    with pytest.raises(ConfigError, match=words) as caught:
        planned(folder, "next", endpoints__strong__estimate={"lengths_from": name})
    assert "endpoints.strong.estimate.lengths_from" == caught.value.key
    assert not (folder / "root" / "runs" / "next" / "score").exists()


def test_a_judge_takes_no_lengths(folder: Path) -> None:
    """No plan expects anything of a judge's answers, so the key is refused there instead of being passed over."""
    judge = {"kind": "simulated", "model": "judge", "price": {"input": 1, "output": 1}}
    with pytest.raises(
        ConfigError, match=r"endpoints.judge.estimate.lengths_from: is for strong and weak alone"
    ):
        planned(folder, "next", endpoints__judge={**judge, "estimate": {"lengths_from": "latest"}})
