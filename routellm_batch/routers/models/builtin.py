"""Shipped weights, a folder each, and the check that every file of weights passes before it is used.

A folder of weights holds a JSON manifest whose ``files`` names each other file with its sha256. No file is a pickle: weights
are safetensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from routellm_batch.core.errors import CheckpointError

FOLDER = Path(str(files("routellm_batch") / "weights"))
"""Where the shipped weights are."""
Data = TypeVar("Data", bound=bytes | memoryview)
"""Bytes of a file, read or mapped."""


def shipped(name: str) -> Path:
    """Return the folder of the shipped weights ``name``, e.g. ``outcome-v1``.

    Raises:
        CheckpointError: an unknown name; the text lists the known ones.

    """
    names = sorted(p.name for p in FOLDER.iterdir() if p.is_dir() and not p.name.startswith(("_", ".")))
    if name not in names:
        raise CheckpointError(f"builtin:{name}: no such shipped weights; there are: {', '.join(names)}")
    return FOLDER / name


def read_checked(
    what: str, manifest: str, read: Callable[[str], Data]
) -> tuple[dict[str, Any], Mapping[str, Data]]:
    """Read a manifest and every file it names, each checked against its sha256.

    Args:
        what: where the weights are, for errors.
        manifest: name of the manifest in that folder.
        read: name of a file there → its bytes; FileNotFoundError if it is absent.

    Returns:
        The manifest, and name → bytes of the files it names.

    Raises:
        CheckpointError: a file is absent or damaged, or the manifest is invalid.

    """
    try:
        fields = json.loads(bytes(read(manifest)))
        digests = {str(name): str(digest) for name, digest in fields["files"].items()}
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{what}: holds no {manifest}; is it a folder of weights?") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{what}: {manifest} is not the manifest of a folder of weights") from None
    files: dict[str, Data] = {}
    for name, digest in digests.items():
        try:
            files[name] = read(name)
        except FileNotFoundError:
            raise CheckpointError(f"{what}: {name} is missing") from None
        if sha256(files[name]) != digest:
            raise CheckpointError(f"{what}: {name} is damaged: its sha256 is not the one in {manifest}")
    return fields, files


def sha256(data: bytes | memoryview) -> str:
    """Return the hex digest of a file's bytes."""
    return hashlib.sha256(data).hexdigest()
