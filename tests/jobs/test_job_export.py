"""A run's rows as one table: each valid row once, its newest revision, whatever the run went through."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, job_config, prompts, run_job, write_prompts
from helpers.stub import Answer, answering, in_turn, interrupting, stub_server

from routellm_batch import read_responses
from routellm_batch.core.errors import ConfigError, DataError, StoreError
from routellm_batch.pipeline.jobs import RunResult, export_rows
from routellm_batch.storage.run import open_existing

ROWS = 20
KEPT = {
    "tags": pa.array([["a", None], []] * (ROWS // 2)),
    "about": pa.array([{"n": 1, "when": datetime(2026, 1, 2, tzinfo=UTC)}] * ROWS),
    "note": pa.array([None, '=1+1, "quoted"\nsecond line'] * (ROWS // 2)),
    "raw": pa.array([b"\xff\x00"] * ROWS),
    "price": pa.array([Decimal("0.00")] * ROWS, pa.decimal128(9, 2)),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A run of twenty rows in three shards, two of them invalid; one row failed, and was answered when called again."""
    folder = tmp_path_factory.mktemp("export")
    texts: list[Any] = prompts(ROWS)
    texts[3], texts[19] = None, " "
    write_prompts(folder / "in.parquet", texts, ids=list(range(ROWS)), **KEPT)
    with stub_server() as stub:
        bad = in_turn(Answer(status=400), Answer("mended"))
        stub.script = lambda call: bad(call) if "Prompt 5:" in call.prompt else Answer("fine")
        config = job_config(folder, strong=stub.base_url, weak=stub.base_url, input__keep=list(KEPT))
        assert run_job(config).exit_code == 3
        return run_job(config, retry_failed=True)


def exported(run: Finished, path: Path, **options: Any) -> RunResult:
    """Export a run to a file."""
    return export_rows(run.run_uri, str(path), **options)


def test_every_row_once_in_input_order(finished: Finished, tmp_path: Path) -> None:
    """The table has each valid row once, the newest of a row that was called again, in the order of the input."""
    table = read_responses(finished.run_uri)
    assert [n for n in range(ROWS) if n not in {3, 19}] == table["id"].to_pylist()
    assert "mended" == table["answer"][4].as_py()
    result = exported(finished, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(table)
    assert (0, ["Wrote 18 rows to " + str(tmp_path / "out.parquet") + "."]) == (
        result.exit_code,
        result.outputs.lines,
    )


def test_a_later_revision_holds_only_what_changed(finished: Finished) -> None:
    """Of the shard whose row was called again, the new object has that row alone."""
    store = finished.run.store
    later = [o.path for o in store.list("responses") if ".r" in o.path]
    assert later == ["responses/000000.r1.parquet"]
    assert [5] == pq.read_table(pa.BufferReader(store.read(later[0])))["id"].to_pylist()


def test_revisions_that_repeat_whole_shards_are_read_right(finished: Finished, tmp_path: Path) -> None:
    """A revision that repeats rows, as older runs have them, changes nothing of what is read."""
    import shutil

    shutil.copytree(finished.run_uri, tmp_path / "old")
    before = read_responses(str(tmp_path / "old"))
    store = open_existing(str(tmp_path / "old"))[0].store
    whole = before.filter(pa.compute.less(before["id"], 8))
    sink = pa.BufferOutputStream()
    pq.write_table(whole, sink)
    assert store.create("responses/000000.r2.parquet", bytes(sink.getvalue()))
    assert read_responses(str(tmp_path / "old")).equals(before)


@pytest.mark.parametrize("ending", [".csv", ".csv.gz"])
def test_csv_holds_nested_columns_as_json(finished: Finished, tmp_path: Path, ending: str) -> None:
    """Lists and structs are JSON, bytes base64, sums plain decimals; quotes and line breaks survive."""
    path = tmp_path / f"out{ending}"
    result = exported(finished, path)
    data = path.read_bytes()
    text = (gzip.decompress(data) if ending.endswith(".gz") else data).decode()
    lines = list(csv.DictReader(text.splitlines(keepends=True)))
    assert len(lines) == 18
    row = lines[1]
    assert row["note"] == '=1+1, "quoted"\nsecond line'
    assert (json.loads(row["tags"]), json.loads(row["about"])) == (
        [],
        {"n": 1, "when": "2026-01-02T00:00:00+00:00"},
    )
    assert json.loads(lines[0]["tags"]) == ["a", None]
    assert (row["raw"], row["price"], row["error_kind"]) == ("/wA=", "0.00", "")
    assert "E" not in row["cost_usd"]
    assert "begin with =, +, - or @" in result.outputs.lines[1]


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".ndjson"])
def test_json_lines(finished: Finished, tmp_path: Path, ending: str) -> None:
    """A line for each row; sums are decimal text, as in cost.json."""
    path = tmp_path / f"out{ending}"
    exported(finished, path)
    data = path.read_bytes()
    rows = [
        json.loads(line) for line in (gzip.decompress(data) if ending.endswith(".gz") else data).splitlines()
    ]
    assert [row["id"] for row in rows] == read_responses(finished.run_uri)["id"].to_pylist()
    assert rows[0]["tags"] == ["a", None]
    assert Decimal(rows[0]["cost_usd"]) > 0


