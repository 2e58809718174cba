"""Workers are forked from a server that imports neither the driver's script nor changes the driver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from routellm_batch.runtime.fork_server import start_fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")

SCRIPT = """
import os
from pathlib import Path
from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.runtime import open_runner

with Path("imports").open("a") as file:
    file.write(f"{__name__}\\n")


if __name__ == "__main__":
    os.environ["SET_LATE"] = "yes"
    runner = open_runner(ClusterConfig(kind="local", workers=2), print, "token")
    runner.submit(os.getenv, "SET_LATE")
    print([done.receipt for done in runner.wait(30)])
    runner.close()
"""


def test_workers_do_not_import_the_drivers_script(tmp_path: Path) -> None:
    """The script that opens a cluster is run once, by the driver; its workers have its environment all the same."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (0, "['yes']\n") == (done.returncode, done.stdout), done.stderr
    assert "__main__\n" == (tmp_path / "imports").read_text()


def test_starting_the_server_leaves_the_environment_as_it_was() -> None:
    """What the server alone is to see is gone once it is started; a second start changes nothing."""
    before = dict(os.environ)
    methods = [start_fork_server(), start_fork_server()]
    assert (before, ["forkserver"] * 2) == (dict(os.environ), methods)


def test_without_room_for_a_socket_workers_are_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server can't be started, each worker starts by itself."""

    def fails() -> None:
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", fails)
    assert "spawn" == start_fork_server()
