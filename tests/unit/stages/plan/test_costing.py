"""What planning gathers of the score shards, and who pays for whom, against plain loops over few rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from routellm_batch.budget.costs.expected_costs import LinearCost
from routellm_batch.budget.prices import Prices, Totals
from routellm_batch.budget.selection.cut import Cut
from routellm_batch.core.errors import DataError
from routellm_batch.core.types import ROUTES, InputFile, Route
from routellm_batch.stages.plan import gather, spill
from routellm_batch.stages.plan.costing import Copies, costs_of, settle_routes
from routellm_batch.stages.plan.gather import Gathered, gather_rows
from routellm_batch.storage.run import Run
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import ID_INTEGER, ID_TEXT, score_schema, to_parquet

PRICES = Prices({"strong": LinearCost(2_000_000_000, 5_000_000, 7), "weak": LinearCost(100_000_000, 0, 3)})
HALF = Cut(int(np.float32(0.5).view(np.uint32)), 0)
"""Strong from a score of 0.5 up."""


@dataclass(frozen=True)
class Row:
    """One scored row."""

    id: str | int | None
    score: float | None = 0.5
    digest: bytes | None = None
    """Of its prompt; None for one of its own."""
    tie: int | None = None
    """Hash of its id; None for one that goes by the id alone."""


def number_of(row_id: object) -> int:
    """Return a hash that ids share only if they are equal."""
    return int.from_bytes(str(row_id).encode()[-8:], "little")


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Row]], Run]:
    """Write rows as score shards of 4, to be gathered in batches of 8 and buckets of about 2."""
    monkeypatch.setattr(spill, "BUCKET_ROWS", 2)
    monkeypatch.setattr(gather, "BATCH_ROWS", 8)

    def write(rows: Sequence[Row]) -> Run:
        file = InputFile("in.parquet", 1, "sha256:0", (len(rows),))
        run = Run(FsStore(str(tmp_path / "run")), "run", (file,), 4, 0)
        for shard in run.shards:
            table = shard_table(rows[shard.start : shard.start + shard.rows], shard.start)
            run.store.create(f"score/{shard.name}.parquet", to_parquet(table))
        return run

    return write


def shard_table(rows: Sequence[Row], start: int) -> pa.Table:
    """Return rows as a score shard; a row without a score is an invalid one."""
    digests = [row.digest or f"own {start + n:08d}".encode().ljust(16) for n, row in enumerate(rows)]
    good = [row.score is not None for row in rows]
    columns = {
        "row": range(len(rows)),
        "id": [row.id for row in rows],
        "kind": [None if fine else "empty_prompt" for fine in good],
        "score": [row.score for row in rows],
        "tie": [None if r.id is None else number_of(r.id) if r.tie is None else r.tie for r in rows],
        "content": [digest if fine else None for digest, fine in zip(digests, good, strict=True)],
        "tokens": [100 + digest[0] if fine else None for digest, fine in zip(digests, good, strict=True)],
        "bytes": [400 if fine else None for fine in good],
        "turns": [1 if fine else None for fine in good],
        "chars": [400 if fine else None for fine in good],
    }
    integers = any(isinstance(row.id, int) for row in rows)
    schema = score_schema(ID_INTEGER if integers else ID_TEXT)
    return pa.Table.from_pydict({k: list(v) for k, v in columns.items()}, schema=schema)


def settle(
    run: Run, tmp_path: Path
) -> tuple[dict[tuple[int, int], tuple[int, int]], Mapping[str, Totals], int]:
    """Return copy → owner as (shard, row), the totals, and K, at the cut ``HALF``."""
    gathered = gather_rows(run, tmp_path / "rows", "id")
    copies = Copies(tmp_path / "copies", len(run.shards), gathered.valid)
    count, totals = settle_routes(gathered.content.buckets(), HALF, PRICES, copies)
    found = {
        (shard, row["row"]): (row["owner_shard"], row["owner_row"])
        for shard, table in copies.by_shard()
        for row in table.to_pylist()
    }
    assert (copies.count, copies.shards()) == (len(found), sorted({shard for shard, _ in found}))
    return found, totals, count


def gathered_ids(gathered: Gathered) -> list[bytes]:
    """Return the sortable ids of all valid rows, sorted."""
    return sorted(i for bucket in gathered.content.buckets() for i in bucket.texts().to_pylist())


def test_valid_rows_keep_their_ids(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """Every valid row comes through once with its id, empty ones too; invalid rows are counted."""
    names = ["", "é", "a" * 50, *(f"r{n}" for n in range(20))]
    run = scored([Row(name, None if name in {"r1", "r9"} else 0.1) for name in names])
    gathered = gather_rows(run, tmp_path / "rows", "id")
    expected = sorted(name.encode() for name in names if name not in {"r1", "r9"})
    assert (expected, len(names) - 2, 2) == (gathered_ids(gathered), gathered.valid, gathered.invalid)


def test_shards_of_invalid_rows_are_no_trouble(
    scored: Callable[[Sequence[Row]], Run], tmp_path: Path
) -> None:
    """A run may have whole shards, or nothing but, invalid rows."""
    some = gather_rows(scored([Row(n, None if n < 4 else 0.5) for n in range(9)]), tmp_path / "some", "id")
    assert (5, 4) == (some.valid, some.invalid)


def test_first_three_duplicates_are_named(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """The message counts all duplicates and names the first three by their place, whatever bucket they fall in."""
    names = [f"r{n}" for n in range(20)] + ["r15", "r3", "r11", "r3", "r7"]
    with pytest.raises(DataError) as caught:
        gather_rows(scored([Row(name) for name in names]), tmp_path / "rows", "id")
    assert (
        "5 duplicate ids ('r3' in in.parquet row 3 and in.parquet row 21; "
        "'r7' in in.parquet row 7 and in.parquet row 24; 'r11' in in.parquet row 11 and in.parquet row 22)"
    ) in str(caught.value)


def test_invalid_rows_may_not_share_an_id(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """An id that a valid row has is a duplicate on an invalid row too."""
    with pytest.raises(DataError, match="1 duplicate ids"):
        gather_rows(scored([Row("a"), Row("b"), Row("a", None)]), tmp_path / "rows", "id")


def test_two_ids_of_one_hash_are_named(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """Two different ids with one hash are no duplicates; the message asks for another seed."""
    with pytest.raises(DataError, match="'a' and 'b' have the same hash"):
        gather_rows(scored([Row("a", tie=7), Row("b", tie=7)]), tmp_path / "rows", "id")


def test_first_three_null_ids_are_named(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """Null ids are named in order, also where a whole shard of integer ids has no other."""
    rows = [Row(None if n in {2, 9, 17} or 4 <= n < 8 else n) for n in range(18)]
    with pytest.raises(DataError, match=r"row 2; in\.parquet row 4; in\.parquet row 5\)"):
        gather_rows(scored(rows), tmp_path / "rows", "id")


@pytest.mark.parametrize(
    ("ids", "owner"),
    [(["b", "a", "c"], 1), (["r10", "r9", "r1"], 2), ([10, 9, -3], 2), ([7, -(2**63), 2**63 - 1], 1)],
)
def test_lowest_id_pays(
    scored: Callable[[Sequence[Row]], Run], tmp_path: Path, ids: list[str | int], owner: int
) -> None:
    """Of identical requests the row with the lowest id is called: text by code point, integers by value."""
    found, totals, _ = settle(scored([Row(one, 0.1, b"the same prompt!") for one in ids]), tmp_path)
    expected = {(0, row): (0, owner) for row in range(3) if row != owner}
    assert (expected, 1, 3) == (found, totals["weak"].calls, totals["weak"].rows)


def test_routes_do_not_share_a_call(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """Identical prompts on both sides of the cut are two requests."""
    rows = [Row(n, score, b"the same prompt!") for n, score in enumerate([0.1, 0.9, 0.2, 0.8])]
    found, totals, count = settle(scored(rows), tmp_path)
    assert ({(0, 2): (0, 0), (0, 3): (0, 1)}, 1, 1, 2) == (
        found,
        totals["strong"].calls,
        totals["weak"].calls,
        count,
    )


def test_half_a_digest_is_not_a_prompt(scored: Callable[[Sequence[Row]], Run], tmp_path: Path) -> None:
    """Prompts whose digests agree in their first half only are different prompts."""
    run = scored([Row(n, 0.1, b"8 bytes " + tail) for n, tail in enumerate([b"and more", b"and else"] * 2)])
    found, totals, _ = settle(run, tmp_path)
    gathered = gather_rows(run, tmp_path / "again", "id")
    [bucket] = [b for b in gathered.content.buckets() if len(b.rows)]
    weak = costs_of(bucket.rows, PRICES)[1]
    assert ({(0, 2): (0, 0), (0, 3): (0, 1)}, 2, totals["weak"].planned_nano) == (
        found,
        totals["weak"].calls,
        weak,
    )


def random_rows(seed: int) -> list[Row]:
    """Return 200 rows in random order of ids, with ten scores and half of them with one of twelve prompts."""
    rng = np.random.default_rng(seed)
    digests = [bytes([65 + n]) * 16 for n in range(12)]
    return [
        Row(int(n), round(float(rng.random()), 1), digests[rng.integers(12)] if rng.random() < 0.5 else None)
        for n in rng.permutation(200)
    ]


def cost(route: Route, row: Row) -> int:
    """Return the expected nano-dollars of a row's call."""
    return int(PRICES.cost(route, np.array([tokens_of(row)]))[0])


