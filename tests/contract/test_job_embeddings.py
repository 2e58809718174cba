"""Jobs that score through a paid embeddings endpoint: its bill, its cap, its failures, and what a resume pays again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.embeddings import (
    PRICE,
    echo_vectors,
    embedder_config,
    embedder_tree,
    embeddings_stub,
    quick_retries,
    write_weights,
)
from helpers.jobs import billing, job_config, nano, plan_job, prompts, run_job, write_prompts
from helpers.stub import simulated, stub_server
from typer.testing import CliRunner

from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.cli.app import app
from routellm_batch.core.errors import BudgetError, BudgetStopError, ConfigError, EndpointStopError
from routellm_batch.core.types import PromptBatch
from routellm_batch.endpoints.simulator.spec import Faults, SimulateSpec
from routellm_batch.routers import make_router
from routellm_batch.stages.plan.files import load_plan
from routellm_batch.stages.score import task as score
from routellm_batch.stages.score.task import ScoreTask, bound_shards, score_shards
from routellm_batch.storage.paid import PaidTry
from routellm_batch.storage.run import open_existing, open_run

TEXTS = prompts(40)
SECRET = "nobody-may-read-this"


@contextmanager
def job(folder: Path, texts: list[str] = TEXTS, **spec: Any) -> Iterator[dict[str, Any]]:
    """Write prompts and weights and serve embeddings and answers; yield the settings of a job."""
    write_prompts(folder / "in.parquet", texts)
    served = SimulateSpec(price_input=str(PRICE), log=str(folder / "bill"), retry_after_ms=5, **spec)
    with simulated(served) as url, stub_server() as models, quick_retries():
        yield settings(folder, url, models.base_url)


def settings(folder: Path, url: str, models: str = "http://127.0.0.1:9/v1") -> dict[str, Any]:
    router = {
        "name": "outcome",
        "checkpoint": write_weights(folder / "weights"),
        "embedder": embedder_tree(url, batch_texts=3),
    }
    return {"strong": models, "weak": models, "router": router}


def test_the_report_says_what_the_endpoint_billed(tmp_path: Path) -> None:
    """cost.json tells requests, tokens and dollars as the embeddings endpoint billed them; the sum includes them."""
    with job(tmp_path, faults=Faults(rate_limit=0.2)) as given:
        done = run_job(job_config(tmp_path, **given), page=True)
    lines, cost = billing(tmp_path / "bill"), done.cost
    paid = [line for line in lines if line["nano"]]
    found = cost["embedding"]
    calls = sum(nano(end["spent_usd"]) for end in cost["endpoints"].values())
    assert (0, "embedding-model", "0.000000000") == (done.exit_code, found["model"], found["presumed_usd"])
    assert (len(paid), len(lines)) == (found["requests"], found["attempts"])
    assert sum(line["input_tokens"] for line in lines) == found["tokens"]
    assert sum(line["nano"] for line in lines) == nano(found["spent_usd"])
    assert nano(cost["spent_usd"]) == calls + nano(found["spent_usd"])
    assert "embedding-model" in done.run.store.read("report/report.html").decode()


def test_scores_are_those_of_the_library(tmp_path: Path) -> None:
    """A job scores as the router does outside a run, where nobody reads a meter."""
    with job(tmp_path) as given:
        done = run_job(job_config(tmp_path, **given))
        router = make_router(**{**given["router"], "embedder": embedder_config(**_urls(given))})
        alone = router.score(PromptBatch(range(len(TEXTS)), TEXTS))
    found = {row["id"]: row["score"] for row in done.rows}
    np.testing.assert_allclose([found[f"r{n:04d}"] for n in range(len(TEXTS))], alone, atol=1e-6)


def _urls(given: dict[str, Any]) -> dict[str, Any]:
    tree = given["router"]["embedder"]
    return {"url": tree["base_url"], "batch_texts": 7}


def test_a_job_without_one_says_nothing_of_it(tmp_path: Path) -> None:
    """Where no paid embedder is used, cost.json has no such key."""
    write_prompts(tmp_path / "in.parquet", TEXTS)
    with stub_server() as models:
        done = run_job(job_config(tmp_path, strong=models.base_url, weak=models.base_url))
    assert "embedding" not in done.cost


def test_a_resume_pays_for_no_scored_shard_again(tmp_path: Path) -> None:
    """Stopped by the embeddings endpoint, the job resumes with the shards that are missing; every bill is told."""
    write_prompts(tmp_path / "in.parquet", TEXTS)
    healthy = [True]

    def reply(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], Any]:
        if number >= 7 and not healthy[0]:
            return 401, {}, {"error": {"message": SECRET, "code": None}}
        return 200, {}, echo_vectors(body)

    with embeddings_stub(reply) as (url, seen), stub_server() as models:
        config = job_config(tmp_path, **settings(tmp_path, url, models.base_url))
        healthy[0] = False
        with pytest.raises(EndpointStopError):
            run_job(config)
        run = open_existing(f"{tmp_path}/root/runs/job")[0]
        scored = {int(name) for name in run.committed("score")}
        early = json.loads(run.store.read("report/cost.json"))
        first = [text for body in seen[:7] for text in body["input"]]
        begun = len(seen)
        healthy[0] = True
        done = run_job(config)
    again = [text for body in seen[begun:] for text in body["input"]]
    kept = {text for n, text in enumerate(TEXTS) if n // 8 in scored}
    assert (True, set()) == (bool(scored), kept & set(again))
    assert ("errors", 5, len(first)) == (early["state"], early["exit_code"], early["embedding"]["tokens"])
    assert len(first) + len(again) == done.cost["embedding"]["tokens"]
    assert set(TEXTS) == {*first, *again}


def test_planning_pays_once_for_plan_and_run(tmp_path: Path) -> None:
    """``plan`` scores, and so pays for embeddings; the run after it pays for none again."""
    with job(tmp_path) as given:
        planned = plan_job(job_config(tmp_path, **given))
        lines = len(billing(tmp_path / "bill"))
        done = run_job(job_config(tmp_path, **given))
    assert (lines, lines) == (len(billing(tmp_path / "bill")), done.cost["embedding"]["attempts"])
    assert "No model was called; embeddings cost" in planned.lines[0]


def test_a_cap_that_embeddings_could_pass_is_refused_unpaid(tmp_path: Path) -> None:
    """Where the worst case of all embeddings is above the cap, the job ends with exit 2 and both sums, unpaid."""
    with (
        job(tmp_path) as given,
        pytest.raises(BudgetError, match="embedding every prompt could cost") as caught,
    ):
        run_job(job_config(tmp_path, **given, budget__hard_cap_usd=Decimal("0.000001")))
    assert (2, []) == (caught.value.exit_code, billing(tmp_path / "bill"))


@pytest.mark.parametrize(
    "cluster", [{"kind": "serial"}, {"kind": "local", "workers": 2}], ids=["serial", "dask"]
)
def test_embeddings_count_against_the_cap(tmp_path: Path, cluster: dict[str, Any]) -> None:
    """What embeddings took is taken from what calls may spend, on any runtime, to the nano-dollar."""
    with job(tmp_path) as given:
        cap = 3_000_000
        config = job_config(tmp_path, **given, budget__hard_cap_usd=nano_to_usd(cap), cluster=cluster)
        done = run_job(config)
    paid = sum(line["nano"] for line in billing(tmp_path / "bill"))
    plan = load_plan(done.run)
    assert plan is not None
    assert (paid, cap - paid) == (plan.embedding_nano, plan.calls_cap_nano)
    assert (paid, True) == (nano(done.cost["embedding"]["spent_usd"]), plan.planned_nano <= cap - paid)
    assert nano(done.cost["spent_usd"]) + nano(done.cost["presumed_usd"]) <= cap


def test_failing_requests_stay_within_the_cap(tmp_path: Path) -> None:
    """Requests that may have been billed count as presumed, and none is sent that the cap might not pay for."""
    with job(tmp_path, faults=Faults(server_error=0.9)) as given:
        worst = 100 * (sum(len(text) for text in TEXTS) + 5 * len(TEXTS))
        config = job_config(tmp_path, **given, budget__hard_cap_usd=nano_to_usd(worst))
        with pytest.raises((BudgetStopError, EndpointStopError)):
            run_job(config)
        cost = json.loads((tmp_path / "root/runs/job/report/cost.json").read_text())
    assert 0 < nano(cost["spent_usd"]) + nano(cost["presumed_usd"]) <= worst
    assert cost["state"] in {"budget", "errors"}


def test_a_try_that_was_killed_is_presumed_spent(tmp_path: Path) -> None:
    """Embeddings of a process that died before it could tell what they took are in cost.json, and count for the cap."""
    cap = 3_000_000
    with job(tmp_path) as given, patch.object(PaidTry, "close"):
        done = run_job(job_config(tmp_path, **given, budget__hard_cap_usd=nano_to_usd(cap)))
    billed = sum(line["nano"] for line in billing(tmp_path / "bill"))
    told, plan = done.cost["embedding"], load_plan(done.run)
    assert plan is not None
    assert ("0.000000000", True) == (told["spent_usd"], 0 < billed <= nano(told["presumed_usd"]))
    assert cap - nano(told["presumed_usd"]) == plan.calls_cap_nano


def test_a_second_try_has_what_the_first_one_left(tmp_path: Path) -> None:
    """A task that is started again because its process died keeps to the allowance of both tries together."""
    with job(tmp_path) as given:
        config = job_config(tmp_path, **given)
        run = open_run(config, today="2026-01-01")
        allowance = bound_shards(ScoreTask(config, run, run.shards[:1]))[0] * 5 // 4
        task = ScoreTask(config, run, run.shards[:1], allowance)
        with patch.object(PaidTry, "close"), patch.object(score, "to_parquet", side_effect=MemoryError):
            with pytest.raises(MemoryError):
                score_shards(task)
            with pytest.raises(BudgetStopError):
                score_shards(task)
    assert 0 < sum(line["nano"] for line in billing(tmp_path / "bill")) <= allowance


def test_a_missing_key_is_found_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key reference that stands for nothing is exit 2, for ``run`` and for ``plan``, before a run is begun."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    write_prompts(tmp_path / "in.parquet", TEXTS)
    given = settings(tmp_path, "http://127.0.0.1:9/v1")
    given["router"]["embedder"]["api_key"] = "env:NO_SUCH_KEY"
    for command in (run_job, plan_job):
        with pytest.raises(ConfigError, match=r"router\.embedder\.api_key"):
            command(job_config(tmp_path, **given))
    assert not (tmp_path / "root").exists()


def test_no_prompt_leaves_by_another_door(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither errors nor logs nor the run's objects hold a text that was sent to be embedded."""
    caplog.set_level(logging.DEBUG, logger="routellm_batch")
    texts = [f"{SECRET} {n}" for n in range(9)]
    with job(tmp_path, texts, faults=Faults(auth=1)) as given, pytest.raises(EndpointStopError) as caught:
        run_job(job_config(tmp_path, **given))
    stored = [path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()]
    assert SECRET not in str(caught.value) + caplog.text
    assert not any(SECRET.encode() in data for data in stored)


