"""Many files as one data set: one type for each column, columns in paths, and clear words where there is none."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.config.job import ColumnsConfig, InputConfig
from routellm_batch.core.errors import DataError
from routellm_batch.storage.dataset import HIVE_NULL, partitions_of
from routellm_batch.storage.inputs import find_files, pin_files, read_rows
from routellm_batch.storage.labelled import read_table

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def config(*keep: str, **columns: str) -> InputConfig:
    return InputConfig(uri="x", columns=ColumnsConfig(**{"prompt": "prompt"} | columns), keep=keep)


def write(path: Path, rows: int = 2, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = {"id": [f"{path.stem}-{n}" for n in range(rows)], "prompt": ["x"] * rows}
    pq.write_table(pa.table({name: one for name, one in (ids | columns).items() if one is not None}), path)
    return path


def read(folder: Path, settings: InputConfig, *names: str) -> list[pa.Table]:
    files = pin_files(find_files(str(folder)), settings)
    return [read_rows(file, 0, sum(file.row_groups), names) for file in files if sum(file.row_groups)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.nulls(2), pa.array(["a", "b"]), pa.string()),
        (pa.nulls(2), pa.array([1, 2]), pa.int64()),
        (pa.nulls(2), pa.array([[1], [2]]), pa.list_(pa.int64())),
        (pa.array([1, 2], pa.int32()), pa.array([1, 2], pa.int64()), pa.int64()),
        (pa.array([1, 2], pa.int32()), pa.array([1.5, 2.5]), pa.float64()),
        (pa.array([1, 2], pa.int64()), pa.array([1.5, 2.5]), pa.float64()),
        (pa.array([1.5, 2], pa.float32()), pa.array([1.5, 2.5]), pa.float64()),
        (pa.array(["a", "b"]), pa.array(["a", "b"], pa.large_string()), pa.large_string()),
        (pa.array(["a", "b"]), pa.array(["a", "b"]).dictionary_encode(), pa.string()),
        (
            pa.array([NOW] * 2, pa.timestamp("ms")),
            pa.array([NOW] * 2, pa.timestamp("us")),
            pa.timestamp("us"),
        ),
        (
            pa.array([Decimal("1.5")] * 2, pa.decimal128(5, 1)),
            pa.array([Decimal("1.25")] * 2, pa.decimal128(9, 2)),
            pa.decimal128(9, 2),
        ),
    ],
)
def test_a_column_has_one_type_in_all_files(
    tmp_path: Path, one: pa.Array, other: pa.Array, expected: pa.DataType
) -> None:
    """Files that hold a column in different types give one type that holds every value, in either order."""
    for folder, (first, second) in {"ab": (one, other), "ba": (other, one)}.items():
        write(tmp_path / folder / "a.parquet", extra=first)
        write(tmp_path / folder / "b.parquet", extra=second)
        tables = read(tmp_path / folder, config("extra"), "id", "extra")
        assert [expected, expected] == [table.schema.field("extra").type for table in tables]
        values = [value for table in tables for value in table.column("extra").to_pylist()]
        plain = [*first.to_pylist(), *second.to_pylist()]
        assert [str(v)[:19] for v in plain] == [str(v)[:19] for v in values] or plain == values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array(["a", "b"]), pa.array([1, 2])),
        (pa.array([NOW] * 2, pa.timestamp("us")), pa.array(["a", "b"])),
        (pa.array([[1], [2]]), pa.array([1, 2])),
    ],
)
def test_types_without_a_common_one_are_refused(tmp_path: Path, one: pa.Array, other: pa.Array) -> None:
    """The refusal names both files, both types and the column."""
    write(tmp_path / "a.parquet", extra=one)
    write(tmp_path / "b.parquet", extra=other)
    with pytest.raises(DataError) as caught:
        read(tmp_path, config("extra"), "extra")
    text = str(caught.value)
    said = ("a.parquet", "b.parquet", "'extra'", "write the files again with one type")
    assert [part for part in said if part not in text] == [], text


def test_a_value_that_the_common_type_cant_hold_is_named(tmp_path: Path) -> None:
    """An integer that no double holds exactly is an error of its file and column, not another number."""
    write(tmp_path / "a.parquet", extra=pa.array([1, 2**53 + 1]))
    write(tmp_path / "b.parquet", extra=pa.array([1.5, 2.5]))
    with pytest.raises(DataError, match=r"a\.parquet, column 'extra': holds a value that double can't hold"):
        read(tmp_path, config("extra"), "extra")


def test_an_empty_file_of_untyped_columns_is_read(tmp_path: Path) -> None:
    """A file without rows, whose columns have no type, changes nothing."""
    write(tmp_path / "a.parquet", rows=0, id=pa.nulls(0), prompt=pa.nulls(0))
    write(tmp_path / "b.parquet")
    assert [["b-0", "b-1"]] == [table.column("id").to_pylist() for table in read(tmp_path, config(), "id")]


def test_a_prompt_that_no_file_has_is_refused(tmp_path: Path) -> None:
    """A column of prompts without a type in any file is named."""
    write(tmp_path / "a.parquet", prompt=pa.nulls(2))
    with pytest.raises(DataError, match="column 'prompt': is null in every row; it must be text"):
        read(tmp_path, config(), "prompt")


def test_a_column_that_one_file_lacks_is_named(tmp_path: Path) -> None:
    """The file that lacks a column is named, with the columns that it has."""
    write(tmp_path / "a.parquet", extra=[1, 2])
    write(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet, column 'extra': no such column; there are: id, prompt"):
        read(tmp_path, config("extra"), "extra")


def test_folders_of_hive_are_columns(tmp_path: Path) -> None:
    """``name=value`` folders are columns: integers where all are, else text; the default folder is null."""
    write(tmp_path / "year=2025" / "lang=de%20AT" / "a.parquet")
    write(tmp_path / "year=2026" / "lang=__HIVE_DEFAULT_PARTITION__" / "b.parquet")
    tables = read(tmp_path, config("year", "lang"), "id", "year", "lang", "prompt")
    assert [[2025, 2025], [2026, 2026]] == [table.column("year").to_pylist() for table in tables]
    assert [["de AT", "de AT"], [None, None]] == [table.column("lang").to_pylist() for table in tables]
    assert {"id": "x", "k": None} == partitions_of("s3://b/id=x/k=__HIVE_DEFAULT_PARTITION__/p=1.parquet")


@pytest.mark.parametrize("values", [("007", "008"), ("2026-11-23", "2026-11-24"), ("1", "x"), ("1.5", "2")])
def test_folders_that_are_not_clearly_integers_are_text(tmp_path: Path, values: tuple[str, str]) -> None:
    """Leading zeros, dates and fractions stay as they are written."""
    for n, value in enumerate(values):
        write(tmp_path / f"k={value}" / f"{n}.parquet", rows=1)
    found = [table.column("k").to_pylist() for table in read(tmp_path, config("k"), "id", "k")]
    assert [[value] for value in values] == found


def test_tables_read_whole_have_the_folders_columns_too(tmp_path: Path) -> None:
    """What judges and trainers read has the same columns as a run: a whole number, a text, and null."""
    for folder in ("day=1/lang=de", f"day=2/lang={HIVE_NULL}"):
        write(tmp_path / folder / "a.parquet", rows=1)
    table = read_table(str(tmp_path))
    assert [{"day": 1, "lang": "de"}, {"day": 2, "lang": None}] == table.select(["day", "lang"]).to_pylist()


def test_a_column_in_the_file_wins_over_its_folder(tmp_path: Path) -> None:
    """A column that is in the file and in its path has the file's values."""
    write(tmp_path / "lang=de" / "a.parquet", lang=["fr", "it"])
    assert ["fr", "it"] == read(tmp_path, config("lang"), "lang")[0].column("lang").to_pylist()


