"""Money where prompts are not plain English: other scripts, and images, audio and files in chats."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, job_config, run_job, write_prompts
from helpers.stub import Answer, Call, interrupting, stub_server

from routellm_batch.core.errors import ConfigError
from routellm_batch.stages.call.degrade import load_degrades

PICTURE = "data:image/png;base64," + base64.b64encode(bytes(range(256)) * 1200).decode()
PARTS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "image": (
        {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}},
        {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
    ),
    "audio": ({"type": "input_audio", "input_audio": {"data": PICTURE[22:], "format": "wav"}},),
    "video": ({"type": "video_url", "video_url": {"url": "https://films.example/a.mp4"}},),
    "file": ({"type": "file", "file": {"file_data": PICTURE, "filename": "a.pdf"}},),
}
EACH = [(kind, part) for kind, parts in PARTS.items() for part in parts]
CHATS: Mapping[str, Any] = {"input__columns": {"id": "id", "messages": "messages"}}
BILLED = 1_120
"""Tokens that the stub bills for a chat with a part."""


def write_chats(folder: Path, part: Mapping[str, Any], rows: int = 8) -> None:
    """Write chats as JSON text, of which only the last holds the part."""
    said = [[{"type": "text", "text": f"What is it, no. {n}?"}] for n in range(rows)]
    said[-1].append(dict(part))
    chats = [json.dumps([{"role": "user", "content": content}]) for content in said]
    table = pa.table({"id": [f"r{n}" for n in range(rows)], "messages": chats})
    pq.write_table(table, folder / "in.parquet")


def seeing(call: Call) -> Answer:
    """Bill a chat with a part as a provider does."""
    parts = call.body["messages"][-1]["content"]
    return Answer(input_tokens=BILLED if len(parts) > 1 else 12)


def run_chats(folder: Path, **settings: Any) -> tuple[Finished, int]:
    """Run a job of chats, all weak; return it with the number of requests."""
    with stub_server(seeing) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        result = run_job(job_config(folder, **urls, **CHATS, budget__strong_share=0, **settings))
        return result, len(stub.calls)


@pytest.mark.parametrize(("kind", "part"), EACH)
def test_a_part_without_a_bound_is_refused_under_a_cap(
    tmp_path: Path, kind: str, part: Mapping[str, Any]
) -> None:
    """Nobody knows what it costs at most, so nothing is sent; with the key that the error names the same run goes on."""
    write_chats(tmp_path, part)
    with stub_server(seeing) as stub:
        job = {**CHATS, "strong": stub.base_url, "weak": stub.base_url}
        job |= {"budget": {"strong_share": 0, "hard_cap_usd": Decimal(1)}}
        with pytest.raises(ConfigError) as refused:
            run_job(job_config(tmp_path, **job))
        assert not stub.calls
        told = str(refused.value)
        assert (f"input.part_tokens.{kind}", 2) == (refused.value.key, refused.value.exit_code)
        assert all(word in told for word in ("row 7", "in.parquet", kind, "budget.hard_cap_usd"))
        result = run_job(job_config(tmp_path, **job, input__part_tokens={kind: 1_500}))
        assert (0, 8, 8) == (result.exit_code, result.cost["rows"]["ok"], len(stub.calls))


@pytest.mark.parametrize(("kind", "part"), EACH)
def test_a_plan_counts_a_part_and_not_its_bytes(tmp_path: Path, kind: str, part: Mapping[str, Any]) -> None:
    """Inline or by URL, a part is planned at its bound; without a cap and a bound at what is usual."""
    write_chats(tmp_path, part)
    result, _ = run_chats(tmp_path / "usual", input__uri=str(tmp_path / "in.parquet"))
    bound = {f"input__part_tokens__{kind}": BILLED}
    exact, _ = run_chats(tmp_path / "bound", input__uri=str(tmp_path / "in.parquet"), **bound)
    planned = [one.run.read_json("plan.json")["endpoints"]["weak"]["input_tokens"] for one in (result, exact)]  # type: ignore[index]
    usual = {"image": 1_500, "audio": 2_000, "video": 10_000, "file": 20_000}[kind]
    assert usual - BILLED == planned[0] - planned[1]
    assert 8 * 7 < planned[1] - BILLED < 8 * 30


def test_a_cap_that_comes_later_needs_the_bound_too(tmp_path: Path) -> None:
    """An uncapped run's scores stand; capped on its resume, it stops before it calls such a row, and names the key."""
    write_chats(tmp_path, PARTS["image"][0], rows=64)
    with stub_server(interrupting(seeing, 2)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        dead = {**CHATS, "budget__strong_share": 0, "endpoints__weak__limits": {"concurrency": 1}}
        assert 75 == run_job(job_config(tmp_path, **urls, **dead)).exit_code
        stopped = run_job(job_config(tmp_path, **urls, **dead, budget__hard_cap_usd=Decimal(1)))
        assert (5, True) == (stopped.exit_code, "input.part_tokens.image" in " ".join(stopped.lines))
        assert all(len(call.body["messages"][-1]["content"]) == 1 for call in stub.calls)


def test_an_inline_picture_does_not_make_a_prompt_oversized(tmp_path: Path) -> None:
    """``max_prompt_bytes`` is of the text: a picture above it is sent, a text above it is not."""
    write_chats(tmp_path, PARTS["image"][1])
    limit = {"input__max_prompt_bytes": 1_000}
    result, _ = run_chats(tmp_path, **limit)
    assert (8, 0) == (result.cost["rows"]["ok"], result.cost["rows"]["invalid"])
    write_chats(tmp_path, {"type": "text", "text": "x" * 2_000})
    longer, _ = run_chats(tmp_path / "text", input__uri=str(tmp_path / "in.parquet"), **limit)
    assert (7, 1) == (longer.cost["rows"]["ok"], longer.cost["rows"]["invalid"])


def dearer(times: int) -> Any:
    """Return a script that bills so many tokens for each character."""
    return lambda call: Answer(input_tokens=times * len(call.prompt), output_tokens=8)


USD: Mapping[str, Any] = {"budget": {"usd": Decimal("0.06")}}
SHORT: Mapping[str, Any] = {
    f"endpoints__{route}__{key}": value
    for route in ("strong", "weak")
    for key, value in (("params", {"max_completion_tokens": 8}), ("limits", {"concurrency": 4}))
}


def chinese(rows: int) -> list[str]:
    """Return prompts in Chinese, of rising length."""
    return ["请把下面这段客户评论分类并说明理由" * 12 + "好" * n for n in range(rows)]


@pytest.mark.parametrize("times", [1, 3])
def test_a_dollar_budget_holds_in_another_script(tmp_path: Path, times: int) -> None:
    """At a token a character the plan holds; where a provider bills three times that, strong rows go weak."""
    write_prompts(tmp_path / "in.parquet", chinese(120))
    with stub_server(dearer(times)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        result = run_job(job_config(tmp_path, **urls, **SHORT, **USD), page=True)
    moved = [one.moved for one in load_degrades(result.run)]
    assert (0, 120, times > 1) == (result.exit_code, result.cost["rows"]["ok"], sum(moved) > 5)
    assert float(result.cost["spent_usd"]) <= 0.06 * 1.1  # a few shards are in flight at each new cut
    assert times == 1 or "budget.usd of" in " ".join(result.lines)


def test_a_dollar_budget_that_nothing_holds_is_said(tmp_path: Path) -> None:
    """Where even the weak rows cost more, every row is answered, and both sums are on the terminal and on the page."""
    write_prompts(tmp_path / "in.parquet", chinese(120))
    with stub_server(dearer(60)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        result = run_job(job_config(tmp_path, **urls, **SHORT, **USD), page=True)
    assert (0, 120) == (result.exit_code, result.cost["rows"]["ok"])
    page = result.run.store.read("report/report.html").decode()
    for text in (" ".join(result.lines), page):
        assert "above the budget.usd of" in text


def test_stop_moves_no_row_of_a_dollar_budget(tmp_path: Path) -> None:
    """With ``on_overrun: stop`` routes stay as planned, as no cap is passed, and the overrun is said."""
    write_prompts(tmp_path / "in.parquet", chinese(60))
    usd = {"budget": {**USD["budget"], "on_overrun": "stop"}}
    with stub_server(dearer(3)) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        result = run_job(job_config(tmp_path, **urls, **SHORT, **usd))
    plan = result.run.read_json("plan.json")
    assert plan is not None
    assert (0, plan["strong"], []) == (
        result.exit_code,
        len(result.strong_ids()),
        load_degrades(result.run),
    )
    assert "above the budget.usd of" in " ".join(result.lines)
