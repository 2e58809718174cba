"""What a local Dask worker process does first.

Ctrl-C in a terminal reaches every process of the job. The driver drains; a worker that died of it would take
paid answers with it.
"""

from __future__ import annotations

import logging
import signal

from routellm_batch.core.logs import install_redaction


def dask_setup(_worker: object) -> None:
    """Leave Ctrl-C to the driver, and keep keys and data out of the worker's log from its first line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    install_redaction()
    # What a task raises is reported by the driver, once and without a traceback.
    logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
