"""A run on storage: which one a command means, what pins it, what may not differ."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import job_config, prompts, write_prompts

from routellm_batch.core.errors import DataError, RunMismatchError
from routellm_batch.storage.run import SUCCESS, open_existing, open_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an input of 20 rows."""
    write_prompts(tmp_path / "in.parquet", prompts(20))
    return tmp_path


def open_on(folder: Path, today: str, *, retry_failed: bool = False, **settings: Any) -> Any:
    config = job_config(folder, **{"run__id": "nightly-{date}", **settings})
    return open_run(config, today=today, retry_failed=retry_failed)


def finish(run: Any) -> None:
    run.store.create(SUCCESS, b'{"exit_code": 0}\n')


def test_a_date_is_the_days(folder: Path) -> None:
    """Without an earlier run ``{date}`` is today."""
    assert "nightly-2026-11-23" == open_on(folder, "2026-11-23").id


def test_an_unfinished_run_is_gone_on_with(folder: Path) -> None:
    """Days later the newest unfinished run is meant, and after its end a new one."""
    first = open_on(folder, "2026-11-23")
    assert first.id == open_on(folder, "2026-11-25").id
    finish(first)
    assert "nightly-2026-11-25" == open_on(folder, "2026-11-25").id


def test_only_the_newest_run_counts(folder: Path) -> None:
    """An old unfinished run is not dug up once a newer one is finished."""
    old = open_on(folder, "2026-11-20", run__date="2026-11-20")
    finish(open_on(folder, "2026-11-21", run__date="2026-11-21"))
    assert (old.id, "nightly-2026-11-23") == ("nightly-2026-11-20", open_on(folder, "2026-11-23").id)


def test_a_given_date_is_taken(folder: Path) -> None:
    """``run.date`` names the day, whatever other runs there are."""
    open_on(folder, "2026-11-23")
    assert "nightly-2026-01-01" == open_on(folder, "2026-11-24", run__date="2026-01-01").id


def test_retrying_means_the_newest_run_though_it_is_finished(folder: Path) -> None:
    """``--retry-failed`` on the next morning is about last night's run."""
    finish(open_on(folder, "2026-11-23"))
    assert "nightly-2026-11-23" == open_on(folder, "2026-11-24", retry_failed=True).id


@pytest.mark.parametrize(
    "changes", [{"run__id": "nightly-{date}-b"}, {"budget__strong_share": Decimal("0.5")}]
)
def test_other_templates_and_configs_are_other_runs(folder: Path, changes: dict[str, Any]) -> None:
    """Only a run of the same id template and the same config is gone on with."""
    open_on(folder, "2026-11-23")
    assert "2026-11-24" in open_on(folder, "2026-11-24", **changes).id


def test_another_model_is_looked_for_in_the_same_run(folder: Path) -> None:
    """URL, model and params take no part in finding the newest run; a price does."""
    first = open_on(folder, "2026-11-23")
    other = {"endpoints__weak__model": "other", "endpoints__weak__params": {"max_completion_tokens": 5}}
    assert first.id == open_on(folder, "2026-11-24", **other).id
    assert "nightly-2026-11-25" == open_on(folder, "2026-11-25", endpoints__weak__price__input=9).id


def test_a_template_in_the_middle(folder: Path) -> None:
    """``{date}`` may stand anywhere, and a name that only looks alike is another run."""
    run = open_on(folder, "2026-11-23", run__id="a-{date}-z")
    open_on(folder, "2026-11-23", run__id="a-fixed-z")
    assert (run.id, "a-2026-11-23-z") == (open_on(folder, "2026-11-24", run__id="a-{date}-z").id, run.id)


def test_shards_and_pins_are_those_of_the_first_start(folder: Path) -> None:
    """Opened by its URI, pickled or by the command, a run is the same."""
    run = open_on(folder, "2026-11-23")
    again = open_on(folder, "2026-11-23")
    other, manifest = open_existing(run.uri)
    travelled = pickle.loads(pickle.dumps(run))
    assert run.files == again.files == other.files == travelled.files
    assert list(run.shards) == list(other.shards) == list(travelled.shards)
    assert ([8, 8, 4], "nightly-{date}") == ([shard.rows for shard in run.shards], manifest["template"])


def test_a_folder_begun_anew_is_another_run_to_a_worker(folder: Path) -> None:
    """A process that knew a removed run does not take the new one's manifest for the old."""
    run = open_on(folder, "2026-11-23")
    assert 20 == sum(shard.rows for shard in pickle.loads(pickle.dumps(run)).shards)
    (folder / "root" / "runs" / run.id / "run.json").unlink()
    write_prompts(folder / "in.parquet", prompts(5))
    new = open_on(folder, "2026-11-23")
    assert 5 == sum(shard.rows for shard in pickle.loads(pickle.dumps(new)).shards)


def test_every_differing_field_is_listed(folder: Path) -> None:
    """Added, removed and changed keys each have a line with both values."""
    open_on(folder, "2026-11-23", run__id="job", router__options={"max": 5, "top_p": 1})
    with pytest.raises(RunMismatchError) as caught:
        open_on(folder, "2026-11-23", run__id="job", router__options={"max": 6, "seed": 7})
    lines = [line.strip() for line in str(caught.value).splitlines() if ": was " in line]
    assert [
        "router.options.max: was 5, is 6",
        "router.options.seed: was null, is 7",
        "router.options.top_p: was 1, is null",
    ] == lines


def test_markers_are_counted_by_stage(folder: Path) -> None:
    """A marker is of one stage and one shard, and holds its receipt."""
    run = open_on(folder, "2026-11-23")
    run.commit("score", "000001", {"rows": 8})
    assert ({"000001"}, set(), {"rows": 8}) == (
        set(run.committed("score")),
        set(run.committed("call")),
        run.marker("score", "000001"),
    )


def test_where_no_run_is_there_is_none(folder: Path) -> None:
    """A URI without run.json is refused by name."""
    with pytest.raises(DataError, match=r"no run is there \(no run\.json\)"):
        open_existing(str(folder))
