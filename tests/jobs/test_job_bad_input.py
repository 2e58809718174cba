"""Bad input, item by item: the error names file, column, key or row; nothing is sent, nothing is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from helpers.jobs import DEAD_URL, Finished, job_config, job_tree, plan_job, prompts, run_job, write_prompts
from helpers.stub import Answer, Stub, answering, stub_server

from routellm_batch.config.job import check_config
from routellm_batch.core.errors import (
    BudgetError,
    ConfigError,
    DataError,
    EndpointStopError,
    InputError,
    RoutellmBatchError,
    RunMismatchError,
    StoreError,
)


@pytest.fixture
def stub() -> Iterator[Stub]:
    """An endpoint that both routes of the jobs here call, if they call at all."""
    with stub_server() as server:
        yield server


def refused(folder: Path, stub: Stub, **settings: Any) -> RoutellmBatchError:
    """Run a job that must be refused with exit code 2 before anything is sent; return the error."""
    with pytest.raises(InputError) as caught:
        run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, **settings))
    assert (2, []) == (caught.value.exit_code, stub.calls)
    return caught.value


def finish(folder: Path, stub: Stub, **settings: Any) -> Finished:
    """Run a job to its end with both routes on the stub."""
    return run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, **settings))


# Files and columns


@pytest.mark.parametrize("uri", ["no.parquet", "no-folder/", "*.parquet", "s3*.parquet"])
def test_missing_file(tmp_path: Path, stub: Stub, uri: str) -> None:
    """A path, folder or glob where nothing is names the URI."""
    error = refused(tmp_path, stub, source=uri)
    assert (DataError, True) == (type(error), uri.rstrip("/") in str(error))


def test_a_folder_of_hidden_files_holds_nothing(tmp_path: Path, stub: Stub) -> None:
    """Names that begin with ``_`` or ``.`` do not count as input."""
    write_prompts(tmp_path / "in" / "_part.parquet", prompts(3))
    write_prompts(tmp_path / "in" / "_old" / "part.parquet", prompts(3))
    assert "no Parquet file is found there" in str(refused(tmp_path, stub, source="in"))


@pytest.mark.parametrize("content", [b"id,prompt\n1,hello\n", b"", b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_not_parquet(tmp_path: Path, stub: Stub, content: bytes) -> None:
    """A file of another kind is named."""
    (tmp_path / "in.parquet").write_bytes(content)
    error = refused(tmp_path, stub)
    assert (DataError, True) == (type(error), str(error).startswith(f"file://{tmp_path}/in.parquet: "))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_truncated_parquet(tmp_path: Path, stub: Stub, keep: float) -> None:
    """A Parquet file that was cut off is named."""
    path = write_prompts(tmp_path / "in.parquet", prompts(100))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert "in.parquet: not a Parquet file, or a truncated one" in str(refused(tmp_path, stub))


def test_one_bad_file_of_many(tmp_path: Path, stub: Stub) -> None:
    """Of several files the bad one is named, and none of the others is called."""
    for name in "abc":
        write_prompts(tmp_path / "in" / f"{name}.parquet", prompts(3), ids=[f"{name}{n}" for n in range(3)])
    (tmp_path / "in" / "b.parquet").write_bytes(b"not Parquet at all")
    assert "/in/b.parquet: not a Parquet file" in str(refused(tmp_path, stub, source="in"))


def test_damaged_data_pages(tmp_path: Path, stub: Stub) -> None:
    """A file whose footer is good and whose data is not stops the run by name, before anything is sent."""
    path = write_prompts(tmp_path / "in.parquet", [f"{n} " * 500 for n in range(200)], row_group_size=50)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = b"\x5a" * (len(content) // 2 - len(content) // 3)
    path.write_bytes(bytes(content))
    error = refused(tmp_path, stub)
    assert (DataError, True) == (type(error), "in.parquet" in str(error))


@pytest.mark.parametrize(
    ("settings", "column"),
    [
        ({"input__columns__id": "key"}, "key"),
        ({"input__columns__prompt": "text"}, "text"),
        ({"input__columns__system": "sys"}, "sys"),
        ({"input__columns": {"messages": "chat"}}, "chat"),
        ({"input__keep": ["lang"]}, "lang"),
    ],
)
def test_missing_column(tmp_path: Path, stub: Stub, settings: dict[str, Any], column: str) -> None:
    """The column and the file are named, and what columns there are."""
    write_prompts(tmp_path / "in.parquet", prompts(3))
    error = str(refused(tmp_path, stub, **settings))
    assert f"in.parquet, column {column!r}: no such column; there are: id, prompt" in error


def test_missing_column_in_one_file(tmp_path: Path, stub: Stub) -> None:
    """Every file is checked, not only the first."""
    write_prompts(tmp_path / "in" / "a.parquet", prompts(2))
    pq.write_table(pa.table({"id": ["x"], "text": ["hello"]}), tmp_path / "in" / "b.parquet")
    assert "b.parquet, column 'prompt': no such column" in str(refused(tmp_path, stub, source="in"))


@pytest.mark.parametrize(
    ("table", "settings", "words"),
    [
        ({"id": [1.5], "prompt": ["x"]}, {}, "column 'id': is double; ids must be text or integers"),
        ({"id": [True], "prompt": ["x"]}, {}, "column 'id': is bool; ids must be text or integers"),
        ({"id": ["a"], "prompt": [5]}, {}, "column 'prompt': is int64; it must be text"),
        ({"id": ["a"], "prompt": [["x"]]}, {}, "column 'prompt': is list"),
        ({"id": ["a"], "prompt": ["x"], "s": [1]}, {"input__columns__system": "s"}, "column 's': is int64"),
        ({"id": ["a"], "m": [["x"]]}, {"input__columns": {"messages": "m"}}, "column 'm': is list"),
        ({"id": ["a"], "m": [[{"who": "x"}]]}, {"input__columns": {"messages": "m"}}, "column 'm': is list"),
    ],
)
def test_wrong_type(
    tmp_path: Path, stub: Stub, table: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    """The column, its type and the type that is wanted are named."""
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    assert words in str(refused(tmp_path, stub, **settings))


def test_two_kinds_of_ids(tmp_path: Path, stub: Stub) -> None:
    """Text ids in one file and integers in another are refused, as 1 and "1" would be one row."""
    write_prompts(tmp_path / "in" / "a.parquet", prompts(2), ids=["a", "b"])
    write_prompts(tmp_path / "in" / "b.parquet", prompts(2), ids=[1, 2])
    assert "b.parquet, column 'id': holds integer and text ids" in str(refused(tmp_path, stub, source="in"))


@pytest.mark.parametrize("name", ["answer", "cost_usd", "id"])
def test_a_kept_column_may_not_hide_an_output(tmp_path: Path, stub: Stub, name: str) -> None:
    """A kept column with the name of an output column is a config error that names it."""
    write_prompts(tmp_path / "in.parquet", prompts(2), answer=["a", "b"])
    error = refused(tmp_path, stub, input__keep=[name])
    assert (ConfigError, True) == (
        type(error),
        f"input.keep: {name!r} is a column of responses/" in str(error),
    )


# Rows


def test_duplicate_ids_name_the_first_three(tmp_path: Path, stub: Stub) -> None:
    """Of five duplicated ids the first three in the order of the input are named, with both of their rows."""
    ids = [f"r{n % 20:02d}" for n in range(20)] + [f"r{n:02d}" for n in (9, 2, 15, 7, 4)]
    write_prompts(tmp_path / "in.parquet", prompts(25), ids=ids)
    error = refused(tmp_path, stub)
    text = str(error)
    assert (DataError, True, True) == (type(error), "column 'id'" in text, "5 duplicate ids" in text)
    assert [True, True, True, False, False] == [f"'r{n:02d}' in " in text for n in (2, 4, 7, 9, 15)]
    assert all(f"in.parquet row {row}" in text for row in (2, 21, 4, 24, 7, 23))


def test_an_id_written_many_times_is_named_once(tmp_path: Path, stub: Stub) -> None:
    """A duplicated id does not crowd out the others."""
    write_prompts(tmp_path / "in.parquet", prompts(9), ids=["a", "a", "a", "a", "a", "b", "b", "c", "c"])
    text = str(refused(tmp_path, stub))
    assert [1, 1, 1] == [text.count(f"'{name}' in ") for name in "abc"]


def test_duplicate_ids_over_files(tmp_path: Path, stub: Stub) -> None:
    """An id in two files is a duplicate; both places are named."""
    write_prompts(tmp_path / "in" / "a.parquet", prompts(30))
    write_prompts(tmp_path / "in" / "b.parquet", prompts(1), ids=["r0017"])
    text = str(refused(tmp_path, stub, source="in"))
    assert [True] * 3 == [part in text for part in ("'r0017'", "a.parquet row 17", "b.parquet row 0")]


@pytest.mark.parametrize(
    "ids", [pa.array([1, None, 3, None, None, None], pa.int32()), ["a", None, "c", None, None, None]]
)
def test_null_ids_name_the_first_three(tmp_path: Path, stub: Stub, ids: Any) -> None:
    """The first three rows without an id are named, whatever else is in their shard."""
    write_prompts(tmp_path / "in.parquet", prompts(6), ids=ids)
    error = refused(tmp_path, stub, input__shard_rows=2)
    text = str(error)
    assert (DataError, True) == (type(error), "column 'id': null ids" in text)
    assert [True, True, True, False] == [f"row {row}" in text for row in (1, 3, 4, 5)]


def test_null_ids_of_invalid_rows_count(tmp_path: Path, stub: Stub) -> None:
    """A row without an id stops the run even where its prompt is null as well."""
    write_prompts(tmp_path / "in.parquet", ["x", None], ids=["a", None])
    assert "null ids" in str(refused(tmp_path, stub))


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (pa.array([b"a", b"\xff\xfe"], pa.binary()), "row 1: the id is not UTF-8"),
        (["a", "x" * 2000], "row 1: the id is longer than 1024"),
        (pa.array([1, 2**63 + 5], pa.uint64()), "row 1: the id is above 2^63 - 1"),
    ],
)
def test_ids_that_can_not_be_stored(tmp_path: Path, stub: Stub, ids: Any, words: str) -> None:
    """An id that no output column can hold stops the run, naming column and row."""
    write_prompts(tmp_path / "in.parquet", prompts(2), ids=ids)
    assert f"in.parquet, column 'id', {words}" in str(refused(tmp_path, stub))


INVALID: list[tuple[Any, str]] = [
    (None, "null_prompt"),
    ("", "empty_prompt"),
    (" \n\t  　", "empty_prompt"),
    ("x" * 101, "oversized_prompt"),
    ("é" * 51, "oversized_prompt"),
    (b"\xff\xfeabc", "bad_utf8"),
    (b"\xed\xa0\x80", "bad_utf8"),
]


def test_invalid_rows_go_to_failed_and_nowhere_else(tmp_path: Path, stub: Stub) -> None:
    """Null, empty, blank, oversized and undecodable prompts are told by id, file, row and kind; the rest is answered."""
    good = ["fine", "x" * 100, "é" * 50, " padded ", "\u200b"]
    values = [
        text for pair in zip([bad for bad, _ in INVALID], [*good, "a", "b"], strict=True) for text in pair
    ]
    raw = pa.array([v.encode() if isinstance(v, str) else v for v in values], pa.binary())
    column = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    write_prompts(tmp_path / "in.parquet", column)
    result = finish(tmp_path, stub, input__max_prompt_bytes=100, input__shard_rows=4)
    failed = sorted((row["row"], row["id"], row["kind"]) for row in result.invalid)
    assert [(2 * n, f"r{2 * n:04d}", kind) for n, (_, kind) in enumerate(INVALID)] == failed
    assert {f"file://{tmp_path}/in.parquet"} == {row["file"] for row in result.invalid}
    assert {f"r{n:04d}" for n in range(1, 14, 2)} == result.by_id.keys()
    assert (0, 7, 7, 7) == (
        result.exit_code,
        result.cost["rows"]["valid"],
        result.cost["rows"]["invalid"],
        result.cost["rows"]["ok"],
    )
    assert sorted([*good, "a", "b"]) == sorted(stub.prompts())


def test_the_limit_is_on_the_prompt_alone(tmp_path: Path, stub: Stub) -> None:
    """A prompt of the largest size stays valid whatever system text goes along with it."""
    write_prompts(tmp_path / "in.parquet", ["x" * 100], s=["Be brief, and be kind."])
    result = finish(
        tmp_path,
        stub,
        input__max_prompt_bytes=100,
        input__columns__system="s",
        label={"values": ["An answer."]},
    )
    assert (0, 1) == (result.exit_code, result.cost["rows"]["ok"])


def test_zero_rows(tmp_path: Path, stub: Stub) -> None:
    """An input without a row is named."""
    write_prompts(tmp_path / "in.parquet", pa.array([], pa.string()), ids=pa.array([], pa.string()))
    assert f"{tmp_path / 'in.parquet'}: holds no rows" in str(refused(tmp_path, stub))


def test_an_empty_file_beside_others_is_fine(tmp_path: Path, stub: Stub) -> None:
    """Only an input without any row is refused."""
    write_prompts(tmp_path / "in" / "a.parquet", pa.array([], pa.string()), ids=pa.array([], pa.string()))
    write_prompts(tmp_path / "in" / "b.parquet", prompts(3))
    assert finish(tmp_path, stub, source="in").cost["rows"]["ok"] == 3


def test_all_rows_invalid(tmp_path: Path, stub: Stub) -> None:
    """An input without a valid row is refused with the number of its rows."""
    write_prompts(tmp_path / "in.parquet", [None, "", "   "])
    error = refused(tmp_path, stub)
    assert (DataError, True) == (
        type(error),
        "none of the 3 rows is a valid prompt (2 empty_prompt, 1 null_prompt)" in str(error),
    )


# Budgets


def test_all_weak_above_the_budget(tmp_path: Path, stub: Stub) -> None:
    """A sum that does not even pay for all-weak is refused with both sums."""
    write_prompts(tmp_path / "in.parquet", ["x" * 4000] * 3)
    error = refused(tmp_path, stub, budget={"usd": Decimal("0.0001")})
    assert (BudgetError, True, True) == (
        type(error),
        "budget.usd is 0.0001 USD" in str(error),
        "expected to cost 0.0001" in str(error),
    )


def test_a_plan_above_the_cap_with_stop(tmp_path: Path, stub: Stub) -> None:
    """With ``on_overrun: stop`` a plan above the cap is refused with both sums."""
    write_prompts(tmp_path / "in.parquet", prompts(20))
    settings = {
        "budget__strong_share": 1,
        "budget__hard_cap_usd": Decimal("0.001"),
        "budget__on_overrun": "stop",
    }
    text = str(refused(tmp_path, stub, **settings))
    assert [True, True] == [
        "above budget.hard_cap_usd of 0.0010 USD" in text,
        "expected to cost 0.00" in text,
    ]


# Endpoints


def test_unreachable_endpoint(tmp_path: Path, stub: Stub) -> None:
    """An address where nobody listens ends the run with exit code 5, its URL and nothing sent; the report says so."""
    write_prompts(tmp_path / "in.parquet", prompts(4))
    config = job_config(tmp_path, strong=DEAD_URL, weak=stub.base_url)
    with pytest.raises(EndpointStopError) as caught:
        run_job(config)
    text = str(caught.value)
    assert (5, []) == (caught.value.exit_code, stub.calls)
    assert [True, True] == [part in text for part in ("endpoints.strong.base_url", DEAD_URL)]
    cost = Finished(5, f"{tmp_path}/root/runs/job", []).cost
    assert (5, 0, 4, "0.000000000") == (
        cost["exit_code"],
        cost["rows"]["ok"],
        cost["rows"]["valid"],
        cost["spent_usd"],
    )


def test_an_unreachable_endpoint_loses_nothing(tmp_path: Path, stub: Stub) -> None:
    """With the address of one that is up the same run does the whole job."""
    write_prompts(tmp_path / "in.parquet", prompts(4))
    with stub_server() as late:
        url = late.base_url
    with pytest.raises(EndpointStopError):
        run_job(job_config(tmp_path, strong=url, weak=stub.base_url))
    with stub_server() as other:
        assert 0 == run_job(job_config(tmp_path, strong=other.base_url, weak=stub.base_url)).exit_code


@pytest.mark.parametrize(("status", "most"), [(401, 4), (403, 42)])
def test_a_refused_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, most: int) -> None:
    """A 401 stops the run at once with exit code 5, a 403 once it comes for all; a key that is put right does the rest."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    monkeypatch.setenv("BAD_INPUT_KEY", "canary-key")
    with stub_server(answering(status=status)) as stub:
        key = {
            "endpoints__strong__api_key": "env:BAD_INPUT_KEY",
            "endpoints__strong__limits": {"concurrency": 2},
        }
        config = job_config(
            tmp_path,
            strong=stub.base_url,
            weak=stub.base_url,
            endpoints__weak__limits={"concurrency": 2},
            **key,
        )
        stopped = run_job(config)
        sent = len(stub.calls)
        stub.script = answering()
        done = run_job(config)
    assert (5, True) == (stopped.exit_code, sent <= most)
    assert "an endpoint refused the key; check endpoints.*.api_key" in " ".join(stopped.lines)
    assert (0, 60) == (done.exit_code, len(done.by_id))


