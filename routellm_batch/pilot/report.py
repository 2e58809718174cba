"""What a pilot leaves for people to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from routellm_batch.pilot.fit import Fitted
from routellm_batch.storage.pilots import read_success
from routellm_batch.storage.run import to_json
from routellm_batch.storage.store import FsStore

REPORT = "report/pilot.json"


def write_report(store: FsStore, stated: Mapping[str, Any], outcomes: pa.Table, fitted: Fitted) -> None:
    """Write the pilot's report."""
    del outcomes, fitted
    store.replace(REPORT, to_json(dict(stated)))


def closing_lines(uri: str) -> Sequence[str]:
    """Return how a pilot ended, in words."""
    success = read_success(uri) or {}
    return [
        f"{success['labelled']:,} of {success['rows']:,} sampled prompts have both grades; ${success['spent_usd']} spent.",
        str(success["reason"]),
        f"Pilot: {uri}",
    ]
