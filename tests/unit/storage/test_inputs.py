"""Finding, pinning and reading input files; sharding cuts any row groups the same way."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import prompts, write_prompts
from hypothesis import given, settings
from hypothesis import strategies as st

from routellm_batch.config.job import ColumnsConfig, InputConfig
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import InputFile
from routellm_batch.storage.inputs import find_files, pin_files, read_rows, shards_of

CONFIG = InputConfig(uri="x", columns=ColumnsConfig(prompt="prompt"))


@given(st.lists(st.lists(st.integers(0, 30), max_size=5), min_size=1, max_size=5), st.integers(1, 40))
def test_shards_cover_every_row_once(files: list[list[int]], shard_rows: int) -> None:
    """Shards are consecutive, at most ``shard_rows`` long, numbered in order, and never span two files."""
    inputs = [InputFile(str(n), 1, "pin", tuple(groups)) for n, groups in enumerate(files)]
    shards = shards_of(inputs, shard_rows)
    covered = [(shard.file, row) for shard in shards for row in range(shard.start, shard.start + shard.rows)]
    assert [(n, row) for n, groups in enumerate(files) for row in range(sum(groups))] == covered
    assert list(range(len(shards))) == [shard.index for shard in shards]
    assert all(1 <= shard.rows <= shard_rows for shard in shards)
    short = [shard for shard in shards if shard.rows < shard_rows]
    assert len({shard.file for shard in short}) == len(short)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 40), group=st.integers(1, 15), data=st.data())
def test_any_range_is_read_right(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, data: st.DataObject
) -> None:
    """Consecutive rows come out in order, whatever row groups they lie in."""
    folder = tmp_path_factory.mktemp("in")
    path = write_prompts(folder / "a.parquet", prompts(rows), row_group_size=group, n=list(range(rows)))
    file = pin_files([str(path)], CONFIG)[0]
    start = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(1, rows - start))
    assert list(range(start, start + count)) == read_rows(file, start, count, ["n"]).column("n").to_pylist()


def test_only_the_asked_columns_are_read(tmp_path: Path) -> None:
    """A column that is not asked for is not decoded."""
    path = write_prompts(tmp_path / "a.parquet", prompts(5), other=["x"] * 5)
    file = pin_files([str(path)], CONFIG)[0]
    assert ["id", "prompt"] == read_rows(file, 0, 5, ["id", "prompt"]).column_names


def test_pins_tell_files_apart(tmp_path: Path) -> None:
    """Two files of one size and other bytes have other pins; the same bytes have the same."""
    paths = [
        write_prompts(tmp_path / f"{n}.parquet", [text]) for n, text in enumerate(["aaaa", "bbbb", "aaaa"])
    ]
    one, two, three = pin_files([str(path) for path in paths], CONFIG)
    assert (True, True, True) == (one.size == two.size, one.pin != two.pin, one.pin == three.pin)
    assert (1,) == one.row_groups


def test_a_file_that_changes_between_two_reads_is_told(tmp_path: Path) -> None:
    """Another number of rows than was pinned is damage, not an answer to the wrong row."""
    path = write_prompts(tmp_path / "a.parquet", prompts(6))
    file = pin_files([str(path)], CONFIG)[0]
    write_prompts(path, prompts(5))
    with pytest.raises(DataError, match="row group 0 can't be read; the file is damaged or has changed"):
        read_rows(file, 0, 6, ["id"])


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    """A pinned file that was removed is named."""
    path = write_prompts(tmp_path / "gone.parquet", prompts(6))
    file = pin_files([str(path)], CONFIG)[0]
    path.unlink()
    with pytest.raises(DataError, match=r"gone\.parquet: is gone since the run began; put the file back"):
        read_rows(file, 0, 6, ["prompt"])


def test_files_are_found_in_order_with_full_uris(tmp_path: Path) -> None:
    """A folder gives its files sorted, below it too; what is hidden is left out, what is named is taken."""
    for name in ("b.parquet", "a/z.parquet", "_x.parquet", "a/.y/c.parquet", "a/_v/c.parquet"):
        write_prompts(tmp_path / name, ["x"])
    assert [f"file://{tmp_path}/a/z.parquet", f"file://{tmp_path}/b.parquet"] == find_files(str(tmp_path))
    assert [f"file://{tmp_path}/_x.parquet"] == find_files(f"{tmp_path}/_x.parquet")
    assert [f"file://{tmp_path}/_x.parquet"] == find_files(f"file://{tmp_path}/_x.parquet")


def test_a_folder_below_a_hidden_one_is_read(tmp_path: Path) -> None:
    """Only names below the given folder count as hidden, not those of the way to it."""
    write_prompts(tmp_path / "_data" / ".x" / "a.parquet", ["x"])
    assert 1 == len(find_files(str(tmp_path / "_data" / ".x")))


@pytest.mark.parametrize("name", ["a[1].parquet", "what?.parquet", "star*.parquet"])
def test_a_file_may_be_named_like_a_glob(tmp_path: Path, name: str) -> None:
    """A name that is there is that file, whatever marks it has."""
    path = write_prompts(tmp_path / name, ["x"])
    assert [f"file://{path}"] == find_files(str(path))


def test_view_types_are_read(tmp_path: Path) -> None:
    """String views, which Arrow can't take rows from, are read as plain text."""
    table = pa.table({"id": ["a"], "prompt": pa.array(["x"], pa.string_view())})
    pq.write_table(table, tmp_path / "a.parquet")
    file = pin_files([str(tmp_path / "a.parquet")], CONFIG)[0]
    assert pa.large_string() == read_rows(file, 0, 1, ["prompt"]).schema.field("prompt").type


@pytest.mark.parametrize("name", ["id", "prompt"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    """Which of two columns is meant can't be known, so the file and the column are named."""
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["id", "prompt", name])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=rf"a\.parquet, column '{name}': two columns have this name; rename"):
        pin_files([str(tmp_path / "a.parquet")], CONFIG)