def test_a_key_that_is_not_set(tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key reference that stands for nothing is refused before anything is scored."""
    monkeypatch.delenv("BAD_INPUT_KEY", raising=False)
    write_prompts(tmp_path / "in.parquet", prompts(2))
    error = refused(tmp_path, stub, endpoints__weak__api_key="env:BAD_INPUT_KEY")
    assert "endpoints.weak.api_key: environment variable BAD_INPUT_KEY is not set" in str(error)


def test_planning_needs_no_key_and_no_endpoint(tmp_path: Path) -> None:
    """``plan`` works where the key is not set and nobody listens."""
    write_prompts(tmp_path / "in.parquet", prompts(8))
    assert plan_job(job_config(tmp_path, endpoints__weak__api_key="env:BAD_INPUT_KEY")).exit_code == 0


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_model_that_answers_nothing(tmp_path: Path, text: str) -> None:
    """Empty answers are failures, paid for and told by kind; the run stops by its error rate and not in silence."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    with stub_server(answering(text, output_tokens=0)) as stub:
        config = job_config(
            tmp_path, strong=stub.base_url, weak=stub.base_url, endpoints__weak__limits={"concurrency": 2}
        )
        result = run_job(config)
    assert (5, {"empty_answer": result.cost["rows"]["failed"]}) == (result.exit_code, result.cost["errors"])
    assert 20 <= len(stub.calls) < 60
    assert "more than 50% of the last rows failed" in " ".join(result.lines)


def test_some_empty_answers_are_failed_rows(tmp_path: Path) -> None:
    """Below the error rate an empty answer is a failed row with its cost, and exit code 3."""
    write_prompts(tmp_path / "in.parquet", prompts(20))
    with stub_server(lambda call: Answer("" if "Prompt 7:" in call.prompt else "Yes.")) as stub:
        result = finish(tmp_path, stub)
    row = result.by_id["r0007"]
    assert (3, "failed", "empty_answer", 1) == (
        result.exit_code,
        row["status"],
        row["error_kind"],
        row["attempts"],
    )
    assert row["cost_usd"] > 0


# The run folder


def test_a_run_folder_of_another_config(tmp_path: Path, stub: Stub) -> None:
    """Each field that differs is listed with its value then and now; nothing more is sent."""
    write_prompts(tmp_path / "in.parquet", prompts(4))
    finish(tmp_path, stub)
    stub.calls.clear()
    changed = {"budget__strong_share": Decimal("0.5"), "endpoints__weak__model": "other", "run__seed": 3}
    error = refused(tmp_path, stub, **changed)
    assert RunMismatchError is type(error)
    text = str(error)
    assert [True] * 4 == [
        line in text
        for line in (
            'budget.strong_share: was "0.25", is "0.5"',
            'endpoints.weak.model: was "weak-model", is "other"',
            "run.seed: was 0, is 3",
            str(tmp_path),
        )
    ]
    assert text.count(": was ") == 3


@pytest.mark.parametrize("how", ["rewritten", "gone", "another"])
def test_an_input_that_changed(tmp_path: Path, stub: Stub, how: str) -> None:
    """A file that was rewritten, removed or added since the run began is named; nothing more is sent."""
    path = write_prompts(tmp_path / "in" / "a.parquet", prompts(4))
    write_prompts(tmp_path / "in" / "z.parquet", prompts(1), ids=["z"])
    finish(tmp_path, stub, source="in")
    stub.calls.clear()
    if how == "rewritten":
        write_prompts(path, [*prompts(3), "another prompt"])
    elif how == "gone":
        path.unlink()
    else:
        path = write_prompts(tmp_path / "in" / "b.parquet", prompts(1), ids=["b"])
    error = refused(tmp_path, stub, source="in")
    assert (DataError, True) == (type(error), str(path) in str(error))
    assert "the input changed since the run began" in str(error)


def test_a_root_that_can_not_be_written(tmp_path: Path, stub: Stub) -> None:
    """A root that is a file is refused by name."""
    write_prompts(tmp_path / "in.parquet", prompts(2))
    (tmp_path / "root").write_text("a file")
    error = refused(tmp_path, stub)
    assert (StoreError, True) == (type(error), str(tmp_path / "root") in str(error))


def test_an_unknown_protocol(tmp_path: Path, stub: Stub) -> None:
    """A misspelt protocol is refused by name."""
    error = refused(tmp_path, stub, input__uri="s4://bucket/in.parquet")
    assert "s4://bucket/in.parquet" in str(error)


# The command line


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "words"),
    [
        ({}, ["budget.usd=1"], 2, "exactly one of strong_share, usd and recover"),
        ({}, ["budget.strong_share=1.5"], 2, "budget.strong_share"),
        ({}, ["budget.strong_share=null", "budget.recover=0.9"], 2, "add pilot: {rows: 500"),
        ({}, ["input.uri=no.parquet"], 2, "no.parquet"),
        ({}, ["endpoints.strong.api_key=sk-canary-0123456789"], 2, "a literal key is refused"),
        ({}, [], 5, "can't be reached"),
        ({"budgt": {}}, [], 2, "budgt: unknown key; did you mean budget?"),
    ],
)
def test_exit_codes_of_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    """One line on stderr, never a traceback or a key, and the exit code of the contract; what is refused leaves no run."""
    from routellm_batch.cli.app import main

    write_prompts(tmp_path / "in.parquet", prompts(3))
    tree = job_tree(tmp_path)
    tree["budget"]["strong_share"] = 0.25
    for end in tree["endpoints"].values():
        end["price"] = {name: float(price) for name, price in end["price"].items()}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree | changes))
    monkeypatch.setattr(sys, "argv", ["routellm-batch", "run", str(path), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    text = capsys.readouterr().err
    assert (code, True) == (caught.value.code, words in text)
    assert [False, False] == ["Traceback" in text, "canary" in text]
    assert (code == 2) == (not (tmp_path / "root").exists())


def test_a_config_without_a_file_is_checked_alike(tmp_path: Path) -> None:
    """A tree that never was a file is refused with the same words."""
    with pytest.raises(ConfigError, match=r"strong_share and usd are given"):
        check_config(job_tree(tmp_path, budget__usd=1), source="s")