def tokens_of(row: Row) -> int:
    """Return the expected tokens that ``shard_table`` gives a row."""
    return 100 + (row.digest or b"own")[0]


@pytest.mark.parametrize("seed", range(4))
def test_settling_agrees_with_plain_loops(
    scored: Callable[[Sequence[Row]], Run], tmp_path: Path, seed: int
) -> None:
    """Owners, calls, tokens and costs of many tied and repeated rows are those of loops over the requests."""
    rows = random_rows(seed)
    found, totals, count = settle(scored(rows), tmp_path)
    requests: dict[tuple[object, Route], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        requests[row.digest or at, "strong" if np.float32(row.score) >= np.float32(0.5) else "weak"].append(
            at
        )
    payers = {key: min(ats, key=lambda at: int(rows[at].id or 0)) for key, ats in requests.items()}
    owned = {(at, payers[key]) for key, ats in requests.items() for at in ats if at != payers[key]}
    assert {divmod(at, 4): divmod(owner, 4) for at, owner in owned} == found
    for route in ROUTES:
        paid = [rows[at] for (_, there), at in payers.items() if there == route]
        expected = (len(paid), sum(map(tokens_of, paid)), sum(cost(route, row) for row in paid))
        assert expected == (totals[route].calls, totals[route].input_tokens, totals[route].planned_nano)
    assert sum(len(ats) for (_, there), ats in requests.items() if there == "strong") == count


@pytest.mark.parametrize("seed", range(4))
def test_costs_agree_with_plain_loops(
    scored: Callable[[Sequence[Row]], Run], tmp_path: Path, seed: int
) -> None:
    """The price of a prompt is paid once, and brought by its highest-ranked row when it goes strong."""
    rows = random_rows(seed)
    groups: dict[object, list[Row]] = defaultdict(list)
    for at, row in enumerate(rows):
        groups[row.digest or at].append(row)
    leads = {
        max(group, key=lambda row: (row.score, number_of(row.id))): len(group) for group in groups.values()
    }
    deltas = {
        number_of(row.id): cost("strong", row) - (cost("weak", row) if leads[row] == 1 else 0)
        for row in leads
    }
    expected = {number_of(row.id): deltas.get(number_of(row.id), 0) for row in rows}
    found, sums = dict[int, int](), np.zeros(2, dtype=np.int64)
    for bucket in gather_rows(scored(rows), tmp_path / "rows", "id").content.buckets():
        part, weak, strong = costs_of(bucket.rows, PRICES)
        found |= dict(zip(part.tie.tolist(), part.delta.tolist(), strict=True))
        sums += (weak, strong)
    assert expected == found
    assert [sum(cost(route, row) for row in leads) for route in ("weak", "strong")] == sums.tolist()
