"""The container files, as far as they can be tried without a container engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from e2e.processes import free_port, http_status, running, wait_until

BIN = Path(sys.executable).parent
PORTS = ("5000", "8101", "8102", "8786")
DAEMONS = ("scheduler", "store", "strong", "weak", "worker-1", "worker-2")


def _tool(name: str, require: Callable[[object, str], None]) -> Path:
    path = BIN / name
    require(path.exists(), f"{name} not installed ([e2e])")
    return path


def test_dockerfile_pleases_hadolint(require: Callable[[object, str], None], repo: Path) -> None:
    """Hadolint has nothing to say about the Dockerfile."""
    command = [_tool("hadolint", require), "--no-color", repo / "infra" / "Dockerfile"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""


def test_compose_file_fits_its_schema(require: Callable[[object, str], None], repo: Path) -> None:
    """The file holds to the Compose specification's schema, which knows every key."""
    tool = _tool("check-jsonschema", require)
    command = [tool, "--builtin-schema", "vendor.compose-spec", repo / "infra" / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


class Composed:
    """The services' commands, started here on other ports: they share one loopback in compose.yaml, too."""

    def __init__(self, infra: Path, folder: Path) -> None:
        text = (infra / "compose.yaml").read_text(encoding="utf-8")
        job = (infra / "compose-job.yaml").read_text(encoding="utf-8")
        self.ports = {port: str(free_port()) for port in PORTS}
        for old, new in self.ports.items():
            text, job = text.replace(old, new), job.replace(old, new)
        self._services: Mapping[str, dict[str, Any]] = yaml.safe_load(text)["services"]
        self._folder = folder
        self._job = folder / "job.yaml"
        self._job.write_text(job, encoding="utf-8")

    def env(self, name: str) -> dict[str, str]:
        """Return a service's environment on top of this one's."""
        return {
            **os.environ,
            **self._services[name]["environment"],
            "DASK_TEMPORARY_DIRECTORY": str(self._folder),
        }

    def command(self, name: str) -> list[str]:
        """Return a service's command, with this environment's programs and this folder's files."""
        program, *words = self._services[name]["entrypoint"]
        places = {"/tmp": str(self._folder), "/job.yaml": str(self._job), "0.0.0.0": "127.0.0.1"}
        return [str(BIN / program), *(places.get(word, word) for word in words)]

    def store_answers(self) -> bool:
        """Say whether the store is up, as its health check does."""
        return http_status(f"http://127.0.0.1:{self.ports['5000']}/moto-api/") == 200

    def run(self, name: str) -> None:
        """Run a service that ends."""
        done = subprocess.run(
            self.command(name),
            env=self.env(name),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def composed(repo: Path, tmp_path: Path) -> Iterator[Composed]:
    """Start every service that `docker compose up` starts."""
    services = Composed(repo / "infra", tmp_path)
    with ExitStack() as stack:
        for name in DAEMONS:
            log = tmp_path / f"{name}.log"
            process = stack.enter_context(running(services.command(name), log, services.env(name)))
            if name == "store":
                wait_until(services.store_answers, name, process, 60)
        services.run("prompts")
        yield services


def test_composed_job_runs(composed: Composed, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduler, workers, models and store, started by the file's own commands, do the file's own job."""
    from s3fs import S3FileSystem

    composed.run("job")
    for name, value in composed.env("job").items():
        monkeypatch.setenv(name, value)
    fs = S3FileSystem(skip_instance_cache=True)
    (cost,) = fs.glob("demo/routellm/runs/*/report/cost.json")
    rows = pq.read_metadata(repo / "routellm_batch" / "examples" / "prompts.parquet").num_rows
    assert {"valid": rows, "ok": rows}.items() <= json.loads(fs.cat(cost))["rows"].items()
