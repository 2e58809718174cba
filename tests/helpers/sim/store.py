"""A ``Store`` in memory: what S3 promises and no more, with somebody who may come between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from routellm_batch.core.errors import StoreError
from routellm_batch.core.types import StoredObject


class Fate(StrEnum):
    """What becomes of one operation."""

    WORKS = "works"
    FAILS = "fails"
    """Nothing is done, and an error is raised."""
    UNHEARD = "unheard"
    """It is done, and an error is raised all the same: its reply was lost."""


Watch = Callable[[str, str, bytes], Fate]
"""Told operation, path and data before anything is done; may also wait, or raise."""


def undisturbed(_operation: str, _path: str, _data: bytes) -> Fate:
    """Let everything work."""
    return Fate.WORKS


class MemoryStore:
    """Objects in a dictionary, created exclusively; every operation is atomic."""

    single_writer = False

    def __init__(self, root: str, objects: Mapping[str, bytes] | None = None) -> None:
        self.root = root
        self.objects: dict[str, bytes] = dict(objects or {})
        """Path → bytes."""
        self.watch: Watch = undisturbed

    def uri(self, path: str) -> str:
        """Return the full URI of an object, for messages."""
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes) -> bool:
        """Put a new object; True also if the object there holds these very bytes."""
        if not data:
            message = f"{path}: an empty object is never written, as stores don't create it exclusively"
            raise StoreError(message)
        fate = self._meet("create", path, data)
        made = self.objects.setdefault(path, data) == data
        if fate is Fate.UNHEARD:
            raise ConnectionError
        return made

    def replace(self, path: str, data: bytes) -> None:
        """Put an object that may be overwritten."""
        fate = self._meet("replace", path, data)
        self.objects[path] = data
        if fate is Fate.UNHEARD:
            raise ConnectionError

    def read(self, path: str) -> bytes:
        """Return an object's bytes; FileNotFoundError if it is absent."""
        self._meet("read", path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]

    def read_many(self, paths: Sequence[str]) -> Sequence[bytes]:
        """Return the bytes of some objects, in order."""
        return [self.read(path) for path in paths]

    def exists(self, path: str) -> bool:
        """Say whether an object is there."""
        self._meet("exists", path)
        return path in self.objects

    def list(self, folder: str) -> Sequence[StoredObject]:
        """Every object below a folder, sorted by path."""
        self._meet("list", folder)
        start = f"{folder}/" if folder else ""
        return [StoredObject(p, len(d)) for p, d in sorted(self.objects.items()) if p.startswith(start)]

    def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders directly below a folder, sorted."""
        self._meet("folders", folder)
        start = f"{folder}/" if folder else ""
        inside = (path.removeprefix(start) for path in self.objects if path.startswith(start))
        return sorted({path.partition("/")[0] for path in inside if "/" in path})

    def _meet(self, operation: str, path: str, data: bytes = b"") -> Fate:
        fate = self.watch(operation, path, data)
        if fate is Fate.FAILS:
            raise ConnectionError
        return fate
