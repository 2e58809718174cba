"""The evaluate verb: its figures and form, what it drops, pilots, and input that it refuses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.core.errors import CheckpointError, ConfigError, DataError
from routellm_batch.evaluation import evaluate, render_table, to_json
from routellm_batch.evaluation.outcomes import read_outcomes
from routellm_batch.evaluation.pilot import draw_pilot

CONTRACT = ["router", "n", "weak", "strong", "apgr", "apgr_full", "apgr_ci", "cpt50", "cpt80"]
MORE = ["cpt20", "apgr_full_ci", "cpt20_ci", "cpt50_ci", "cpt80_ci"]
FORM = [*CONTRACT, *MORE, "cpt_deciles", "pgr_at", "quality_at"]
CONSTANT = [*CONTRACT, *MORE, "share", "quality", "pgr"]
KEYS = [*FORM, "baselines", "versus", "contradictions"]
RANKINGS = ["random", "length", "knn", "oracle"]
"""Baselines that rank prompts; the others send all of them to one model."""


def make_outcomes(path: Path, rows: int = 60, **columns: list[Any]) -> str:
    """Write outcomes where long prompts defeat the weak model; return the file's path."""
    text = ["Add these numbers: " + "17 + " * n + "1" for n in range(rows)]
    table: dict[str, Any] = {
        "prompt_id": [f"q{n}" for n in range(rows)],
        "prompt": text,
        "strong_score": [1.0] * rows,
        "weak_score": [float(n < rows // 2) for n in range(rows)],
        "category": ["sums" if n % 2 else "odd sums" for n in range(rows)],
    }
    pq.write_table(pa.table({**table, **columns}), path)
    return str(path)


@pytest.fixture
def outcomes(tmp_path: Path) -> str:
    """Return a file of sixty outcomes."""
    return make_outcomes(tmp_path / "outcomes.parquet")


def measure(outcomes: list[str], routers: list[str], **settings: Any) -> dict[str, Any]:
    """Evaluate with few replicates, as tests need no fine interval."""
    return evaluate(outcomes, routers, replicates=20, **settings)


def test_form_of_one_result(outcomes: str) -> None:
    """One router on one file is one flat object, with baselines in the same form."""
    result = measure([outcomes], ["length"])
    baselines = result["baselines"]
    assert KEYS == list(result)
    assert [*RANKINGS, "always_strong", "always_weak"] == list(baselines)
    assert [FORM] * 4 == [list(baselines[name]) for name in RANKINGS]
    assert [CONSTANT] * 2 == [list(baselines[name]) for name in ("always_strong", "always_weak")]
    assert ["random", "length", "knn"] == list(result["versus"])


def test_always_one_model_is_a_point(outcomes: str) -> None:
    """Always strong has all of the gap at all calls, always weak none at none; neither has a curve."""
    baselines = json.loads(to_json(measure([outcomes], ["length"])))["baselines"]
    points = [baselines[name] for name in ("always_strong", "always_weak")]
    assert [(1.0, 1.0, 1.0), (0.0, 0.5, 0.0)] == [(p["share"], p["quality"], p["pgr"]) for p in points]
    assert [(None, [None, None], None)] * 2 == [(p["apgr"], p["apgr_ci"], p["cpt50"]) for p in points]


def test_figures_of_a_perfect_router(outcomes: str) -> None:
    """Where length tells exactly which prompts need the strong model, it is as good as the oracle."""
    result = measure([outcomes], ["length"])
    expected = {"router": "length", "n": 60, "weak": 0.5, "strong": 1.0, "apgr_full": 0.75, "cpt50": 25.0}
    assert expected == {name: result[name] for name in expected}
    assert result["apgr_full"] == result["baselines"]["oracle"]["apgr_full"]
    lo, hi = result["apgr_ci"]
    assert lo < result["apgr"] < hi
    assert 0.35 < result["baselines"]["random"]["apgr"] < 0.65


def test_several_routers_and_files_give_a_list(outcomes: str, tmp_path: Path) -> None:
    """Two files and two routers give four results, each saying which file and router, and two paired tests."""
    other = make_outcomes(tmp_path / "other.parquet", rows=40)
    found = measure([outcomes, other], ["length", "outcome:builtin:outcome-v1"])
    results, pairs = found["results"], found["pairs"]
    assert [(file, "length", "outcome:builtin:outcome-v1") for file in (outcomes, other)] == [
        (pair["outcomes"], pair["a"], pair["b"]) for pair in pairs
    ]
    assert [(one["outcomes"], one["router"]) for one in results] == [
        (file, router) for file in (outcomes, other) for router in ("length", "outcome:builtin:outcome-v1")
    ]


def test_router_splits_at_its_first_colon(outcomes: str) -> None:
    """What follows the first colon is the checkpoint, colons and all."""
    with pytest.raises(CheckpointError, match="builtin:none: no such shipped weights"):
        measure([outcomes], ["outcome:builtin:none"])


def test_contaminated_rows_are_dropped(tmp_path: Path) -> None:
    """Rows flagged as contaminated count nowhere."""
    flags = [n < 10 for n in range(60)]
    file = make_outcomes(tmp_path / "flagged.parquet", contaminated=flags)
    result = measure([file], ["length"])
    assert (result["n"], result["weak"]) == (50, 20 / 50)


def test_where_keeps_rows_by_value(outcomes: str) -> None:
    """--where compares a column as text; only matching rows count."""
    assert measure([outcomes], ["length"], where={"category": "odd sums"})["n"] == 30
    assert measure([outcomes], ["length"], where={"weak_score": "1.0"})["n"] == 30


def test_where_that_leaves_nothing_is_refused(outcomes: str) -> None:
    """The error names the file and the condition."""
    with pytest.raises(DataError, match=r"outcomes.parquet: no row is left with category=prose"):
        measure([outcomes], ["length"], where={"category": "prose"})


def test_where_on_an_absent_column_is_refused(outcomes: str) -> None:
    """The error names the column and those there are."""
    with pytest.raises(DataError, match="column 'lang': no such column; there are: prompt_id, prompt"):
        measure([outcomes], ["length"], where={"lang": "en"})


def test_no_gap_is_reported_all_the_same(tmp_path: Path) -> None:
    """A strong model that is not better gives NaN and a note, not an error; JSON has null there."""
    file = make_outcomes(tmp_path / "flat.parquet", strong_score=[0.5] * 60)
    result = measure([file], ["length"], out=str(tmp_path / "out"))
    assert math.isnan(result["apgr"])
    assert "not better than the weak one on these rows (the same: 0.5000 against 0.5000)" in result["note"]
    assert json.loads(to_json(result))["apgr"] is None
    assert "not better" in " ".join(render_table(result).split())


def test_worse_strong_model_is_said(tmp_path: Path) -> None:
    """A strong model that is worse is called so, with both means."""
    file = make_outcomes(tmp_path / "worse.parquet", strong_score=[0.25] * 60)
    note = measure([file], ["length"])["note"]
    assert "(worse: 0.2500 against 0.5000): there is no gap to recover" in note


def test_gain_without_variation_is_said(tmp_path: Path) -> None:
    """Where every row gains the same there is nothing to rank, and the note says so."""
    file = make_outcomes(tmp_path / "even.parquet", weak_score=[0.5] * 60)
    result = measure([file], ["length"])
    assert "every row gains the same" in result["note"]
    assert 0.5 == result["apgr_full"] == pytest.approx(result["baselines"]["oracle"]["apgr_full"])


def test_constant_scores_are_said(tmp_path: Path) -> None:
    """A router that can't tell the prompts apart is as good as chance, and the note says so."""
    prompts = [f"{n:03}" for n in range(60)]
    result = measure([make_outcomes(tmp_path / "o.parquet", prompt=prompts)], ["length"])
    assert "the router gives every prompt the same score" in result["note"]
    assert 0.5 == result["apgr"]


def test_contradicting_labels_are_counted(tmp_path: Path) -> None:
    """A prompt that occurs twice with other grades is counted; one that repeats its grades is not."""
    prompts = ["same", "same", "twice", "twice", *(f"prompt {n}" for n in range(56))]
    weak = [1.0, 0.0, 1.0, 1.0, *([0.0, 1.0] * 28)]
    file = make_outcomes(tmp_path / "o.parquet", prompt=prompts, weak_score=weak)
    result = measure([file], ["length"])
    assert {"prompts": 1, "rows": 2} == result["contradictions"]
    assert "1 prompt occurs more than once with different grades (2 rows)" in result["note"]


def test_same_arguments_same_figures(outcomes: str) -> None:
    """An evaluation is a pure function of its arguments."""
    assert measure([outcomes], ["random"]) == measure([outcomes], ["random"])


@pytest.mark.parametrize("column", ["prompt_id", "prompt", "strong_score", "weak_score"])
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    """Each needed column is asked for by name."""
    file = tmp_path / "short.parquet"
    table = pq.read_table(make_outcomes(tmp_path / "full.parquet"))
    pq.write_table(table.drop_columns([column]), file)
    with pytest.raises(DataError, match=f"short.parquet, column '{column}': no such column"):
        measure([str(file)], ["length"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("weak_score", [0.5] * 59 + [None], "column 'weak_score', row 59: is null or not a finite number"),
        ("strong_score", [0.5] * 3 + [math.inf] + [0.5] * 56, "column 'strong_score', row 3: is null or not"),
        ("strong_score", ["good"] * 60, "column 'strong_score': is string; it must be a number"),
        ("prompt", ["hi"] * 7 + [None] + ["ho"] * 52, "column 'prompt', row 7: is null"),
        ("prompt", list(range(60)), "column 'prompt': is int64; it must be text"),
    ],
)
def test_bad_cells_are_named(tmp_path: Path, column: str, value: list[Any], message: str) -> None:
    """The error names file, column and row of what can't be used."""
    file = make_outcomes(tmp_path / "bad.parquet", **{column: value})
    with pytest.raises(DataError, match=message):
        measure([file], ["length"])


@pytest.mark.parametrize(("data", "message"), [(b"no parquet", "not a Parquet file"), (None, "no such file")])
def test_unreadable_files_are_named(tmp_path: Path, data: bytes | None, message: str) -> None:
    """A file that is absent or something else is named."""
    file = tmp_path / "x.parquet"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(DataError, match=f"x.parquet: {message}"):
        measure([str(file)], ["length"])


def test_empty_file_is_refused(tmp_path: Path) -> None:
    """No rows, no figures."""
    file = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(make_outcomes(tmp_path / "full.parquet")).slice(0, 0), file)
    with pytest.raises(DataError, match="holds no rows"):
        measure([str(file)], ["length"])


@pytest.mark.parametrize(("files", "routers"), [([], ["length"]), (["x.parquet"], [])])
def test_nothing_to_evaluate_is_refused(files: list[str], routers: list[str]) -> None:
    """A file and a router are the least."""
    with pytest.raises(ConfigError, match="at least one file of outcomes and one --router"):
        measure(files, routers)


def test_a_folder_is_one_set(tmp_path: Path) -> None:
    """A folder's files are read as one set of outcomes."""
    make_outcomes(tmp_path / "a.parquet", rows=20)
    make_outcomes(tmp_path / "b.parquet", rows=30)
    assert measure([str(tmp_path)], ["length"])["n"] == 50


def test_outcomes_lie_on_any_store(bucket: str) -> None:
    """Outcomes on S3 are read as local ones are."""
    import s3fs

    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    with fs.open(f"{bucket}/o.parquet", "wb") as handle:
        rows = {
            "prompt_id": ["a", "b"],
            "prompt": ["x", "yy"],
            "strong_score": [1.0, 1],
            "weak_score": [1.0, 0],
        }
        pq.write_table(pa.table(rows), handle)
    assert measure([f"{bucket}/o.parquet"], ["length"])["n"] == 2


def test_pilot_rows_are_distinct_and_apart(tmp_path: Path) -> None:
    """A pilot has distinct prompts, and no test row shares one with it; the seed decides which."""
    prompts = [f"prompt {n // 3}" for n in range(60)]
    data = read_outcomes(make_outcomes(tmp_path / "o.parquet", prompt=prompts), {})
    pilot, test = draw_pilot(data, 8, seed=1)
    assert (len(pilot), len(set(pilot.prompts))) == (8, 8)
    assert (len(test), set(test.prompts) & set(pilot.prompts)) == (60 - 3 * 8, set())
    assert draw_pilot(data, 8, seed=1)[0].ids == pilot.ids
    assert draw_pilot(data, 8, seed=2)[0].ids != pilot.ids


@pytest.mark.parametrize("rows", [0, -1, 60, 61])
def test_pilot_of_a_wrong_size_is_refused(outcomes: str, rows: int) -> None:
    """A pilot that leaves nothing to test on, or nothing to train on, is refused with the number there is."""
    with pytest.raises(ConfigError, match="has 60 distinct prompts"):
        measure([outcomes], ["outcome"], pilot=rows)


def test_pilot_form(outcomes: str) -> None:
    """Top-level figures are means over seeds; per_seed and sd come with them."""
    result = measure([outcomes], ["outcome"], pilot=30, seeds=2)
    added = ["pilot", "per_seed", "sd", "versus", "contradictions", "note"]
    assert list(result) == [*FORM, "baselines", *added]
    assert [one["seed"] for one in result["per_seed"]] == [0, 1]
    assert all(list(one) == ["seed", *FORM, "baselines", "chosen", "reason"] for one in result["per_seed"])
    assert result["apgr"] == pytest.approx(np.mean([one["apgr"] for one in result["per_seed"]]))
    spread = [one["apgr_full"] for one in result["per_seed"]]
    assert result["sd"]["apgr_full"] == pytest.approx(np.std(spread, ddof=1))
    assert (30, FORM) == (result["n"], list(result["baselines"]["oracle"]))
    assert set(result["sd"]) == {"apgr", "apgr_full", "cpt20", "cpt50", "cpt80"}


def test_pilot_learns(outcomes: str) -> None:
    """Trained on thirty rows, the router finds the other thirty's hard half."""
    assert measure([outcomes], ["outcome"], pilot=30, seeds=2)["apgr_full"] > 0.65


def test_pilot_of_other_routers_trains_nothing(outcomes: str) -> None:
    """Random and length take part as they are."""
    result = measure([outcomes], ["length"], pilot=20)
    assert result["apgr_full"] == result["baselines"]["length"]["apgr_full"]
    assert result["sd"]["apgr"] == 0


def test_a_pilot_says_where_it_fell_back(outcomes: str) -> None:
    """Too few labels fit nothing: the note says in how many seeds, why, and what ranks the prompts instead."""
    result = measure([outcomes], ["outcome", "length"], pilot=5, seeds=3)["results"]
    assert result[0]["note"].startswith(
        "the pilot fell back in 3 of 3 seeds, so these are not figures of a fitted router (the pilot has 5 distinct "
        "prompts, and 40 are the least to fit on; prompts are ranked by the shipped router)"
    )
    assert ["prior"] * 3 == [one["chosen"] for one in result[0]["per_seed"]]
    assert "fell back" not in result[1].get("note", "")
    assert "fell back in 3 of 3 seeds" in " ".join(render_table({"results": result, "pairs": []}).split())


def test_a_pilot_that_fits_says_nothing(tmp_path: Path) -> None:
    """With labels enough there is no word of a fallback."""
    result = measure([make_outcomes(tmp_path / "o.parquet", rows=150)], ["outcome"], pilot=80)
    assert ("fitted", False) == (result["per_seed"][0]["chosen"], "fell back" in result.get("note", ""))


def test_a_checkpoint_beside_a_pilot_is_tested_as_it_is(outcomes: str) -> None:
    """The shipped router and the one that a pilot trains stand in one call, on the same rows."""
    result = measure([outcomes], ["outcome", "outcome:builtin:outcome-v1"], pilot=20, seeds=2)
    assert ["outcome", "outcome:builtin:outcome-v1"] == [one["router"] for one in result["results"]]
    assert "tested as it is, not trained on the pilot" in result["results"][1]["note"]
    (pair,) = result["pairs"]
    assert ("outcome", "outcome:builtin:outcome-v1") == (pair["a"], pair["b"])


def test_an_oracle_that_loses_by_deciles_is_explained(tmp_path: Path) -> None:
    """Where most rows gain the same, deciles rank a router above the oracle, and a note says to compare by full."""
    prompts = [f"Question {'x' * n}" for n in range(60)]
    weak = [float(n < 50) for n in range(60)]
    file = make_outcomes(tmp_path / "o.parquet", prompt=prompts, strong_score=[1.0] * 60, weak_score=weak)
    result = measure([file], ["length"])
    oracle = result["baselines"]["oracle"]
    assert oracle["apgr"] < result["apgr"] <= result["apgr_full"] <= oracle["apgr_full"]
    assert "by deciles the oracle has less than this router" in result["note"]


def test_zero_seeds_are_refused(outcomes: str) -> None:
    """A pilot is drawn at least once."""
    with pytest.raises(ConfigError, match="seeds: is 0"):
        measure([outcomes], ["outcome"], pilot=20, seeds=0)


def test_table_has_a_row_for_each(outcomes: str) -> None:
    """The table shows the router, its baselines and its tests, in 80 columns."""
    lines = render_table(measure([outcomes], ["length"])).splitlines()
    first = [line.split()[0] if line.strip() else "" for line in lines]
    table = ["router", "length", "baselines:", *RANKINGS, "always", "always", ""]
    assert ["60", *table, "paired", "length", "length"] == first
    assert "0.750" in lines[2]
    assert 80 >= max(map(len, lines))


def test_tables_of_several_name_their_files(outcomes: str, tmp_path: Path) -> None:
    """With several results there is a block for each file, which begins with its name, and one row a router."""
    other = make_outcomes(tmp_path / "b.parquet", rows=40)
    lines = render_table(measure([outcomes, other], ["length", "random"]), width=200).splitlines()
    assert [outcomes, other] == [line.strip() for line in lines if line.strip().endswith(".parquet")]
    assert 2 == sum(line.startswith("length − random") for line in lines)


def test_job_prints_json_and_nothing_else(outcomes: str, repo: Path) -> None:
    """With --json, stdout is one JSON object."""
    command = [sys.executable, "jobs/evaluate_router.py", outcomes, "--router", "length", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)) == KEYS


@pytest.mark.shared
def test_shipped_router_reaches_its_figures(shared: Callable[[str], Path]) -> None:
    """The shipped weights have the APGR that their card states: .56 or more in the mean of MMLU and GSM8K."""
    files = [
        str(shared(f"data/outcomes_{name}_gpt4-1106_vs_mixtral.parquet"))
        for name in ("mmlu", "gsm8k", "mtbench")
    ]
    mmlu, gsm8k, mtbench = measure(files, ["outcome"])["results"]
    assert [one["n"] for one in (mmlu, gsm8k, mtbench)] == [14_037, 1_307, 72]
    assert [round(one["apgr_full"], 2) for one in (mmlu, gsm8k, mtbench)] == [0.57, 0.56, 0.65]
    assert (mmlu["apgr_full"] + gsm8k["apgr_full"]) / 2 >= 0.56
