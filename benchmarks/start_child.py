"""One start, measured from inside: ``plan|run CONFIG [KEY=VALUE …]`` to its first row, or a ``cluster [task]``."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import NoReturn

import psutil


def _tell() -> NoReturn:
    """Print the seconds since this process was started, and end it and what it started."""
    seconds = time.time() - psutil.Process().create_time()
    sys.stdout.write(json.dumps({"seconds": seconds, "modules": len(sys.modules)}) + "\n")
    sys.stdout.flush()
    for child in psutil.Process().children(recursive=True):
        child.terminate()
    os._exit(0)


def _first_row() -> None:
    from routellm_batch.cli.app import app
    from routellm_batch.routers.outcome.router import OutcomeRouter  # the run needs it all the same

    OutcomeRouter.score = lambda *_: _tell()  # type: ignore[method-assign]
    app()


def _cluster(*, task: bool) -> None:
    from routellm_batch.config.cluster import ClusterConfig
    from routellm_batch.runtime import open_runner

    runner = open_runner(ClusterConfig(kind="local", workers=2), lambda _event: None, "start")
    if task:
        for number in range(2):
            runner.submit(time.sleep, 0.001 * number)
        done = 0
        while done < 2:
            done += len(runner.wait(0.5))
    _tell()


if __name__ == "__main__":
    if sys.argv[1] == "cluster":
        _cluster(task="task" in sys.argv)
    else:
        _first_row()
