"""Endpoints that a run changed before they had answered: what holds now, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import job_config, prompts, write_prompts

from routellm_batch.config.job import Config
from routellm_batch.core.errors import RunMismatchError
from routellm_batch.core.types import Route
from routellm_batch.storage.changes import adopt_change, changed_since_begun, is_changed
from routellm_batch.storage.ledger.record import CallRecord
from routellm_batch.storage.ledger.shard import ShardLedger
from routellm_batch.storage.run import Run, open_existing, open_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an input of 20 rows, and a run that was begun on it."""
    write_prompts(tmp_path / "in.parquet", prompts(20))
    begin(tmp_path)
    return tmp_path


def begin(folder: Path, **changes: Any) -> tuple[Run, Config]:
    config = job_config(folder, **changes)
    return open_run(config, today="2026-11-23"), config


def answer(run: Run, route: Route, answer: str | None) -> None:
    """Put a reply into the run's ledger."""
    ledger = ShardLedger(run.store, "000001", epoch=1)
    ledger.claim()
    ledger.write_intent(route, [(3, 5)])
    status = "ok" if answer else "failed"
    ledger.write_results([CallRecord(3, route, status, "key", answer=answer).to_json()])


def test_a_change_holds_from_the_start_that_drives(folder: Path) -> None:
    """Opening a run changes nothing; taking it over does, for whoever opens it from then on, and only once."""
    run, config = begin(folder, endpoints__weak__model="other")
    assert is_changed(run.store, config)
    assert "weak-model" == open_existing(run.uri)[1]["job"]["endpoints"]["weak"]["model"]
    assert {"weak"} == adopt_change(run.store, config) == adopt_change(run.store, config)
    manifest = open_existing(run.uri)[1]
    assert ("other", "other") == (
        manifest["job"]["endpoints"]["weak"]["model"],
        manifest["config"]["endpoints.weak.model"],
    )
    assert not is_changed(run.store, config)
    assert ["run.c1.json"] == [o.path for o in run.store.list("") if o.path.startswith("run.c")]


def test_changes_add_up(folder: Path) -> None:
    """A second change keeps the first one's endpoint in mind, be it put back or not."""
    run, config = begin(folder, endpoints__weak__model="other")
    adopt_change(run.store, config)
    _, config = begin(folder, endpoints__strong__params={"max_completion_tokens": 9})
    assert {"strong", "weak"} == adopt_change(run.store, config) == changed_since_begun(run.store)


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_a_reply_without_an_answer_is_none(folder: Path, text: str | None) -> None:
    """What failed, or said nothing, leaves its endpoint free to be another."""
    run, _ = begin(folder)
    answer(run, "weak", text)
    begin(folder, endpoints__weak__model="other")


def test_an_endpoint_that_has_answered_must_stay(folder: Path) -> None:
    """Of the two that differ only the one that has answered is refused, with its keys and the reason."""
    run, _ = begin(folder)
    answer(run, "weak", "Yes.")
    begin(folder, endpoints__strong__model="other")
    with pytest.raises(RunMismatchError) as caught:
        begin(folder, endpoints__strong__model="other", endpoints__weak__model="other")
    lines = str(caught.value).splitlines()[1:]
    assert [
        '  endpoints.weak.model: was "weak-model", is "other"',
        "The weak endpoint has answered already, so its base_url, model and params must stay.",
        "Put the config back, or choose another run.id",
    ] == lines


def test_an_answer_that_comes_after_the_run_was_opened_counts(folder: Path) -> None:
    """The start that drives looks again: another one may have called meanwhile."""
    run, config = begin(folder, endpoints__weak__model="other")
    answer(run, "weak", "Yes.")
    with pytest.raises(RunMismatchError, match="The weak endpoint has answered already"):
        adopt_change(run.store, config)
    assert frozenset() == changed_since_begun(run.store)


def test_a_price_needs_another_run(folder: Path) -> None:
    """The refusal names the key with both values and says what a price asks for."""
    with pytest.raises(RunMismatchError) as caught:
        begin(folder, endpoints__weak__model="other", endpoints__weak__price__input=7)
    text = str(caught.value)
    assert [True, True, False] == [
        'endpoints.weak.price.input: was "0.1", is "7"' in text,
        "A price that differs needs a new run.id" in text,
        "endpoints.weak.model" in text,
    ]
