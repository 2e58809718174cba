"""The whole job with input and output on a real S3 store, on two Dask worker processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import fresh_bucket
from e2e import ceph
from e2e.conftest import BIN, RUN_TIMEOUT_S
from e2e.processes import wait_until

SHARE = Decimal("0.26")
Run = Callable[[dict[str, Any]], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ceph_bucket(gateway: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a fresh bucket on Ceph, reached as a user would: by the AWS_* variables."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ceph.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ceph.SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield from fresh_bucket()


def _fs() -> Any:
    from s3fs import S3FileSystem

    return S3FileSystem(skip_instance_cache=True, use_listings_cache=False)


def _config(bucket: str, logs: Path) -> dict[str, Any]:
    def simulated(name: str, price: dict[str, float]) -> dict[str, Any]:
        log = str(logs / f"{name}.jsonl")
        return {
            "kind": "simulated",
            "model": name,
            "price": price,
            "params": {"max_completion_tokens": 64},
            "limits": {"concurrency": 16},
            "simulate": {"latency_ms": 5, "faults": {"rate_limit": 0.02, "server_error": 0.01}, "log": log},
        }

    return {
        "run": {"id": "e2e", "root": f"{bucket}/routellm"},
        "input": {
            "uri": f"{bucket}/prompts/",
            "columns": {"id": "id", "prompt": "prompt"},
            "shard_rows": 100,
        },
        "router": {"name": "outcome", "checkpoint": "builtin:outcome-v1", "embedder": {"name": "static"}},
        "budget": {"strong_share": float(SHARE)},
        "endpoints": {
            "strong": simulated("strong", {"input": 2.5, "output": 10}),
            "weak": simulated("weak", {"input": 0.1, "output": 0.4}),
        },
        "cluster": {"kind": "local", "workers": 2},
    }


def _log(logs: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for log in sorted(logs.glob("*.jsonl")) for line in log.read_text().splitlines()]


def test_store_keeps_exclusive_creates(ceph_bucket: str) -> None:
    """The store under test is real: it stores, lists, and refuses a second writer of the same key."""
    fs = _fs()
    fs.pipe_file(f"{ceph_bucket}/folder/key", b"first", mode="create")
    with pytest.raises(OSError, match=r".") as refused:
        fs.pipe_file(f"{ceph_bucket}/folder/key", b"second", mode="create")
    cause = refused.value.__cause__
    status = getattr(cause, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
    assert isinstance(refused.value, FileExistsError) or status in (409, 412)
    assert fs.cat(f"{ceph_bucket}/folder/key") == b"first"
    assert [f"{ceph_bucket.removeprefix('s3://')}/folder/key"] == fs.find(ceph_bucket)


def test_bundled_prompts_on_ceph(ceph_bucket: str, run_job: Run, repo: Path, tmp_path: Path) -> None:
    """Every id is answered once, exactly floor(N·share) strong; the same command again calls nothing."""
    prompts = repo / "routellm_batch" / "examples" / "prompts.parquet"
    ids = pq.read_table(prompts, columns=["id"])["id"].to_pylist()
    fs = _fs()
    fs.put_file(str(prompts), f"{ceph_bucket}/prompts/prompts.parquet")

    config = _config(ceph_bucket, tmp_path)
    done = run_job(config)
    assert done.returncode == 0, done.stderr
    run = f"{ceph_bucket.removeprefix('s3://')}/routellm/runs/e2e"
    rows = ds.dataset(f"{run}/responses", filesystem=fs).to_table().to_pylist()
    assert sorted(ids) == sorted(row["id"] for row in rows)
    assert int(len(ids) * SHARE) == sum(row["route"] == "strong" for row in rows)
    assert {"ok"} == {row["status"] for row in rows}

    cost = json.loads(fs.cat(f"{run}/report/cost.json"))
    rows_told = {name: cost["rows"][name] for name in ("valid", "invalid", "ok", "failed", "unfunded")}
    assert {"valid": len(ids), "invalid": 0, "ok": len(ids), "failed": 0, "unfunded": 0} == rows_told
    assert Decimal(cost["spent_usd"]) == sum(row["cost_usd"] for row in rows)
    log = _log(tmp_path)
    answered = [line for line in log if line["status"] == 200]
    assert Decimal(cost["spent_usd"]) == sum(Decimal(str(line["usd"])) for line in answered)
    keys = [line["request_key"] for line in answered]
    assert len(set(keys)) == len(keys) == sum(cost["endpoints"][r]["calls"] for r in ("strong", "weak"))

    before = fs.find(run, detail=True)
    again = run_job(config)
    assert again.returncode == 0, again.stderr
    assert log == _log(tmp_path)
    after = fs.find(run, detail=True)
    changed = [
        key for key in before | after if before.get(key, {}).get("ETag") != after.get(key, {}).get("ETag")
    ]
    assert [key for key in changed if not key.startswith(f"{run}/report/")] == []


def _markers(fs: Any, run: str) -> int:
    return len(fs.find(f"{run}/commit/call"))


def test_killed_mmlu_run_is_finished_by_the_same_command(
    ceph_bucket: str, shared: Callable[[str], Path], run_job: Run, tmp_path: Path
) -> None:
    """All 14,042 MMLU prompts, killed with SIGKILL in the middle: the rerun ends with each id exactly once."""
    prompts = shared("data/outcomes_mmlu_gpt4-1106_vs_mixtral.parquet")
    ids = pq.read_table(prompts, columns=["prompt_id"])["prompt_id"].to_pylist()
    fs = _fs()
    fs.put_file(str(prompts), f"{ceph_bucket}/prompts/mmlu.parquet")
    config = _config(ceph_bucket, tmp_path)
    config["input"] |= {"columns": {"id": "prompt_id", "prompt": "prompt"}, "shard_rows": 1024}
    config["router"] = {"name": "length"}
    run = f"{ceph_bucket.removeprefix('s3://')}/routellm/runs/e2e"

    path = tmp_path / "killed.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    first = subprocess.Popen([BIN / "routellm-batch", "run", path], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _markers(fs, run) >= 4, "four shards answered", first, RUN_TIMEOUT_S)
    finally:
        first.kill()
        first.wait()
    assert _markers(fs, run) < 14
    calls_before = len(_log(tmp_path))

    done = run_job(config)
    assert done.returncode == 0, done.stderr
    rows = ds.dataset(f"{run}/responses", filesystem=fs).to_table(columns=["id", "route"]).to_pylist()
    assert sorted(ids) == sorted(row["id"] for row in rows)
    assert int(len(ids) * SHARE) == sum(row["route"] == "strong" for row in rows)
    cost = json.loads(fs.cat(f"{run}/report/cost.json"))
    paid_twice = _paid_twice(_log(tmp_path))
    assert 0 < calls_before
    assert paid_twice <= 2 * 2 * 2 * (
        16 + 64
    )  # workers × shards at once × endpoints × (in flight + micro-batch)
    assert Decimal(cost["presumed_usd"]) > 0


def _paid_twice(log: list[dict[str, Any]]) -> int:
    keys = [line["request_key"] for line in log if line["status"] == 200]
    return len(keys) - len(set(keys))
