"""A run that an older version (commit 9ae35ec) began and a kill cut off is gone on with, and nothing is paid for again.

The run lies in ``tests/fixtures/run_9ae35ec``; its README.md says how it was made. What it holds is read here with
Parquet, JSON and the frames of the local log alone, so that the code under test doesn't judge itself.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from routellm_batch.config.job import load_config
from routellm_batch.pipeline.jobs import run_job

OLD = Path(__file__).resolve().parents[1] / "fixtures" / "run_9ae35ec"
SOME_FAILED = 3
"""Exit code of a finished run with failed rows."""
OLD_CAP_USD, CAP_USD = Decimal("0.0252"), Decimal("0.035")
"""The hard cap until the kill, and the raised one."""
CHANGES = (
    "cluster={kind: serial}",
    "endpoints.strong.limits.concurrency=16",
    "endpoints.weak.limits.concurrency=16",
    f"budget.hard_cap_usd={CAP_USD}",
)
"""Keys that a resume may change; those with which the older version made ``expected.parquet``."""
MOST_IN_FLIGHT = 4
"""Two endpoints with a concurrency of two."""
FRAME = struct.Struct("<II")
"""Before each entry of a local log: its length and its CRC-32."""
FINAL = {"ok", "failed"}

Row = dict[str, Any]
Place = tuple[str, int]
"""Shard and row in the shard."""


@dataclass(frozen=True)
class Folder:
    """A job's folder: the input, the run, its pilot, local logs and the endpoints' bills."""

    path: Path

    @property
    def run(self) -> Path:
        """The run's own folder."""
        return self.path / "root/runs/job"

    def table(self, name: str) -> list[Row]:
        """Return the rows of a Parquet file."""
        return list(pq.read_table(self.path / name).to_pylist())

    def rows(self, folder: str) -> list[Row]:
        """Return the rows of every Parquet file in a folder of the run."""
        return [
            row
            for path in sorted((self.run / folder).glob("**/*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]

    def json(self, name: str) -> Row:
        """Return a JSON object of the run."""
        return dict(json.loads((self.run / name).read_bytes()))

    def bills(self) -> list[Row]:
        """Return the requests that the endpoints answered, in order of time."""
        logs = [(self.path / f"{route}.jsonl").read_text() for route in ("strong", "weak")]
        lines = [line for log in logs for line in log.splitlines()]
        return sorted(map(json.loads, lines), key=lambda line: line["t"])

    def stored(self) -> dict[Place, Row]:
        """Return what storage says of each row that has its answer or has failed."""
        lines = [
            (path.parent.name, json.loads(line))
            for path in sorted(self.run.glob("call/*/*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        return _final(lines)

    def local(self) -> dict[Place, Row]:
        """Return what the local logs say of each such row."""
        lines = [
            (path.name.split(".")[0], json.loads(entry))
            for path in sorted(self.path.glob("local/*/*.log"))
            for entry in _entries(path.read_bytes())
            if not entry.isdigit()
        ]
        return _final(lines)

    def ended(self) -> dict[Place, Row]:
        """Return both."""
        return self.stored() | self.local()

    def pilot_keys(self) -> set[str]:
        """Return the keys of the requests that the pilot has an answer to."""
        return {row["request_key"] for row in self.table("root/pilots/job/answers.parquet")}


def _final(lines: list[tuple[str, Row]]) -> dict[Place, Row]:
    return {(shard, record["row"]): record for shard, record in lines if record["status"] in FINAL}


def _entries(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length, _ = FRAME.unpack_from(data, at)
        at += FRAME.size + length
        yield data[at - length : at]


def _paid_usd(bill: Row) -> Decimal:
    return Decimal(bill["usd"])


BEFORE = Folder(OLD)


def go_on(folder: Path) -> int:
    """Go on with the run in a copied folder; return the exit code. Its paths lie below the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ROUTELLM_LOCAL_DIR", str(folder / "local"))
        patch.setenv(
            "ROUTELLM_LEASE_S", "1"
        )  # the killed processes are of another machine: they are waited for
        return run_job(load_config("job.yaml", CHANGES), lambda _: None).exit_code


@dataclass(frozen=True)
class Resumed:
    """The run after it was gone on with."""

    exit_code: int
    after: Folder

    @property
    def new_bills(self) -> list[Row]:
        """The requests of this start."""
        return self.after.bills()[len(BEFORE.bills()) :]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    """Copy the old run and go on with it, once for all tests."""
    if not Path("/proc/self/cwd").exists():
        pytest.skip("the paths of the old run lie below /proc/self/cwd")
    folder = Path(shutil.copytree(OLD, tmp_path_factory.mktemp("old") / "run"))
    for path in (folder / "local").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)  # as it was made: others could not write to it
    return Resumed(go_on(folder), Folder(folder))


def valid_ids() -> list[str]:
    """Return the ids of the rows that have a prompt."""
    return sorted(row["id"] for row in BEFORE.table("in.parquet") if row["prompt"])


def lost_keys() -> set[str]:
    """Return the requests that were billed before the kill and whose answers nobody kept."""
    kept = {record["request_key"] for record in BEFORE.ended().values()} | BEFORE.pilot_keys()
    return {bill["request_key"] for bill in BEFORE.bills() if _paid_usd(bill)} - kept


def strong_by(plan: str) -> dict[Place, bool]:
    """Return which rows a plan sends to the strong model: those whose score and tie hash are at its cut or above."""
    cut = BEFORE.json(plan)["cut"]
    edge = (cut["key"], int(cut["tie"], 16))
    routes: dict[Place, bool] = {}
    for path in sorted(BEFORE.run.glob("score/*.parquet")):
        table = pq.read_table(path)
        keys: NDArray[np.uint32] = table.column("score").to_numpy().astype(np.float32).view(np.uint32)
        for row, kind, key, tie in zip(
            table.column("row").to_pylist(),
            table.column("kind").to_pylist(),
            keys.tolist(),
            table.column("tie").to_pylist(),
            strict=True,
        ):
            if kind is None:
                routes[path.stem, row] = (key, tie) >= edge
    return routes


def copied() -> set[Place]:
    """Return the rows that take their answer from another one."""
    paths = sorted(BEFORE.run.glob("copies/*/*.parquet"))
    return {(path.stem, row["row"]) for path in paths for row in pq.read_table(path).to_pylist()}


def pending() -> dict[Place, bool]:
    """Return the rows that were still to be called: whether the degraded plan sends each to the strong model."""
    gone = BEFORE.ended().keys() | copied()
    return {place: strong for place, strong in strong_by("plan.d1.json").items() if place not in gone}


def test_the_fixture_holds_each_kind_of_state() -> None:
    """Ended and begun shards, answers on storage and in a local log alone, open intents, failures, copies, a moved row."""
    committed = {path.stem for path in BEFORE.run.glob("commit/call/*.json")}
    begun = {shard for shard, _ in BEFORE.stored()} - committed
    named = Counter(
        (path.parent.name, row)
        for path in BEFORE.run.glob("call/*/0*.json")
        for row, _ in json.loads(path.read_bytes()).get("rows", [])
    )
    planned, degraded = strong_by("plan.json"), pending()
    assert {
        "ended": True,
        "begun": True,
        "open": True,
        "local": True,
        "failed": True,
        "copied": True,
        "moved": True,
        "strong": True,
        "pilot": True,
    } == {
        "ended": len(committed) >= 2,
        "begun": len(begun) >= 2,
        "open": bool(named.keys() - BEFORE.ended().keys()),
        "local": bool(BEFORE.local().keys() - BEFORE.stored().keys()),
        "failed": any(record["status"] == "failed" for record in BEFORE.ended().values()),
        "copied": len(copied()) >= 2,
        "moved": any(planned[place] and not strong for place, strong in degraded.items()),
        "strong": any(degraded.values()),
        "pilot": BEFORE.json("pilot.json")["here"],
    }


def test_the_old_run_is_finished(resumed: Resumed) -> None:
    """The resume ends as the older version's own does, with the exit code of a run of which some rows failed."""
    assert (SOME_FAILED, True) == (resumed.exit_code, (resumed.after.run / "_SUCCESS").exists())


def test_every_valid_row_is_in_responses_once(resumed: Resumed) -> None:
    """Each row with a prompt has one response; the one without is in failed/ alone."""
    invalid = [row["id"] for row in resumed.after.rows("failed")]
    assert valid_ids() == sorted(row["id"] for row in resumed.after.rows("responses"))
    assert [row["id"] for row in BEFORE.table("in.parquet") if not row["prompt"]] == invalid


def test_the_responses_are_those_of_the_older_version(resumed: Resumed) -> None:
    """Routes, answers and failures are what the older version gave as it went on with the same run."""
    expected = BEFORE.table("expected.parquet")
    actual = {row["id"]: row for row in resumed.after.rows("responses")}
    assert expected == [{name: actual[row["id"]][name] for name in row} for row in expected]


def test_no_answered_row_is_called_again(resumed: Resumed) -> None:
    """Nothing that storage or a local log has the answer of is sent again."""
    answered = {r["request_key"] for r in BEFORE.ended().values() if r["status"] == "ok"}
    assert set() == answered & {bill["request_key"] for bill in resumed.new_bills}


def test_no_failed_row_of_an_ended_shard_is_called_again(resumed: Resumed) -> None:
    """What failed in a shard that had ended stays failed."""
    committed = {path.stem for path in BEFORE.run.glob("commit/call/*.json")}
    failed = {place: r["request_key"] for place, r in BEFORE.stored().items() if r["status"] == "failed"}
    ended = {key for (shard, _), key in failed.items() if shard in committed}
    assert ended
    assert set() == ended & {bill["request_key"] for bill in resumed.new_bills}


def test_the_local_log_is_taken_over(resumed: Resumed) -> None:
    """Storage has what was in the killed processes' local logs alone, and the logs are gone."""
    stored = resumed.after.stored()
    assert BEFORE.local() == {place: stored.get(place) for place in BEFORE.local()}
    assert [] == list(resumed.after.path.glob("local/*/*.log"))


def test_only_what_was_in_flight_is_paid_for_twice(resumed: Resumed) -> None:
    """A request is billed once, or twice if its first answer was on its way when the processes were killed."""
    times = Counter(bill["request_key"] for bill in resumed.after.bills() if _paid_usd(bill))
    assert len(lost_keys()) <= MOST_IN_FLIGHT
    assert {key for key, count in times.items() if count > 1} <= lost_keys()
    assert max(times.values()) <= 2


def test_the_answers_of_the_pilot_are_taken_over(resumed: Resumed) -> None:
    """Rows whose very request the pilot had answered cost nothing, and are not sent."""
    keys = BEFORE.pilot_keys()
    taken = [row for row in resumed.after.rows("responses") if row["request_key"] in keys]
    assert {("ok", 0, Decimal(0))} == {(row["status"], row["attempts"], row["cost_usd"]) for row in taken}
    assert set() == keys & {bill["request_key"] for bill in resumed.new_bills}


def test_pending_rows_follow_the_degraded_plan(resumed: Resumed) -> None:
    """What was still to be called goes where the cut of ``plan.d1.json`` sends it, and there is no further plan."""
    routes = {place: record["route"] for place, record in resumed.after.stored().items()}
    expected = {place: "strong" if strong else "weak" for place, strong in pending().items()}
    assert expected == {place: routes.get(place) for place in expected}
    assert ["plan.d1.json", "plan.json"] == sorted(path.name for path in resumed.after.run.glob("plan*.json"))


def test_the_plans_are_left_as_they_are(resumed: Resumed) -> None:
    """Objects of the older version are read, never written anew."""
    names = [path.relative_to(OLD) for path in sorted((OLD / "root").rglob("*")) if path.is_file()]
    changed = [
        str(name) for name in names if (OLD / name).read_bytes() != (resumed.after.path / name).read_bytes()
    ]
    assert [] == changed


def test_rows_with_the_same_request_share_one_bill(resumed: Resumed) -> None:
    """Copies have the answer of the row that pays, and cost nothing."""
    groups: dict[str, list[Row]] = {}
    for row in resumed.after.rows("responses"):
        groups.setdefault(row["request_key"], []).append(row)
    shared = [rows for rows in groups.values() if len(rows) > 1]
    assert shared
    for rows in shared:
        assert 1 == len({(row["route"], row["answer"], row["status"]) for row in rows})
        assert 1 >= sum(row["cost_usd"] > 0 for row in rows)


def test_the_report_has_every_bill(resumed: Resumed) -> None:
    """The settled sum is that of all bills but the lost answers', which are within what is presumed spent."""
    cost = resumed.after.json("report/cost.json")
    billed = sum(map(_paid_usd, resumed.after.bills()), Decimal(0))
    keys = lost_keys()
    lost = sum((_paid_usd(bill) for bill in BEFORE.bills() if bill["request_key"] in keys), Decimal(0))
    assert billed - lost == Decimal(cost["spent_usd"])
    assert lost <= Decimal(cost["presumed_usd"])


def test_the_caps_hold(resumed: Resumed) -> None:
    """Neither the bills before the kill nor all that is booked in the end is above the cap of its time."""
    cost = resumed.after.json("report/cost.json")
    assert sum(map(_paid_usd, BEFORE.bills()), Decimal(0)) <= OLD_CAP_USD
    assert Decimal(cost["spent_usd"]) + Decimal(cost["presumed_usd"]) <= CAP_USD


def test_the_finished_run_calls_nothing(resumed: Resumed) -> None:
    """The same command again ends with the same exit code and sends no request."""
    before = len(resumed.after.bills())
    assert (resumed.exit_code, before) == (go_on(resumed.after.path), len(resumed.after.bills()))
