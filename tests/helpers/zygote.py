"""Starts of a job that are killed at a point of their work, each a fork of one process that has all imported.

Run as ``python -m helpers.zygote``. Each line of standard input is an order, a JSON object: ``config`` (the job's
file), ``trace`` (where its operations are noted), ``said`` (where its output goes), ``at`` (the point where it is
killed, or null). The reply is a line with the exit code of that start, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

from helpers.door import Door
from helpers.jobs import no_page, quick_waits, settings_of_this_worker

from routellm_batch.config.job import load_config
from routellm_batch.core.errors import RoutellmBatchError
from routellm_batch.endpoints.tls import trusted
from routellm_batch.pipeline.jobs import run_job

HANGS_S = 60
"""A start that takes longer is ended by SIGALRM."""
IMPORTED_LATE = ("httpcore2", "pandas", "routellm_batch.endpoints.client", "routellm_batch.routers.length")
"""What a start would import while it runs; nine tenths of its time."""
SMALL = {"intent_rows": 2, "micro_batch": 2}
"""A few calls make several intents and results objects."""


def main() -> None:
    """Fork a start for each order, until standard input ends."""
    for name in IMPORTED_LATE:
        import_module(name)
    trusted(None)
    for line in sys.stdin:
        assert threading.active_count() == 1, "a lock that another thread holds would stay locked in the fork"
        pid = os.fork()
        if pid == 0:
            be_a_start(json.loads(line))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def be_a_start(order: Mapping[str, Any]) -> NoReturn:
    """Run the job to its end, or to the point where this process is killed."""
    signal.alarm(HANGS_S)
    said = os.open(order["said"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    code = 70
    try:
        with ExitStack() as stack:
            stack.enter_context(quick_waits())
            stack.enter_context(settings_of_this_worker(**SMALL))
            stack.enter_context(no_page())
            stack.enter_context(patch("os.fsync"))  # what is written outlives its process without a sync too
            Door(Path(order["trace"]), order["at"]).open()
            code = run_job(load_config(Path(order["config"]), ()), lambda _: None).exit_code
    except RoutellmBatchError as error:
        sys.stderr.write(f"error: {error}\n")
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - this process must not go on as its parent would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
