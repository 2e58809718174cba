"""``judge_pairs``: both models' answers and a judge make outcomes and battles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import DEAD_URL, TIMEOUT_S, job_config, nano, quick_waits, write_prompts
from helpers.stub import Answer, Call, Script, Stub, interrupting, served_here, stub_server

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.config.job import Config, load_config
from routellm_batch.core.errors import BudgetError, ConfigError, DataError, RunMismatchError
from routellm_batch.evaluation import evaluate
from routellm_batch.pipeline.jobs import RunResult, judge_pairs
from routellm_batch.routers.training import TrainRequest, train
from routellm_batch.routers.training.battles import read_battles

ROWS = 24
QUOTED = re.compile(r"----- answer (a|b) \w+ begins\n(.*?)\n----- answer", re.DOTALL)


def prompt(number: int) -> str:
    """Return a prompt long enough to train on."""
    kind = "Prove the theorem about primes" if number % 3 == 0 else "Say hello in a friendly way"
    return f"{kind}, variant {number} of many."


def model(call: Call) -> Answer:
    """Answer as the model that is asked."""
    return Answer(f"{call.body['model']} on {call.prompt}")


def fair(call: Call) -> str:
    """Judge by content: the strong model wins where a theorem is to be proved, elsewhere both are as good."""
    sides = dict(QUOTED.findall(call.prompt))
    if "theorem" not in sides["a"]:
        return "Equal.\n[[C]]"
    return f"One is a proof.\n[[{'A' if sides['a'].startswith('strong') else 'B'}]]"


def endpoint(verdict: Any = fair) -> Script:
    """Return a script for all three models: ``verdict`` says what the judge replies to a call."""
    return lambda call: Answer(verdict(call)) if call.body["model"] == "judge" else model(call)


def config(folder: Path, url: str, **changes: Any) -> Config:
    """Return a judge job on one server for all three models."""
    judge = {
        "kind": "openai",
        "base_url": url,
        "model": "judge",
        "price": {"input": 1, "output": 4},
        "timeout_s": TIMEOUT_S,
    }
    judge["params"] = {"max_completion_tokens": 64}
    settings: dict[str, Any] = {"judge": {}, "budget__hard_cap_usd": 1, "endpoints__judge": judge, **changes}
    return job_config(folder, strong=url, weak=url, **settings)


@contextmanager
def job(folder: Path, script: Script, count: int = ROWS, **columns: Any) -> Iterator[Stub]:
    """Write prompts and serve the models."""
    write_prompts(folder / "in.parquet", [prompt(n) for n in range(count)], **columns)
    with stub_server(script) as stub, quick_waits():
        yield stub


def go(given: Config) -> RunResult:
    """Run the job."""
    return judge_pairs(given, lambda _: None)


def table(result: RunResult, name: str) -> list[dict[str, Any]]:
    """Return the rows of an output."""
    return list(pq.read_table(Path(result.run_uri) / f"{name}.parquet").to_pylist())


def asked(stub: Stub, name: str) -> int:
    """Return how many requests a model had."""
    return sum(call.body["model"] == name for call in stub.calls)


def test_outcomes_and_battles_say_who_won(tmp_path: Path) -> None:
    """The judge's verdicts stand in both files, whichever side a model was on."""
    with job(tmp_path, endpoint()) as stub:
        result = go(config(tmp_path, stub.base_url))
    scores = {row["prompt"]: (row["strong_score"], row["weak_score"]) for row in table(result, "outcomes")}
    expected = {prompt(n): (1.0, 0.0) if n % 3 == 0 else (0.5, 0.5) for n in range(ROWS)}
    assert (0, expected) == (result.exit_code, scores)
    fought = table(result, "battles")
    won = {row["prompt"]: row.get(row["winner"], "tie") for row in fought}
    assert {prompt(n): "strong-model" if n % 3 == 0 else "tie" for n in range(ROWS)} == won
    assert {"strong-model", "weak-model"} == {row["model_a"] for row in fought}
    assert (ROWS, ROWS, 2 * ROWS) == tuple(
        asked(stub, name) for name in ("strong-model", "weak-model", "judge")
    )


