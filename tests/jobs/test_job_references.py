"""References in whole jobs: what can't be one is refused before anything is paid, and a pilot asks what can be graded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, job_config, no_page, prompts, quick_waits, run_job, write_prompts
from helpers.stub import answering, stub_server

from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.events import Event
from routellm_batch.pipeline.jobs import pilot_job
from routellm_batch.routers.outcome.blend import fit, members

TURN = pa.list_(pa.struct([("text", pa.string())]))
EXACT, NUMERIC, CHOICE = ({"kind": kind, "reference": "right"} for kind in ("exact", "numeric", "choice"))
REFUSED: list[tuple[dict[str, Any], pa.Array, str]] = [
    (EXACT, pa.array([None, {"a": "x"}, None]), "row 1: is struct<a: string>"),
    (EXACT, pa.array([None, None, [{"text": "x"}]], TURN), "row 2: is list<"),
    (EXACT, pa.array([[("a", "b")], None, None], pa.map_(pa.string(), pa.string())), "row 0: is map<"),
    (EXACT, pa.array([b"x", b"y", b"z"]), "row 0: is binary; cast it to text (the first: b'x')"),
    (EXACT, pa.nulls(3, pa.string()), "every reference is null, so no answer can be graded"),
    (EXACT, pa.array([[], [None], None], pa.list_(pa.string())), "every reference is null"),
    (NUMERIC, pa.array([True, False, None]), "row 0: is bool"),
    (NUMERIC, pa.array(["18", "many", "few"]), "row 1: the reference 'many' holds no number, as are 1 more"),
    (NUMERIC, pa.array([["18"], ["few", None], None]), "row 1: the reference ['few', None] holds no number"),
    (CHOICE, pa.array(["A", "Paris", "B"]), "row 1: the reference 'Paris' is no letter of ABCDEFGHIJ"),
    (CHOICE, pa.array([0, 1, 77]), "row 2: the reference 77 is no number of an option, counted from 0"),
    ({**CHOICE, "reference_is": "from_1"}, pa.array([1, 0, 2]), "row 1: the reference 0 is no number"),
    (
        {"kind": "json", "reference": "right"},
        pa.array(["{}", "{", "1"]),
        "row 1: the reference '{' is not valid",
    ),
]


def write(folder: Path, right: pa.Array, **columns: Any) -> None:
    """Write an input with a column of references."""
    write_prompts(folder / "in.parquet", prompts(len(right)), right=right, **columns)


@pytest.mark.parametrize(("grader", "right", "words"), REFUSED)
def test_a_run_refuses_what_cannot_be_a_reference(
    tmp_path: Path, grader: dict[str, Any], right: pa.Array, words: str
) -> None:
    """The error has file, column, row and value, and nothing is written: the same run.id begins once it is corrected."""
    write(tmp_path, right)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        run_job(job_config(tmp_path, grade=grader))
    assert str(caught.value).startswith(f"file://{tmp_path}/in.parquet, column 'right'")
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(("grader", "right", "words"), [case for case in REFUSED if "row" not in case[2]])
def test_a_pilot_refuses_what_nothing_can_be_graded_by(
    tmp_path: Path, grader: dict[str, Any], right: pa.Array, words: str
) -> None:
    """A pilot without any reference is refused before its models are asked."""
    write(tmp_path, right)
    with pytest.raises(DataError, match=re.escape(words)):
        pilot_job(job_config(tmp_path, pilot={"rows": 2, "usd": 1, "grader": grader}), [].append)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "right", [pa.array([1, 2, 3]), pa.array(["1", "2", None]), pa.array([1.0, 2.0, None])]
)
def test_numbers_of_options_in_doubt_are_refused(tmp_path: Path, right: pa.Array) -> None:
    """Where the data don't tell whether counting begins at 0 or at 1, the error names the key that says it."""
    write(tmp_path, right)
    with pytest.raises(ConfigError, match=r"set grade\.reference_is=from_0 or grade\.reference_is=from_1"):
        run_job(job_config(tmp_path, grade=CHOICE))
    assert not (tmp_path / "root").exists()


FOUR = ["Lyon", "Nice", "Paris", "Lille"]


@pytest.mark.parametrize(
    ("right", "settings", "mean"),
    [
        (pa.array([0, 1, 2, 1]), {}, 0.5),
        (pa.array([1, 2, 4, 2]), {"letters": "ABCD"}, 0.5),
        (pa.array([1, 2, 4, 2]), {"options": "options"}, 0.5),
        (pa.array([1, 2, 2, 2]), {"reference_is": "from_1"}, 0.75),
        (pa.array(["Nice", "paris", None, "Nice"]), {"options": "options"}, 2 / 3),
        (pa.array([["A", "B"], ["C"], ["B"], None]), {}, 2 / 3),
    ],
)
def test_options_are_understood_as_they_are_named(
    tmp_path: Path, right: pa.Array, settings: dict[str, Any], mean: float
) -> None:
    """Every answer is B; it is right where the reference names the second option."""
    write(tmp_path, right, options=pa.array([FOUR] * len(right)))
    with stub_server(answering("(B)")) as stub:
        done = run_job(
            job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, grade={**CHOICE, **settings})
        )
    assert (0, pytest.approx(mean)) == (done.exit_code, done.cost["quality"]["achieved"]["mean"])


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.string(), 2),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_any_element_of_a_list_counts(tmp_path: Path, kind: pa.DataType) -> None:
    """Aliases are several right answers in every list that Parquet keeps."""
    right = pa.array(
        [["Paris", "paris, France"], ["Rome", None], ["Nice", "Lyon"], None], pa.list_(pa.string())
    )
    write(tmp_path, pa.array(right.to_pylist(), kind))
    with stub_server(answering("Paris")) as stub:
        done = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, grade=EXACT))
    quality = done.cost["quality"]
    assert (3, pytest.approx(1 / 3)) == (quality["achieved"]["rows"], quality["achieved"]["mean"])


