"""No canary: prompts, answers and keys stay out of logs, terminals, errors, reports and plans."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from helpers.jobs import Finished, job_config, plan_job, prompts, run_job, write_prompts
from helpers.stub import Answer, Call, answering, stub_server

from routellm_batch.core.errors import RoutellmBatchError

KEY = "sk-canarykey0123456789"
CANARIES = ("canaryprompt", "canaryanswer", "canarysystem", KEY)


def noisy(call: Call) -> Answer:
    """Answer and fail in many ways, always with a canary in the text."""
    page = Answer(body=b"<p>canaryanswer canaryprompt", content_type="text/html")
    error = Answer(status=400, body=b'{"error": {"message": "canaryprompt canaryanswer", "code": null}}')
    kinds = [
        Answer("canaryanswer spam"),
        error,
        page,
        Answer(status=500, body=b"canaryanswer"),
        Answer("spam"),
    ]
    return (
        kinds[int(call.prompt.split()[1][:-1]) % len(kinds)]
        if call.prompt.startswith("canary")
        else Answer("spam")
    )


@contextmanager
def recorded(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Collect every log record at DEBUG level of any library, and all that reaches stdout and stderr."""
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        yield said
    said += [
        f"{record.name} {record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records
    ]
    said += list(capfd.readouterr())


def leaks(texts: list[str]) -> list[str]:
    return [word for word in CANARIES for text in texts if word in text]


def open_objects(result: Finished) -> list[str]:
    """Return all that a reader of the reports may see: every object but answers and their ledger."""
    names = [name for name in result.objects() if not name.startswith(("call/", "responses/"))]
    return [result.run.store.read(name).decode("utf-8", "replace") for name in names]


@pytest.mark.parametrize("label", [None, {"values": ["spam", "ham"]}])
def test_nothing_leaks_from_a_run(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    label: dict[str, Any] | None,
) -> None:
    """A run with answers, refusals, broken replies and re-asked labels shows ids, kinds and numbers only."""
    monkeypatch.setenv("PRIVACY_KEY", KEY)
    write_prompts(tmp_path / "in.parquet", prompts(25, prefix="canaryprompt"), s=["canarysystem"] * 25)
    settings = {
        "endpoints__strong__api_key": "env:PRIVACY_KEY",
        "input__columns__system": "s",
        "label": label,
    }
    with stub_server(noisy) as stub, recorded(caplog, capfd) as said:
        config = job_config(
            tmp_path, strong=stub.base_url, weak=stub.base_url, **settings, retry={"max_error_rate": 1}
        )
        result = run_job(config, page=True)
    assert {f"Bearer {KEY}"} == {
        call.headers["Authorization"] for call in stub.calls if call.body["model"] == "strong-model"
    }
    assert 3 == result.exit_code
    assert [] == leaks([*said, *result.lines, *map(repr, result.events), *open_objects(result)])
    assert "sk-" not in "".join(open_objects(result))


def test_nothing_leaks_from_a_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The plan's page and files hold no prompt."""
    write_prompts(tmp_path / "in.parquet", prompts(25, prefix="canaryprompt"))
    with recorded(caplog, capfd) as said:
        result = plan_job(job_config(tmp_path))
    assert [] == leaks([*said, *result.lines, *open_objects(result)])


@pytest.mark.parametrize(
    "settings",
    [
        {"budget": {"usd": Decimal("0.000001")}},
        {"input__columns__prompt": "missing"},
        {"endpoints__strong__api_key": "env:PRIVACY_NO_KEY"},
        {"input__max_prompt_bytes": 1},
        {"router": {"name": "length", "options": {"x": 1}}},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_nothing_leaks_from_an_error(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The text, the fields and the causes of an error hold no prompt."""
    write_prompts(tmp_path / "in.parquet", prompts(5, prefix="canaryprompt"))
    with stub_server(answering("canaryanswer")) as stub, pytest.raises(RoutellmBatchError) as caught:
        run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    error: BaseException | None = caught.value
    while error is not None:
        assert [] == leaks([repr(error), str(error), repr(vars(error))])
        error = error.__cause__ or error.__context__


def test_a_crash_tells_no_prompt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When storing results fails, neither the error nor the logs repeat what was to be stored."""
    write_prompts(tmp_path / "in.parquet", prompts(5, prefix="canaryprompt"))
    failing = patch(
        "routellm_batch.storage.ledger.shard.ShardLedger.write_results",
        side_effect=PermissionError("no write"),
    )
    with stub_server(answering("canaryanswer")) as stub, caplog.at_level(logging.DEBUG), failing:
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)
        result = run_job(config)
    assert (75, True) == (result.exit_code, "storage can't be written" in " ".join(result.lines))
    assert [] == leaks([*result.lines, *(record.getMessage() for record in caplog.records)])