def test_costs_add_up_and_again_costs_nothing(tmp_path: Path) -> None:
    """cost.json holds all three endpoints; the finished job run again calls nobody and says the same."""
    with job(tmp_path, endpoint()) as stub:
        first = go(config(tmp_path, stub.base_url))
        before = len(stub.calls)
        again = go(config(tmp_path, stub.base_url))
        assert before == len(stub.calls)
    cost = json.loads((Path(first.run_uri) / "cost.json").read_text())
    # The stub counts 10 tokens in and 5 out, whatever is said.
    parts = {
        "strong": 10 * 2500 + 5 * 10_000,
        "weak": 10 * 100 + 5 * 400,
        "judge": 2 * (10 * 1000 + 5 * 4000),
    }
    assert {name: ROWS * part for name, part in parts.items()} == {
        name: nano(ask["spent_usd"]) for name, ask in cost["asks"].items()
    }
    assert sum(parts.values()) * ROWS == nano(cost["spent_usd"])
    assert list(first.outputs.lines) == list(again.outputs.lines)
    row = table(first, "outcomes")[0]
    assert (10, 5, Decimal("0.000003")) == tuple(
        row[f"weak_{k}"] for k in ("input_tokens", "output_tokens", "cost_usd")
    )


def test_recorded_answers_are_not_asked(tmp_path: Path) -> None:
    """With both columns named only the judge is called; a null answer leaves its row unlabelled (exit 3)."""
    strong = ["strong has a theorem", None, *["same"] * 2]
    weak = ["weak has a theorem", "x", *["same"] * 2]
    columns = {"judge": {"strong_answer": "s", "weak_answer": "w"}}
    with job(tmp_path, endpoint(), 4, s=strong, w=weak) as stub:
        result = go(config(tmp_path, stub.base_url, **columns))
    assert (3, 2, 2) == (result.exit_code, len(stub.calls), asked(stub, "judge"))
    assert [1.0, 0.5, 0.5] == [row["strong_score"] for row in table(result, "outcomes")]
    assert [{"prompt_id": "r0001", "problem": "no_answer"}] == table(result, "unlabelled")


def test_replayed_answers_are_judged(tmp_path: Path) -> None:
    """Answers may come from a replay endpoint; a prompt that it does not know is unlabelled."""
    write_prompts(
        tmp_path / "known.parquet",
        [prompt(n) for n in range(3)],
        said=[f"strong-model {n}" for n in range(3)],
    )
    replay = {
        "kind": "replay",
        "model": "strong-model",
        "price": {"input": 1, "output": 1},
        "params": {"max_completion_tokens": 64},
        "replay": {"uri": str(tmp_path / "known.parquet"), "answer": "said"},
    }
    with job(tmp_path, endpoint(lambda _: "[[C]]"), 4) as stub:
        result = go(config(tmp_path, stub.base_url, endpoints__strong=replay))
    assert (3, 3) == (result.exit_code, len(table(result, "outcomes")))
    assert [{"prompt_id": "r0003", "problem": "no_answer"}] == table(result, "unlabelled")


def test_a_preference_for_a_side_is_a_tie(tmp_path: Path) -> None:
    """A judge that always prefers answer A makes ties, which are counted."""
    with job(tmp_path, endpoint(lambda _: "[[A]]"), 4) as stub:
        result = go(config(tmp_path, stub.base_url))
    assert [(0.5, True)] * 4 == [(row["strong_score"], row["turned"]) for row in table(result, "outcomes")]
    assert "ties 4, 4 of them turned with the order of the answers." in result.outputs.lines[0]


@pytest.mark.parametrize(("mends", "expected"), [(True, (0, 4, 0)), (False, (3, 3, 1))])
def test_out_of_format_is_asked_once_more(
    tmp_path: Path,
    mends: bool,  # noqa: FBT001 - a parameter
    expected: tuple[int, int, int],
) -> None:
    """A reply without a verdict is asked for again, once; then the pair is unlabelled."""

    def verdict(call: Call) -> str:
        again = "did not end as it must" in call.prompt
        return (
            fair(call) if "variant 2 " not in call.prompt or (again and mends) else "I would rather not say."
        )

    with job(tmp_path, endpoint(verdict), 4) as stub:
        result = go(config(tmp_path, stub.base_url))
    left = json.loads((Path(result.run_uri) / "cost.json").read_text())["rows"]
    assert expected == (result.exit_code, left["labelled"], left["unlabelled"].get("out_of_format", 0))
    assert 2 * 4 + 2 == asked(stub, "judge")


