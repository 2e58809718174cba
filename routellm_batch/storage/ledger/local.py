"""The local log: what a killed process leaves on its machine, so that only its calls in flight are lost.

Frames of length, CRC-32 and payload, appended without a sync: the kernel keeps them when the process dies, and
a torn last frame shows in its sum. The file is locked while its writer lives.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from routellm_batch.core.errors import StoreError

FOLDER_VARIABLE = "ROUTELLM_LOCAL_DIR"
SUFFIX = ".log"
_HEAD = struct.Struct("<II")


def local_folder(run_uri: str, base: Path | None = None) -> Path:
    """Return the folder of a run's local logs on this machine, readable and writable by this user alone.

    Args:
        run_uri: full URI of the run.
        base: the folder that holds those of all runs; None for what the environment says, or a temporary one.

    Raises:
        StoreError: it can't be made, or is somebody else's, who could read answers, or plant false ones to be adopted.

    """
    chosen = base or os.environ.get(FOLDER_VARIABLE)
    base = Path(chosen or f"{tempfile.gettempdir()}/routellm-batch-{os.getuid()}")
    folder = base / hashlib.sha256(run_uri.encode()).hexdigest()[:16]
    try:
        if chosen is None:  # where everybody may write, somebody may have been here first
            _own(base)
        base.mkdir(parents=True, exist_ok=True)
        _own(folder)
    except OSError as error:
        message = (
            f"{folder}: can't be made ({type(error).__name__}); point {FOLDER_VARIABLE} at a folder with room"
        )
        raise StoreError(message) from None
    return folder


def _own(folder: Path) -> None:
    """Make a folder that is this user's alone, or check that an existing one is."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        message = (
            f"{folder}: is not a folder that only this user can write to; remove it, or point {FOLDER_VARIABLE} "
            "at another one"
        )
        raise StoreError(message)


class LocalLog:
    """One runner's log, open for appending."""

    def __init__(self, folder: Path, shard: str, runner: str) -> None:
        self._path = folder / f"{shard}.{runner}{SUFFIX}"
        new = self._path.with_suffix(".new")  # nobody looks for it until it is locked
        self._file = os.open(new, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(self._path)

    def append(self, payload: bytes) -> None:
        """Append a frame.

        Raises:
            OSError: it may not be in the log.

        """
        frame = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        if os.write(self._file, frame) != len(frame):
            raise OSError(28, "no room for the local log", str(self._path))

    def close(self, *, remove: bool) -> None:
        """Let go of the log, and remove it where storage holds all of it."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


def frames(data: bytes) -> Iterator[bytes]:
    """Yield the whole frames of a log, up to the first damaged one."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) != length or zlib.crc32(payload) != check:
            return
        yield payload
        at += _HEAD.size + length


def left_here(folder: Path, shard: str) -> set[str]:
    """Return the runners of a shard whose logs are in the folder."""
    return {path.name.removesuffix(SUFFIX).rpartition(".")[2] for path in folder.glob(f"{shard}.*{SUFFIX}")}


def abandoned(folder: Path, shard: str | None = None) -> Iterator[tuple[str, str, Path, bytes]]:
    """Yield (shard, runner, path, bytes) of each log whose writer is gone, locked while it is looked at."""
    for path in sorted(folder.glob(f"{shard or '*'}.*{SUFFIX}")):
        name, _, runner = path.name.removesuffix(SUFFIX).rpartition(".")
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # adopted by another process just now
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                yield name, runner, path, path.read_bytes()
        except BlockingIOError:
            continue
        finally:
            os.close(file)
