"""Whole jobs with every router of the table: the same scores in one process and on two, and in an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from distributed.utils import get_mp_context
from helpers.jobs import job_config, run_job, write_prompts
from helpers.routers import router_settings
from helpers.stub import Stub, stub_server

from routellm_batch.evaluation import evaluate
from routellm_batch.routers import ROUTERS

TEXTS = [
    f"Question {n}: " + "why is the sky blue, and the sea? " * (n % 7) + "é😀" * (n % 3) for n in range(30)
]


HEAVY = ("torch", "transformers.modeling_utils", "routellm_batch.routers.bert.router")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two worker processes that every job of this module shares, forks of one that has imported what takes seconds."""
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload(["distributed", *HEAVY])
        forkserver.ensure_running()
        for name in HEAVY:  # meanwhile, as the server is at it
            with suppress(ImportError):
                import_module(name)
        with LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster:
            yield cluster.scheduler_address


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Both models."""
    with stub_server() as server:
        yield server


@pytest.fixture(params=sorted(ROUTERS))
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Return each router in turn, as a config names it."""
    return {"name": request.param, **router_settings(request.param, tmp_path / "weights")}


@pytest.mark.timeout(240)
def test_one_process_and_two_give_equal_scores(
    tmp_path: Path, stub: Stub, address: str, settings: dict[str, Any]
) -> None:
    """A job finishes with each router, its share is exact, and the number of workers changes no score."""
    write_prompts(tmp_path / "in.parquet", TEXTS)
    found = []
    for name, cluster in {"one": {"kind": "serial"}, "two": {"kind": "address", "address": address}}.items():
        ends = {"strong": stub.base_url, "weak": stub.base_url}
        config = job_config(tmp_path, **ends, router=settings, cluster=cluster, run__id=name)
        result = run_job(config)
        assert result.exit_code == 0
        rows = sorted(result.rows, key=lambda row: row["id"])
        assert sum(row["route"] == "strong" for row in rows) == 7  # floor(0.25 · 30)
        found.append(np.array([row["score"] for row in rows]))
    assert np.allclose(found[0], found[1], atol=1e-6, rtol=0)


def test_every_router_is_evaluated(tmp_path: Path, settings: dict[str, Any]) -> None:
    """``evaluate`` takes each router with its checkpoint and options."""
    rng = np.random.default_rng(0)
    columns = {
        "prompt_id": [str(n) for n in range(30)],
        "prompt": TEXTS,
        "strong_score": np.ones(30),
        "weak_score": rng.integers(0, 2, 30).astype(float),
    }
    pq.write_table(pa.table(columns), tmp_path / "outcomes.parquet")
    checkpoint = settings.get("checkpoint")
    spec = f"{settings['name']}:{checkpoint}" if checkpoint else settings["name"]
    result = evaluate(
        [str(tmp_path / "outcomes.parquet")],
        [spec],
        embedder=settings.get("embedder", "static"),
        options=settings.get("options", {}),
        replicates=20,
    )
    assert (30, 1.0) == (result["n"], result["strong"])
    assert 0 <= result["apgr_full"] <= 1.5
