"""What the fork server imports first; without the server's environment variable it does nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib.machinery import ModuleSpec

from routellm_batch.runtime.fork_server import MAIN


def _begin(facts: str) -> None:
    """Leave Ctrl-C to the driver, and pass for its main module, which no worker then imports again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main, driver = sys.modules["__main__"], json.loads(facts)
    if driver["path"] is not None:
        main.__file__ = driver["path"]
    if driver["name"] is not None:
        main.__spec__ = ModuleSpec(driver["name"], None)


if (_facts := os.environ.pop(MAIN, None)) is not None:
    _begin(_facts)
