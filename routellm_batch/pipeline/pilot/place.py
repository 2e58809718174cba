"""The folders of pilots, ``<run.root>/pilots/<run id>/``, and which of them a job can take."""

from __future__ import annotations

from datetime import date

from routellm_batch.config.identity import identity
from routellm_batch.config.job import Config
from routellm_batch.storage.pilots import read_success
from routellm_batch.storage.run import digest_of
from routellm_batch.storage.store import FsStore

FOLDER = "pilots"
DECIDES = ("router.", "endpoints.", "input.columns.", "label.", "pilot.grader.", "pilot.rows", "pilot.seed")
"""Keys of the config that a pilot's answers, labels or router depend on; jobs that differ in one need different pilots."""


def pilot_digest(config: Config) -> str:
    """Return the digest of what a pilot of this job depends on, which is neither its rows nor its budget."""
    # The key is no part of a run's identity any more; it stays in this digest, as pilots are stored with it.
    keys = {f"endpoints.{name}.api_key": one.api_key for name, one in config.endpoints.named().items()}
    fields = {**identity(config), **keys}
    return digest_of({key: value for key, value in fields.items() if key.startswith(DECIDES)})


def pilot_uri(root: str, run_id: str) -> str:
    """Return the folder of the pilot that a run makes, below ``run.root``."""
    return f"{FsStore(root).root.rstrip('/')}/{FOLDER}/{run_id}"


def newest_fresh(root: str, digest: str, max_age_days: float, today: date) -> str | None:
    """Return the URI of the newest finished pilot that a job can take; None where there is none.

    Args:
        root: ``run.root``.
        digest: what the job's pilots depend on, as ``pilot_digest``.
        max_age_days: the age of an older pilot is too high.
        today: UTC date.

    """
    fresh: list[tuple[str, str]] = []
    for name in FsStore(root).folders(FOLDER):
        uri = pilot_uri(root, name)
        success = read_success(uri)
        if success is None or success["digest"] != digest:
            continue
        if (today - date.fromisoformat(success["made"])).days <= max_age_days:
            fresh.append((success["made"], uri))
    return max(fresh, default=("", None))[1]
