"""Fake endpoints as processes: quick to start, told apart, and gone when they should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.patience import patience

from routellm_batch.core.errors import InputError
from routellm_batch.endpoints.simulator.process import start_server
from routellm_batch.endpoints.simulator.spec import Faults, ReferenceSpec, ReplaySpec, SimulateSpec


def _chat(base_url: str, prompt: str, model: str = "m", timeout_s: float = 20) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "X-Request-Key": prompt, "X-Attempt": "1"},
    )
    with urllib.request.urlopen(request, timeout=patience(timeout_s)) as reply:
        return json.loads(reply.read())


def _alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _gone(pid: int, within_s: float = 10) -> bool:
    until = time.monotonic() + patience(within_s)
    while time.monotonic() < until:
        if not _alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_handle_serves_and_stops() -> None:
    """A handle's server answers on loopback while it is open and is gone when it is closed."""
    with start_server(SimulateSpec(reference=ReferenceSpec(), skill=1.0)) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert _chat(server.base_url, "Hello")["object"] == "chat.completion"
    assert server.process.returncode == 0


def test_servers_start_side_by_side() -> None:
    """Several started at once get ports of their own and answer by their own specs."""
    specs = [SimulateSpec(seed=seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        servers = list(pool.map(start_server, specs))
    try:
        replies = [_chat(server.base_url, "Same prompt")["usage"]["completion_tokens"] for server in servers]
    finally:
        for server in servers:
            server.close()
    assert (len({server.base_url for server in servers}), len(set(replies))) == (3, 3)


def test_close_does_not_wait_for_hanging_requests(tmp_path: Path) -> None:
    """Closing a server ends it at once, and what was in progress is in its log."""
    log = tmp_path / "log.jsonl"
    server = start_server(SimulateSpec(faults=Faults(hang=1.0), log=str(log)))
    with pytest.raises(TimeoutError):
        _chat(server.base_url, "x", timeout_s=0.3)
    start = time.monotonic()
    server.close()
    assert (True, 0) == (time.monotonic() - start < patience(4), server.process.returncode)
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [499]


def test_server_ends_with_its_parent() -> None:
    """A parent that is killed leaves no server behind."""
    code = (
        "from routellm_batch.endpoints.simulator.process import start_server\n"
        "from routellm_batch.endpoints.simulator.spec import SimulateSpec\n"
        "import sys\n"
        "server = start_server(SimulateSpec())\n"
        "print(server.process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _alive(pid)
        parent.kill()
    assert _gone(pid)


def test_killed_server_keeps_its_log(tmp_path: Path) -> None:
    """Every reply that a client has read is in the log, though the server was killed right after it."""
    log = tmp_path / "log.jsonl"
    server = start_server(SimulateSpec(log=str(log)))
    for n in range(20):
        _chat(server.base_url, f"Prompt {n}")
    server.process.kill()
    server.close()
    keys = [json.loads(line)["request_key"] for line in log.read_text().splitlines()]
    assert keys == [f"Prompt {n}" for n in range(20)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ReplaySpec(uri="none.parquet"), "none.parquet: no such file"),
        (SimulateSpec(reference=ReferenceSpec("none.parquet")), "none.parquet: no such file"),
        (SimulateSpec(log="/"), "log: "),
    ],
)
def test_server_that_cannot_start_says_why(spec: SimulateSpec | ReplaySpec, words: str) -> None:
    """A spec that cannot be served raises in the parent, in the words of the child."""
    with pytest.raises(InputError) as caught:
        start_server(spec)
    assert words in str(caught.value)


def test_taken_port_is_named() -> None:
    """A port that somebody else listens on is an input error that names it."""
    with start_server(SimulateSpec()) as first:
        port = int(first.base_url.split(":")[2].split("/")[0])
        with pytest.raises(InputError) as caught:
            start_server(SimulateSpec(port=port))
    assert f"port: 127.0.0.1:{port}" in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_blocking_server_prints_its_url_and_stops_by_signal(number: signal.Signals) -> None:
    """``serve`` prints one line, its base URL, answers, and ends cleanly by SIGINT or SIGTERM."""
    code = (
        "from routellm_batch.endpoints.simulator.serve import serve\n"
        "from routellm_batch.endpoints.simulator.spec import SimulateSpec\n"
        "serve(SimulateSpec())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    object_name = _chat(url, "Hello")["object"]
    os.kill(process.pid, number)
    rest, errors = process.communicate(timeout=patience(20))
    assert (object_name, process.returncode, rest, errors) == ("chat.completion", 0, "", "")
