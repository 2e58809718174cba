"""A run on storage: its folder, its manifest ``run.json``, and the markers of its committed shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

from routellm_batch.config.identity import identity, without_models
from routellm_batch.config.job import Config, RunConfig, input_reads
from routellm_batch.core.encoding import to_json
from routellm_batch.core.errors import DataError, StoreError
from routellm_batch.core.types import InputFile, Shard
from routellm_batch.storage.changes import MANIFEST, check_change, current
from routellm_batch.storage.inputs import find_files, pin_files, shards_of
from routellm_batch.storage.store import FsStore, absolute, read_json

SUCCESS = "_SUCCESS"


def digest_of(fields: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a run's identity, in hexadecimal."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """One run folder, opened."""

    store: FsStore
    """Rooted at the run folder."""
    id: str
    """Name of the folder."""
    files: tuple[InputFile, ...]
    """The input, as it was pinned when the run began."""
    shard_rows: int
    """Rows in a shard, at most."""
    seed: int
    """Of the tie hash."""

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the address alone; the other process reads the manifest itself, once."""
        return (_reopen, (self.store.root, self.store.single_writer, self._pins))

    @cached_property
    def _pins(self) -> str:
        """Digest of the pinned input: a run that was removed and begun again in the same folder is another run."""
        return hashlib.sha256(repr(self.files).encode()).hexdigest()

    @cached_property
    def shards(self) -> Sequence[Shard]:
        """Every shard, in order; a fixed function of the manifest."""
        return shards_of(self.files, self.shard_rows)

    @property
    def uri(self) -> str:
        """Full URI of the run folder."""
        return self.store.root

    def committed(self, stage: str) -> set[str]:
        """Return the names of a stage's committed shards, each with its revision."""
        folder = f"commit/{stage}"
        return {o.path.removeprefix(f"{folder}/").removesuffix(".json") for o in self.store.list(folder)}

    def commit(self, stage: str, name: str, receipt: Mapping[str, Any]) -> bool:
        """Write a shard's marker, after its output; False where another start's marker came first."""
        return self.store.create(f"commit/{stage}/{name}.json", to_json(receipt))

    def marker(self, stage: str, name: str) -> dict[str, Any]:
        """Return a shard's marker.

        Raises:
            FileNotFoundError: the shard is not committed.

        """
        return dict(json.loads(self.store.read(f"commit/{stage}/{name}.json")))

    def read_json(self, path: str) -> dict[str, Any] | None:
        """Return a JSON object of the run, or None where there is none."""
        return read_json(self.store, path)