def test_single_rates_both(tmp_path: Path) -> None:
    """In mode single the ratings are the scores, and the battle goes to the higher one."""

    def rating(call: Call) -> str:
        return "Rating: [[8]]" if "begins\nstrong-model on" in call.prompt else "Rating: [[3]]"

    with job(tmp_path, endpoint(rating), 4) as stub:
        result = go(config(tmp_path, stub.base_url, judge={"mode": "single"}))
    assert [(8.0, 3.0)] * 4 == [(row["strong_score"], row["weak_score"]) for row in table(result, "outcomes")]
    assert {"strong-model"} == {row[row["winner"]] for row in table(result, "battles")}


@pytest.mark.parametrize("at", [3, ROWS + 3, 2 * ROWS + 3])
def test_the_same_command_goes_on(tmp_path: Path, at: int) -> None:
    """Interrupted in any of its three parts, the job goes on with what is missing and ends the same."""
    one = {"endpoints__strong__limits": {"concurrency": 1}, "endpoints__weak__limits": {"concurrency": 1}}
    with job(tmp_path, interrupting(endpoint(), at)) as stub:
        given = config(tmp_path, stub.base_url, **one)
        stopped, finished = go(given), go(given)
    assert (75, 0) == (stopped.exit_code, finished.exit_code)
    calls = [call.key for call in stub.calls]
    # A judge call in flight at the interrupt may be lost; an answer that came is not asked for again.
    assert 4 * ROWS == len(set(calls))
    assert ROWS == len(table(finished, "outcomes"))


def test_a_cap_below_the_plan_is_refused_before_any_call(tmp_path: Path) -> None:
    """The expected cost of all three is held against the cap before the first call, with the sums, in a second try too."""
    with job(tmp_path, endpoint()) as stub:
        for _ in range(2):
            with pytest.raises(BudgetError, match=r"strong 0\.\d+, weak 0\.\d+, judge 0\.\d+\), above"):
                go(config(tmp_path, stub.base_url, budget__hard_cap_usd=Decimal("0.012")))
    assert [] == stub.calls


def test_the_cap_is_over_all_three(tmp_path: Path) -> None:
    """What the models' answers took is missing for the judge: the job stops (exit 4), and goes on under a higher cap."""

    def long(call: Call) -> Answer:
        return Answer("[[C]]" if call.body["model"] == "judge" else f"{call.body['model']} " + "word " * 400)

    with job(tmp_path, long, 6) as stub:
        # Answers twenty times as long as planned make the judge's prompts dear.
        settings: dict[str, Any] = {"endpoints__judge__price": {"input": 20, "output": 4}}
        stopped = go(config(tmp_path, stub.base_url, budget__hard_cap_usd=Decimal("0.12"), **settings))
        calls = len(stub.calls)
        finished = go(config(tmp_path, stub.base_url, budget__hard_cap_usd=Decimal(2), **settings))
    assert (4, 12, 0) == (stopped.exit_code, calls, finished.exit_code)
    assert 6 == len(table(finished, "outcomes"))