def test_a_run_that_was_begun_before_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is not refused later: its rows without a usable reference stay unlabelled."""
    write(tmp_path, pa.array(["18", "many", "18"]))
    with stub_server(answering("18")) as stub:
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, grade=NUMERIC)
        with monkeypatch.context() as patched:
            patched.setattr("routellm_batch.pipeline.run.check_references", lambda *_: None)
            run_job(config)
        again = run_job(config)
    assert (0, {"bad_reference": 1}) == (again.exit_code, again.cost["quality"]["problems"])


def pilot(folder: Path, base_url: str, grader: dict[str, Any], rows: int) -> Finished:
    """Make a pilot."""
    config = job_config(
        folder, strong=base_url, weak=base_url, pilot={"rows": rows, "usd": 1, "grader": grader}
    )
    events: list[Event] = []
    with quick_waits(), no_page():
        result = pilot_job(config, events.append)
    return Finished(result.exit_code, result.run_uri, result.outputs.lines, events)


@pytest.fixture
def _small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "TREES", 20)
    monkeypatch.setattr(fit, "MANY_FOLDS", 2)


@pytest.mark.usefixtures("_small_forest")
@pytest.mark.parametrize("kind", ["numeric", "labels"])
def test_a_pilot_asks_rows_that_can_be_graded(tmp_path: Path, kind: str) -> None:
    """Of eighty rows twenty can be graded: these are asked, all of them get labels, and the report says what was left."""
    known = [None if n % 2 else "sport" if n % 4 else str(n) for n in range(80)]
    write(tmp_path, pa.array(known))
    usable = [f"r{n:04d}" for n, value in enumerate(known) if value and value != "sport"]
    grader: dict[str, Any] = NUMERIC
    if kind == "labels":
        scores = [n % 2 for n in range(len(usable))]
        table = {"id": [*usable, "r0001"], "strong_score": [*scores, 1], "weak_score": [*scores[::-1], None]}
        pq.write_table(pa.table(table), tmp_path / "labels.parquet")
        grader = {"kind": "labels", "uri": str(tmp_path / "labels.parquet")}
    with stub_server(answering("4")) as stub:
        done = pilot(tmp_path, stub.base_url, grader, rows=30)
        calls = len(stub.calls)
    folder = tmp_path / "root" / "pilots" / "job"
    outcomes = pq.read_table(folder / "outcomes.parquet")
    assert (0, 2 * len(usable)) == (done.exit_code, calls)
    assert usable == sorted(outcomes.column("prompt_id").to_pylist())
    assert 0 == outcomes.column("strong_score").null_count
    assert len(usable) == pytest.approx(sum(outcomes.column("weight").to_pylist()))
    assert f"only {len(usable)} distinct prompts can be graded" in "".join(done.notices)
    left = f"{80 - len(usable)} rows can't be graded"
    assert left in "".join(done.lines)
    assert left in (folder / "report" / "pilot.html").read_text("utf-8").replace("&#39;", "'")
    if kind == "numeric":
        assert "20 of 80 rows have a reference that the grader numeric can't use" in done.notices[0]
        assert "row 2: the reference 'sport' holds no number" in done.notices[0]


def test_a_pilot_that_can_grade_nothing_is_refused(tmp_path: Path) -> None:
    """Labels of other rows say nothing about these, and no model is asked."""
    write(tmp_path, pa.array(["x"] * 8))
    table = {"id": ["other"], "strong_score": [1.0], "weak_score": [0.0]}
    pq.write_table(pa.table(table), tmp_path / "labels.parquet")
    with pytest.raises(ConfigError, match="can grade only 0 distinct prompts of 8 valid rows"):
        pilot(
            tmp_path,
            "http://127.0.0.1:9/v1",
            {"kind": "labels", "uri": str(tmp_path / "labels.parquet")},
            rows=4,
        )


def test_missing_labels_are_named_before_a_run_begins(tmp_path: Path) -> None:
    """A run whose labels can't be read would be paid for and not graded."""
    write(tmp_path, pa.array(["x"] * 4))
    with pytest.raises(DataError, match="no-such-file"):
        run_job(job_config(tmp_path, grade={"kind": "labels", "uri": str(tmp_path / "no-such-file.parquet")}))
    assert not (tmp_path / "root").exists()
