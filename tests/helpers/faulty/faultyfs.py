"""A local folder as an object store that fails as told by a file: ``{"put": 0.1, "lost_ack": 0.1, "hide": 0.5, "down": 1}``."""

from __future__ import annotations

import json
import os
import random
import secrets
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

CONTROL = "FAULTY_CONTROL"


class FaultyFileSystem(AbstractFileSystem):
    """Whole objects on a local disk, created exclusively; not a ``LocalFileSystem``, so it is treated as remote."""

    protocol = "faulty"
    cachable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._disk = LocalFileSystem()
        self._dice = random.Random(secrets.randbits(32))

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return str(path).removeprefix("faulty://").rstrip("/") or "/"

    def _chance(self, name: str) -> bool:
        path = os.environ.get(CONTROL)
        try:
            chances = json.loads(Path(path).read_text()) if path else {}
        except (FileNotFoundError, ValueError):
            chances = {}
        return self._dice.random() < chances.get(name, 0)

    def _up(self) -> None:
        if self._chance("down"):
            raise ConnectionError("503")

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Put an object."""
        self._up()
        if self._chance("put"):
            raise OSError("503 SlowDown")
        path = self._strip_protocol(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{os.path.dirname(path)}/.{secrets.token_hex(6)}"
        Path(temporary).write_bytes(value)
        try:
            if mode == "create":
                os.link(temporary, path)
            else:
                os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
        if self._chance("lost_ack"):
            raise OSError("connection reset")

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Get an object."""
        self._up()
        return bytes(self._disk.cat_file(self._strip_protocol(path), start, end, **kwargs))

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Describe an object."""
        self._up()
        return dict(self._disk.info(self._strip_protocol(path)))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """List a folder; some objects may not show."""
        self._up()
        found = self._disk.ls(self._strip_protocol(path), detail=True)
        shown = [one for one in found if one["type"] == "directory" or not self._chance("hide")]
        return shown if detail else [one["name"] for one in shown]

    def rm_file(self, path: str) -> None:
        """Remove an object."""
        self._up()
        self._disk.rm_file(self._strip_protocol(path))
