"""``faulty://``: an object store on the local disk that fails as it is told, from a seed.

``FAULTY_CONTROL`` names a JSON file, read anew for each operation: ``refuse`` (chance that a write or read is
answered 503), ``lose`` (chance that a write is done and its reply lost), ``hide`` (chance that an object is missing
from every listing), ``down`` (true: nothing works). It is no LocalFileSystem: it must be used as a remote store is.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem


class FaultyFileSystem(AbstractFileSystem):
    """A store with exclusive creates (``mode="create"``) and faults."""

    protocol = "faulty"
    root_marker = "/"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._local = LocalFileSystem(skip_instance_cache=True)
        self._count = itertools.count()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(path).removeprefix("faulty://").rstrip("/") or "/"

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Put a whole object; exclusively with mode ``create``."""
        self._pass("refuse", path)
        full = Path(self._strip_protocol(path))
        full.parent.mkdir(parents=True, exist_ok=True)
        temporary = full.with_name(f".{full.name}.{secrets.token_hex(6)}")
        temporary.write_bytes(value)
        if mode == "create":
            try:
                os.link(temporary, full)
            finally:
                temporary.unlink()
        else:
            temporary.replace(full)
        self._pass("lose", path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Read an object or a part of it."""
        self._pass("refuse", path)
        return Path(self._strip_protocol(path)).read_bytes()[start:end]

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - as fsspec has it
        """List a folder, without what is hidden."""
        self._pass("", path)
        hide = float(_control().get("hide", 0))
        found = [
            info
            for info in self._local.ls(self._strip_protocol(path), detail=True)
            if not Path(info["name"]).name.startswith(".")
            if info["type"] == "directory" or _chance(info["name"]) >= hide
        ]
        return found if detail else [info["name"] for info in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Look at one object; this never goes by a listing."""
        self._pass("", path)
        return dict(self._local.info(self._strip_protocol(path)))

    def exists(self, path: str, **_: Any) -> bool:
        """Say whether an object is there."""
        self._pass("", path)
        return Path(self._strip_protocol(path)).exists()

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        self._pass("", path)
        Path(self._strip_protocol(path)).unlink()

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._pass("refuse", path)
        return self._local.open(self._strip_protocol(path), mode)

    def _pass(self, fault: str, path: str) -> None:
        control = _control()
        if control.get("down"):
            raise ConnectionError("the store is down")
        chance = float(control.get(fault, 0))
        if chance and _chance(f"{control.get('seed', 0)} {fault} {path} {next(self._count)}") < chance:
            raise ConnectionError("503 Slow Down" if fault == "refuse" else "the reply was lost")


def _control() -> dict[str, Any]:
    path = os.environ.get("FAULTY_CONTROL")
    return dict(json.loads(Path(path).read_text())) if path else {}


def _chance(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64