def test_failed_and_invalid_rows(tmp_path: Path) -> None:
    """With --failed the file has the rows without an answer, with why and where in the input, and no others."""
    texts: list[Any] = prompts(10)
    texts[9] = None
    write_prompts(tmp_path / "in.parquet", texts, file=["kept"] * 10)
    with stub_server() as stub:
        stub.script = lambda call: Answer(status=400) if "Prompt 5:" in call.prompt else Answer("fine")
        run = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, input__keep=["file"]))
    result = exported(run, tmp_path / "lost.jsonl", failed=True)
    rows = [json.loads(line) for line in (tmp_path / "lost.jsonl").read_text().splitlines()]
    found = [(row["id"], row["status"], row["error_kind"], row["row"], row["file"]) for row in rows]
    assert found == [
        ("r0005", "failed", "bad_request", 5, "kept"),
        ("r0009", "invalid", "null_prompt", 9, None),
    ]
    assert {Path(row["input_file"]).name for row in rows} == {"in.parquet"}
    assert "Wrote 2 failed or invalid rows" in result.outputs.lines[0]


def test_an_unfinished_run_says_what_is_missing(tmp_path: Path) -> None:
    """Without _SUCCESS the file has what there is, the missing rows are counted, and the exit code is 3."""
    write_prompts(tmp_path / "in.parquet", prompts(24))
    with stub_server() as stub:
        stub.script = interrupting(answering(), 14)
        config = job_config(
            tmp_path, strong=stub.base_url, weak=stub.base_url, endpoints__weak__limits={"concurrency": 1}
        )
        run = run_job(config)
    assert run.exit_code == 75
    there = len(run.rows)
    result = exported(run, tmp_path / "out.csv")
    assert 3 == result.exit_code
    assert f"{24 - there} rows of 24 are missing" in result.outputs.lines[1]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == there + 1


def test_a_file_that_is_there_is_kept(finished: Finished, tmp_path: Path) -> None:
    """An existing file needs --force; an unknown ending, a folder and no run are refused before anything is written."""
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already; add --force"):
        exported(finished, path)
    assert path.read_text() == "mine"
    exported(finished, path, force=True)
    assert path.read_text() != "mine"
    (tmp_path / "folder.csv").mkdir()
    for name, words in (("out.xlsx", "must end in .parquet"), ("folder.csv", "is a folder")):
        with pytest.raises(ConfigError, match=words):
            exported(finished, tmp_path / name, force=True)
    with pytest.raises(DataError, match="no run is there"):
        export_rows(str(tmp_path), str(tmp_path / "a.csv"))
    with pytest.raises(DataError, match="below it lie the runs runs/job"):
        read_responses(str(Path(finished.run_uri).parents[1]))


def test_what_breaks_off_leaves_nothing_behind(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is written whole or not at all: after an error in the middle there is neither it nor a part of it."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("routellm_batch.storage.export._Lines.write", full)
    with pytest.raises(
        StoreError, match=r"out\.jsonl: can't be written \(OSError\); check the path, the space"
    ):
        exported(finished, tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_export_to_an_object_store(finished: Finished) -> None:
    """A file goes to any store, and one that is there needs --force as well."""
    export_rows(finished.run_uri, "memory://exports/out.parquet")
    with fsspec.filesystem("memory").open("/exports/out.parquet") as file:
        assert pq.read_table(file).equals(read_responses(finished.run_uri))
    with pytest.raises(ConfigError, match="--force"):
        export_rows(finished.run_uri, "memory://exports/out.parquet")


def test_the_package_imports_light() -> None:
    """To import read_responses brings in none of the libraries that it reads with."""
    code = "import sys; from routellm_batch import read_responses; print('pyarrow' in sys.modules, 'fsspec' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
