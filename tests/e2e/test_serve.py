"""The whole job against inference servers that nobody here wrote: ``transformers serve``, twice."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

PROMPTS, SHARE, MAX_TOKENS = 24, 0.25, 12
Servers = dict[str, tuple[str, str]]
Run = Callable[[dict[str, Any]], "subprocess.CompletedProcess[str]"]


def _endpoint(url: str, model: str, price: dict[str, float]) -> dict[str, Any]:
    return {
        "kind": "openai",
        "base_url": url,
        "model": model,
        "api_key": "env:E2E_KEY",
        "price": price,
        "params": {"max_tokens": MAX_TOKENS, "temperature": 0},
        "limits": {"concurrency": 4},
        "timeout_s": 60,
    }


def test_servers_answer(inference_servers: Servers) -> None:
    """Both servers answer a plain chat request, counting its tokens."""
    for url, model in inference_servers.values():
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": MAX_TOKENS}
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=60) as response:
            reply = json.load(response)
        assert reply["usage"]["completion_tokens"] <= MAX_TOKENS
        assert isinstance(reply["choices"][0]["message"]["content"], str)


def test_prompts_through_real_servers(
    inference_servers: Servers, run_job: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prompt is answered by the server it was routed to, and the tokens add up to the bill."""
    monkeypatch.setenv("E2E_KEY", "no-secret")
    texts = [f"Say in {n} words what number {n} times {n} is." for n in range(PROMPTS)]
    pq.write_table(pa.table({"id": list(range(PROMPTS)), "prompt": texts}), tmp_path / "prompts.parquet")
    strong, weak = inference_servers["strong"], inference_servers["weak"]
    config = {
        "run": {"id": "e2e", "root": str(tmp_path / "root")},
        "input": {"uri": str(tmp_path / "prompts.parquet"), "columns": {"id": "id", "prompt": "prompt"}},
        "router": {"name": "outcome", "checkpoint": "builtin:outcome-v1", "embedder": {"name": "static"}},
        "budget": {"strong_share": SHARE},
        "endpoints": {
            "strong": _endpoint(*strong, {"input": 2.5, "output": 10}),
            "weak": _endpoint(*weak, {"input": 0.1, "output": 0.4}),
        },
        "cluster": {"kind": "serial"},
    }
    done = run_job(config)
    assert done.returncode == 0, done.stderr

    run = tmp_path / "root" / "runs" / "e2e"
    rows = ds.dataset(run / "responses").to_table().to_pylist()
    assert list(range(PROMPTS)) == sorted(row["id"] for row in rows)
    assert int(PROMPTS * SHARE) == sum(row["route"] == "strong" for row in rows)
    # The server names the model its own way, <folder>@main; what it says is what is recorded.
    expected = {(route, f"{model}@main") for route, (_, model) in inference_servers.items()}
    assert expected == {(row["route"], row["model"]) for row in rows}
    assert {"ok"} == {row["status"] for row in rows}
    assert all(0 < row["output_tokens"] <= MAX_TOKENS for row in rows)

    cost = json.loads((run / "report" / "cost.json").read_text())
    for route, bill in cost["endpoints"].items():
        mine = [row for row in rows if row["route"] == route]
        for name in ("input_tokens", "output_tokens"):
            assert sum(row[name] for row in mine) == bill[name]
