"""Where pilots lie, and which of them a job can take: ``<run.root>/pilots/<run id>/``."""

from __future__ import annotations

from datetime import date

from routellm_batch.config.job import Config, identity
from routellm_batch.storage.pilots import read_success
from routellm_batch.storage.run import digest_of
from routellm_batch.storage.store import FsStore

FOLDER = "pilots"
DECIDES = ("router.", "endpoints.", "input.columns.", "label.", "pilot.grader.", "pilot.rows", "pilot.seed")
"""Keys of the config that a pilot's answers, labels or router depend on; where one differs, so does the pilot."""


def pilot_digest(config: Config) -> str:
    """Return the digest of what a pilot of this job depends on: not the night's input, nor the budget."""
    fields = identity(config)
    return digest_of({key: value for key, value in fields.items() if key.startswith(DECIDES)})


def pilot_uri(config: Config, run_id: str) -> str:
    """Return where the pilot that a run makes by itself lies."""
    root = FsStore(config.run.root).root.rstrip("/")
    return f"{root}/{FOLDER}/{run_id}"


def newest_fresh(config: Config, today: date) -> str | None:
    """Return the newest finished pilot that this job can take, not older than ``pilot.max_age_days``; None without."""
    if config.pilot is None:
        return None
    root, digest = FsStore(config.run.root), pilot_digest(config)
    found: list[tuple[str, str]] = []
    for name in root.folders(FOLDER):
        uri = f"{root.root.rstrip('/')}/{FOLDER}/{name}"
        success = read_success(uri)
        if success is None or success["digest"] != digest:
            continue
        if (today - date.fromisoformat(success["made"])).days <= config.pilot.max_age_days:
            found.append((success["made"], uri))
    return max(found, default=("", None))[1]