def test_train_and_evaluate_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a run the embedder works with a key from the environment, from a YAML mapping on the command line."""
    monkeypatch.setenv("EMBEDDINGS_KEY", "k")
    rng = np.random.default_rng(0)
    columns = {
        "prompt_id": [f"p{n}" for n in range(120)],
        "prompt": [f"Question {n} about {n % 7}" for n in range(120)],
        "strong_score": (rng.random(120) < 0.8).astype(float),
        "weak_score": (rng.random(120) < 0.5).astype(float),
    }
    pq.write_table(pa.table(columns), tmp_path / "outcomes.parquet")
    with simulated(SimulateSpec()) as url:
        tree = embedder_tree(url, api_key="env:EMBEDDINGS_KEY", price={"input": 0.02})
        given = [str(tmp_path / "outcomes.parquet"), "--embedder", json.dumps(tree)]
        out = str(tmp_path / "out")
        trained = CliRunner().invoke(app, ["train", *given, "--router", "outcome", "--out", out])
        assert (0, out) == (trained.exit_code, trained.stdout.strip().splitlines()[-1]), trained.output
        found = CliRunner().invoke(app, ["evaluate", *given, "--router", f"outcome:{out}", "--json"])
    assert 0 == found.exit_code, found.output
    assert 120 == json.loads(found.stdout)["n"]
