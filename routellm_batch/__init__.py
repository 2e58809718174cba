"""Budget-routed batch inference: text → score → route → answer → bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["__version__", "read_responses"]

__version__ = "0.1.0"


def read_responses(run_uri: str) -> pa.Table:
    """Return the responses of a run as one table: every valid row once, its newest revision, in input order.

    Of a run that is not finished, the rows that are written so far. ``docs/contract.md`` lists the columns.

    Args:
        run_uri: folder of the run, a path or a URI of any store.

    Raises:
        routellm_batch.core.errors.DataError: there is no run in the folder, or it has no responses yet.
        routellm_batch.core.errors.StoreError: the store can't be read.

    """
    from routellm_batch.storage.responses import (
        run_responses,
    )  # late, so that the import of the package stays light

    return run_responses(run_uri)