def open_run(
    config: Config,
    *,
    today: str,
    retry_failed: bool = False,
    check: Callable[[Sequence[InputFile]], None] | None = None,
) -> Run:
    """Begin a run, or open the one that the same command began before.

    ``{date}`` in the id is ``run.date`` or else ``today``, unless the newest run of this id template and config is
    unfinished, or its failed rows are to be called again: then that run is opened.

    Args:
        config: the job.
        today: UTC date, YYYY-MM-DD.
        retry_failed: whether a finished run's failed rows are to be called again.
        check: takes the input of a run that is about to begin and raises what it refuses; nothing is written then.

    Raises:
        RunMismatchError: the run was begun with another config; the text lists the fields that differ. An endpoint
            that has answered nothing yet may have another URL, model or params (``storage/changes.py``).
        DataError: the input is unusable, or changed since the run began.
        StoreError: the store can't be written, or does not keep exclusive creates apart.

    """
    fields = identity(config)
    root = FsStore(config.run.root, single_writer=config.run.single_writer)
    run_id = _choose_id(root, config.run, fields, today, retry_failed=retry_failed)
    store = FsStore(f"{root.root.rstrip('/')}/runs/{run_id}", single_writer=config.run.single_writer)
    manifest = _read_manifest(store)
    files = tuple(pin_files(find_files(config.input.uri), config.input, input_reads(config)))
    if manifest is None:
        if check is not None:
            check(files)
        _check_store(store, single_writer=config.run.single_writer)
        fresh = {
            "format": 1,
            "id": run_id,
            "template": config.run.id,
            "digest": digest_of(fields),
            "config": fields,
            "job": config.model_dump(mode="json", by_alias=True, exclude_none=True),
            "files": [asdict(file) for file in files],
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if not store.create(MANIFEST, to_json(fresh)):
            manifest = _read_manifest(store)
    if manifest is not None:
        check_change(store, current(store, manifest), fields)
        _check_files(manifest, files)
        return _from_manifest(store, manifest)  # with the types that it was begun with
    return Run(store, run_id, files, config.input.shard_rows, config.run.seed)


def open_existing(uri: str) -> tuple[Run, dict[str, Any]]:
    """Return the run in a folder, and its manifest as it holds now; the run's input is neither read nor checked.

    Raises:
        DataError: there is no run in the folder.
        StoreError: the store can't be read.

    """
    store = FsStore(absolute(uri).rstrip("/"))
    manifest = _read_manifest(store)
    if manifest is None:
        names = store.folders("runs")
        these = f"; below it lie the runs {', '.join(f'runs/{name}' for name in names[-3:])}" if names else ""
        raise DataError(f"no run is there (no run.json){these}", file=uri)
    return _from_manifest(store, manifest), current(store, manifest)


def newest_run(config: Config) -> str:
    """Return the folder of the newest run of a config, finished or not.

    Raises:
        DataError: there is none.
        StoreError: the store can't be read.

    """
    root = FsStore(config.run.root)
    today = datetime.now(UTC).date().isoformat()
    run_id = _choose_id(root, config.run, identity(config), today, retry_failed=True)
    if not root.exists(f"runs/{run_id}/{MANIFEST}"):
        raise DataError(
            f"there is no run {run_id} of this config; run it first, or give the folder of a run",
            file=root.uri("runs"),
        )
    return root.uri(f"runs/{run_id}")


def _from_manifest(store: FsStore, manifest: Mapping[str, Any]) -> Run:
    files = tuple(InputFile(**{**f, "row_groups": tuple(f["row_groups"])}) for f in manifest["files"])
    config = manifest["config"]
    return Run(store, manifest["id"], files, config["input.shard_rows"], config["run.seed"])


@lru_cache(maxsize=8)
def _reopen(root: str, single_writer: bool, pins: str) -> Run:  # noqa: ARG001, FBT001 - as pickle calls it
    store = FsStore(root, single_writer=single_writer)
    return _from_manifest(store, json.loads(store.read(MANIFEST)))


def _read_manifest(store: FsStore) -> dict[str, Any] | None:
    try:
        return read_json(store, MANIFEST)
    except OSError as error:
        reason = type(error).__name__
        raise StoreError(
            f"{store.root}: can't be read ({reason}); check the path and the credentials"
        ) from None


def _choose_id(
    root: FsStore, run: RunConfig, fields: Mapping[str, Any], today: str, *, retry_failed: bool
) -> str:
    template = run.id
    fresh = template.replace("{date}", run.date or today)
    if "{date}" not in template or run.date is not None:
        return fresh
    before, _, after = template.partition("{date}")
    sought = without_models(fields)
    same = [
        manifest
        for name in root.folders("runs")
        if name.startswith(before) and name.endswith(after)
        if (manifest := _read_manifest(FsStore(f"{root.root}/runs/{name}"))) is not None
        if manifest["template"] == template and without_models(manifest["config"]) == sought
    ]
    newest = max(same, key=lambda manifest: str(manifest["id"]), default=None)
    if newest is None:
        return fresh
    # Rows are called again in a finished run; otherwise only an unfinished one is resumed.
    finished = root.exists(f"runs/{newest['id']}/{SUCCESS}")
    return fresh if finished and not retry_failed else str(newest["id"])


def _check_store(store: FsStore, *, single_writer: bool) -> None:
    if single_writer or store.probe():
        return
    message = (
        f"{store.root}: this store lets a second writer overwrite an object that was to be created exclusively, so a "
        "crash or a second job could lose paid answers. Use a store that honours If-None-Match, or set "
        "run.single_writer=true if you make sure that only one job at a time writes this run"
    )
    raise StoreError(message)


def _pin(file: Mapping[str, Any]) -> tuple[int, str]:
    return int(file["size"]), str(file["pin"])


def _check_files(manifest: Mapping[str, Any], files: Sequence[InputFile]) -> None:
    was = {f["uri"]: f for f in manifest["files"]}
    now = {f.uri: f for f in files}
    advice = "the input changed since the run began; put the input back, or choose another run.id"
    for uri in sorted(was.keys() | now.keys()):
        if uri not in now:
            raise DataError(f"is gone: {advice}", file=uri)
        if uri not in was:
            raise DataError(f"is new: {advice}", file=uri)
        if _pin(was[uri]) != _pin(asdict(now[uri])):
            before, after = (
                f"{size} bytes, {pin[:24]}…" for size, pin in (_pin(was[uri]), _pin(asdict(now[uri])))
            )
            raise DataError(f"was {before}; is {after}: {advice}", file=uri)


STAGE = "call"
"""The stage whose markers have revisions."""


def marker_name(shard: str, revision: int) -> str:
    """Return the name of a shard's marker.

    Args:
        shard: its name.
        revision: 0, or the number of a later pass over its failed or unfunded rows.

    """
    return shard if revision == 0 else f"{shard}.r{revision}"


def newest_markers(run: Run) -> dict[str, int]:
    """Return the newest committed revision of each shard of the call stage, by the shard's name."""
    newest: dict[str, int] = {}
    for name in run.committed(STAGE):
        shard, _, revision = name.partition(".r")
        newest[shard] = max(newest.get(shard, 0), int(revision or 0))
    return newest
