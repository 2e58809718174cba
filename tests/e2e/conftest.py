"""Real parts, started once a session: Ceph's S3 gateway, two inference servers, a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from e2e import ceph
from e2e.browser import Chromium
from e2e.processes import free_port, http_status, running, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
RUN_TIMEOUT_S = 240
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, and give it the time that servers need to start."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(RUN_TIMEOUT_S * 2))


@pytest.fixture(scope="session")
def command() -> Command:
    """Return the installed command as a function: ``command("run", path, cwd=folder)``."""

    def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        line = [BIN / "routellm-batch", *words]
        return subprocess.run(
            line, cwd=cwd, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )

    return run


@pytest.fixture
def run_job(
    command: Command, tmp_path: Path
) -> Callable[[Mapping[str, Any]], subprocess.CompletedProcess[str]]:
    """``run_job(config)``: write the config to a file and run it with ``routellm-batch run``."""

    def run(config: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        return command("run", path, cwd=tmp_path)

    return run


@pytest.fixture(scope="session")
def gateway(require: Callable[[object, str], None]) -> Iterator[str]:
    """Run Ceph's object gateway; return its base URL."""
    absent = [name for name in ceph.PROGRAMS if shutil.which(name) is None]
    require(not absent, f"Ceph's {', '.join(absent)} not installed (infra/ci-setup)")
    with tempfile.TemporaryDirectory(prefix="rgw-") as folder, ExitStack() as stack:
        yield ceph.start_gateway(Path(folder), stack)


@pytest.fixture(scope="session")
def inference_servers(
    require: Callable[[object, str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, str]]]:
    """Run ``transformers serve`` twice; return route → (base URL, model name to ask for)."""
    require(find_spec("torch") and find_spec("transformers"), "torch and transformers not installed ([e2e])")
    root = tmp_path_factory.mktemp("models")
    env = {**os.environ, "HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    (root / "home" / "hub").mkdir(parents=True)
    models = {route: root / route for route in ("strong", "weak")}
    make = [sys.executable, HERE / "tiny_llama.py", *models.values()]
    subprocess.run(make, env=env, capture_output=True, timeout=120, check=True)
    servers: dict[str, tuple[str, str]] = {}
    started: list[tuple[str, subprocess.Popen[bytes]]] = []
    with ExitStack() as stack:
        for route, model in models.items():
            port = free_port()
            address = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
            line = [BIN / "transformers", "serve", model, *address]
            process = stack.enter_context(running(line, root / f"{route}.log", env))
            started.append((f"http://127.0.0.1:{port}/health", process))
            servers[route] = (f"http://127.0.0.1:{port}/v1", str(model))
        for health, process in started:
            wait_until(lambda url=health: http_status(url) == 200, "transformers serve", process, 120)
        yield servers


@pytest.fixture(scope="session")
def chromium(require: Callable[[object, str], None]) -> Iterator[Chromium]:
    """Start a headless Chromium."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    require(path and find_spec("playwright"), "chromium or playwright not installed (infra/ci-setup, [e2e])")
    with Chromium(str(path)) as browser:
        yield browser


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def strict_page(
    chromium: Chromium, request: pytest.FixtureRequest
) -> Callable[[Path], AbstractContextManager[Page]]:
    """Open a file at both widths; fail on a console error, a remote request or sideways scrolling."""
    return lambda path: chromium.open(path, request.param)
