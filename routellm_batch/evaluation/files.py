"""An evaluation as files: figures as JSON, curves as Parquet and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from routellm_batch.core.errors import StoreError
from routellm_batch.evaluation.curves import Drawing, curve_table
from routellm_batch.evaluation.render import to_json
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import to_parquet


def write_files(out: str, found: Mapping[str, Any], drawings: Sequence[Drawing]) -> None:
    """Write ``result.json``, ``curves.parquet``, ``curve.svg`` and ``curve.png``; those there are replaced.

    Raises:
        StoreError: the folder can't be written.

    """
    from routellm_batch.evaluation.plot import plot  # matplotlib takes half a second to import

    store = FsStore(out)
    files = {
        "result.json": (to_json(found) + "\n").encode("utf-8"),
        "curves.parquet": to_parquet(curve_table(drawings)),
        **plot(drawings),
    }
    try:
        for name, data in files.items():
            store.replace(name, data)
    except OSError as error:
        raise StoreError(f"{out}: can't be written ({type(error).__name__})") from None
