"""What a local Dask worker process does first.

Ctrl-C in a terminal reaches every process of the job. The driver drains; a worker that died of it would take
paid answers with it.
"""

from __future__ import annotations

import signal


def dask_setup(_worker: object) -> None:
    """Leave Ctrl-C to the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