def test_another_job_under_the_same_id_is_refused(tmp_path: Path) -> None:
    """Another judge, or other prompts, are another job."""
    with job(tmp_path, endpoint(), 4) as stub:
        go(config(tmp_path, stub.base_url))
        with pytest.raises(RunMismatchError, match="choose another run.id"):
            go(config(tmp_path, stub.base_url, judge={"mode": "single"}))
        write_prompts(tmp_path / "in.parquet", ["Something else"])
        with pytest.raises(RunMismatchError, match="choose another run.id"):
            go(config(tmp_path, stub.base_url))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"judge": None}, ConfigError, "judge: is missing"),
        ({"budget__hard_cap_usd": None}, ConfigError, "budget.hard_cap_usd: is missing"),
        (
            {"endpoints__weak__model": "strong-model"},
            ConfigError,
            "endpoints.weak.model: is the strong endpoint's model too",
        ),
        ({"run__id": "j-{date}"}, ConfigError, "run.id: has {date}"),
        ({"endpoints__judge__api_key": "env:NO_SUCH_KEY_HERE"}, ConfigError, "endpoints.judge.api_key"),
        ({"judge": {"strong_answer": "no"}}, DataError, "column 'no': no such column"),
        ({"judge": {"reference": "no"}}, DataError, "column 'no': no such column"),
        ({"judge": {"reference": "empty"}}, DataError, "column 'empty': every reference is null"),
        ({"judge": {"reference": "turns"}}, DataError, "column 'turns', row 0: is struct<a: int64>"),
        (
            {"judge": {"strong_answer": "turns"}},
            DataError,
            "column 'turns': is struct<a: int64>; recorded answers",
        ),
        (
            {"input__columns": {"id": "twice", "prompt": "prompt"}},
            DataError,
            "column 'twice', row 1: is the id of row 0",
        ),
        (
            {"input__columns": {"id": "empty", "prompt": "prompt"}},
            DataError,
            "column 'empty', row 0: is null",
        ),
    ],
)
def test_bad_jobs_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    """What can't be judged is refused before a call, naming the key or the place."""
    columns = {"twice": ["a", "a"], "empty": pa.nulls(2, pa.string()), "turns": [{"a": 1}, None]}
    write_prompts(tmp_path / "in.parquet", ["One", "Two"], **columns)
    with pytest.raises(error, match=re.escape(words)):
        go(config(tmp_path, DEAD_URL, **changes))


def test_every_trainer_reads_the_output(tmp_path: Path) -> None:
    """Routers train on the outcomes and on the battles, and the outcomes can be evaluated on."""
    with job(tmp_path, endpoint(), 90) as stub:
        result = go(config(tmp_path, stub.base_url))
    out = Path(result.run_uri)
    files = {"outcome": "outcomes", "knn": "outcomes", "mf": "battles"}
    made = [
        train(
            TrainRequest([str(out / f"{name}.parquet")], str(tmp_path / router), EmbedderConfig(), 0),
            router=router,
        )
        for router, name in files.items()
    ]
    assert [str(tmp_path / router) for router in files] == [one.out for one in made]
    assert 90 == len(read_battles([str(out / "battles.parquet")]))
    found = evaluate([str(out / "outcomes.parquet")], [f"outcome:{tmp_path / 'outcome'}"])
    assert found["apgr"] > 0.6


def test_the_bundled_config_runs(tmp_path: Path, repo: Path) -> None:
    """configs/judge_pairs.yaml needs nothing but this repository."""
    given = load_config(repo / "configs" / "judge_pairs.yaml", [f"run.root={tmp_path}"])
    with served_here(), quick_waits():
        result = go(given)
    assert result.exit_code in {0, 3}
    rows = json.loads((Path(result.run_uri) / "cost.json").read_text())["rows"]
    assert (602, 602) == (rows["pairs"], rows["labelled"] + sum(rows["unlabelled"].values()))
    assert min(rows["strong_better"], rows["weak_better"]) > 50


@pytest.mark.parametrize("broken", ["strong-model", "weak-model", "judge"])
def test_an_endpoint_that_answers_nothing_can_be_another(tmp_path: Path, broken: str) -> None:
    """A model that refuses all rows ends the job with 5; with another one the same job goes on, and pays nobody twice."""
    right = endpoint()

    def script(call: Call) -> Answer:
        return Answer(status=400) if call.body["model"] == broken else right(call)

    name = broken.removesuffix("-model")
    with job(tmp_path, script, count=6) as stub:
        first = go(config(tmp_path, stub.base_url))
        given = config(tmp_path, stub.base_url)
        new = given.endpoints.of(name).model_copy(update={"params": {"max_completion_tokens": 65}})  # type: ignore[arg-type]
        stub.script = right
        fixed = given.model_copy(update={"endpoints": given.endpoints.model_copy(update={name: new})})
        second = go(fixed)
        with pytest.raises(RunMismatchError):
            go(given)
    assert (5, 0) == (first.exit_code, second.exit_code)
    answers = {call.key for call in stub.calls}
    assert len(stub.calls) == len(answers)