def test_a_folder_may_be_the_id_and_the_prompt(tmp_path: Path) -> None:
    """Ids and prompts may be in the path."""
    write(tmp_path / "key=a" / "x.parquet", rows=1, id=None)
    write(tmp_path / "key=b" / "x.parquet", rows=1, id=None)
    tables = read(tmp_path, config(id="key"), "key", "prompt")
    assert [["a"], ["b"]] == [table.column("key").to_pylist() for table in tables]


def test_files_that_are_not_parquet_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What lies beside the Parquet files is not read; the warning names it; Parquet without an ending is read."""
    write(tmp_path / "part-0.PARQUET")
    (tmp_path / "000001_0").write_bytes(write(tmp_path / "b.parquet").read_bytes())
    for name in ("README.md", "part-0.crc", "_metadata", "_SUCCESS", ".part-0.parquet.crc", "empty"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"hello")
    with caplog.at_level(logging.WARNING):
        found = find_files(str(tmp_path))
    assert ["000001_0", "b.parquet", "part-0.PARQUET"] == [uri.rpartition("/")[2] for uri in found]
    assert "3 files are not Parquet and are not read: README.md, empty, part-0.crc" in caplog.text


def test_a_folder_without_parquet_says_what_is_there(tmp_path: Path) -> None:
    """A folder of other files names them."""
    (tmp_path / "data.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match=r"no Parquet file is found there; there are: data\.csv"):
        find_files(str(tmp_path))


@pytest.mark.parametrize(
    "folder",
    ["data [old]", "what?", "star*", "50%20off", "a#b", "a::b", "zip::x", "with space", "größe 日本"],
)
def test_names_may_have_any_signs(tmp_path: Path, folder: str) -> None:
    """A file or folder that is there is meant, whatever its name looks like; a glob below it works too."""
    path = write(tmp_path / folder / f"{folder}.parquet")
    for uri in (path, path.parent, f"file://{path}", path.parent / "*.parquet"):
        files = pin_files(find_files(str(uri)), config())
        assert ["x", "x"] == read_rows(files[0], 0, 2, ["prompt"]).column("prompt").to_pylist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PARE" + b"\0" * 100 + b"PARE", "is an encrypted Parquet file"),
        (b"PAR1" + b"\0" * 100, "not a Parquet file, or a truncated one"),
        (b"id,prompt\n", "not a Parquet file, or a truncated one"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that can't be read as Parquet says why."""
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.parquet: {words}"):
        pin_files(find_files(str(tmp_path)), config())
