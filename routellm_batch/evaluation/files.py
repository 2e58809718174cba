"""An evaluation as files: figures as JSON, curves as Parquet and drawn."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from routellm_batch.core.errors import StoreError
from routellm_batch.evaluation.curves import Drawing
from routellm_batch.evaluation.frames import curve_table
from routellm_batch.evaluation.plot_svg import plot_svg
from routellm_batch.evaluation.render import to_json
from routellm_batch.storage.store import FsStore
from routellm_batch.storage.tables import to_parquet

log = logging.getLogger(__name__)

PNG = "curve.png"
NO_PNG = (
    "curve.png was not drawn, as matplotlib is not installed; to get it: pip install 'routellm-batch[plot]'"
)


def write_files(out: str, result: Mapping[str, Any], drawings: Sequence[Drawing]) -> None:
    """Write ``result.json``, ``curves.parquet``, ``curve.svg`` and ``curve.png``; existing ones are replaced.

    Without matplotlib (the extra ``plot``) there is no PNG, and a warning says how to get it.

    Raises:
        StoreError: the folder can't be written.

    """
    store = FsStore(out)
    files = {
        "result.json": (to_json(result) + "\n").encode("utf-8"),
        "curves.parquet": to_parquet(curve_table(drawings)),
        "curve.svg": plot_svg(drawings),
    }
    if find_spec("matplotlib") is not None:
        from routellm_batch.evaluation.plot_png import plot_png

        files[PNG] = plot_png(drawings)
    try:
        for name, data in files.items():
            store.replace(name, data)
        stale = PNG not in files and store.exists(PNG)
    except OSError as error:
        raise StoreError(f"{out}: can't be written ({type(error).__name__})") from None
    if PNG not in files:
        log.warning("%s%s", NO_PNG, "; the one in the folder is of an earlier evaluation" if stale else "")
