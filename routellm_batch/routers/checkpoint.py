"""Checkpoints: folders of weights, read from any store and written file by file.

A checkpoint of this project holds ``model.safetensors``, a model card and ``router.json``, a manifest that names the
router, the embedder (name, fingerprint, width) and the sha256 of every other file. The checkpoints that RouteLLM publishes
have no manifest; ``published_tensors`` reads them unchanged.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder
from routellm_batch.routers.models.builtin import read_checked, sha256, shipped
from routellm_batch.routers.models.locate import BUILTIN, HUB, PACKAGE, local_folder

MANIFEST, WEIGHTS, CARD = "router.json", "model.safetensors", "README.md"
FORMAT = 1
"""Version of the manifest."""
DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
"""Type in a safetensors file → the same type in NumPy."""

Tensors = Mapping[str, NDArray[Any]]
"""Name → array."""


class Folder:
    """The files of a checkpoint, whatever store they are in.

    Args:
        location: ``builtin:NAME``, ``hub:ORG/NAME@REVISION``, ``package:NAME``, or the path or URI of a folder.

    Raises:
        CheckpointError: there are no such shipped weights, or the hub can't be reached.
        ConfigError: a hub name without a revision.

    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._local: Path | None = None
        if location.startswith(BUILTIN):
            self._local = shipped(location.removeprefix(BUILTIN))
        elif location.startswith((HUB, PACKAGE)):
            self._local = local_folder(location, key="router.checkpoint")

    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            FileNotFoundError: it is absent.
            StoreError: its store can't be reached.

        """
        if self._local is not None:
            return (self._local / name).read_bytes()
        from routellm_batch.storage.store import (
            FsStore,
        )  # Shipped weights need no fsspec, which loads slowly.

        return FsStore(self.location).read(name)

    def view(self, name: str) -> bytes | memoryview:
        """Return the bytes of a file; a file on this machine is mapped, so that processes share its pages.

        Raises:
            FileNotFoundError: it is absent.
            StoreError: its store can't be reached.

        """
        folder = self._local or (None if "://" in self.location else Path(self.location))
        if folder is None or (folder / name).stat().st_size == 0:
            return self.read(name)
        with (folder / name).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def holds(self, name: str) -> bool:
        """Return whether the folder has a file of that name."""
        try:
            self.read(name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def load_tensors(
    location: str, router: str, embedder: Embedder, *, mapped: bool = False
) -> tuple[dict[str, Any], Tensors]:
    """Read and check a checkpoint of this project's format.

    Args:
        location: as for ``Folder``.
        router: registry name of the router that reads it.
        embedder: the configured one; it must be the one that the router was trained with.
        mapped: leave the arrays in the file where it is on this machine; they are then read-only.

    Returns:
        The manifest, and name → array of every tensor.

    Raises:
        CheckpointError: absent, damaged, of another router or format, not finite, or made for another embedder.

    """
    folder = Folder(location)
    fields, files = read_checked(location, MANIFEST, folder.view if mapped else folder.read)
    kind = (fields.get("format"), fields.get("router"))
    if kind != (FORMAT, router):
        raise CheckpointError(
            f"{location}: is format {kind[0]} of router {kind[1]!r}, not {FORMAT} of {router!r}"
        )
    configured, trained_with = embedder_fields(embedder), fields.get("embedder")
    if trained_with != configured:
        raise CheckpointError(
            f"{location}: was trained with embedder {trained_with}, and the configured one is {configured}"
        )
    if WEIGHTS not in files:
        raise CheckpointError(f"{location}: {MANIFEST} names no {WEIGHTS}")
    parse = map_tensors if mapped else parse_tensors
    return fields, parse(location, files[WEIGHTS], router)


def published_tensors(location: str, router: str) -> Tensors:
    """Return the tensors of ``model.safetensors`` in a folder that has no manifest, as RouteLLM publishes it.

    Raises:
        CheckpointError: absent, truncated, or not finite.

    """
    try:
        data = Folder(location).read(WEIGHTS)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"{location}: holds no {WEIGHTS}; is it a folder of weights?") from None
    return parse_tensors(location, data, router)


def parse_tensors(location: str, data: bytes | memoryview, router: str) -> Tensors:
    """Return the tensors of a safetensors file, all of them finite.

    Args:
        location: of the checkpoint, for errors.
        data: the file.
        router: registry name of the router that reads it, for errors.

    Raises:
        CheckpointError: not safetensors, truncated, or a value is not finite.

    """
    try:
        tensors = load(bytes(data))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{location}: not the weights of router {router!r} ({error})") from None
    return _finite(tensors, location)


def map_tensors(location: str, data: bytes | memoryview, router: str) -> Tensors:
    """Return the tensors as ``parse_tensors`` does, each a view of ``data``.

    A safetensors file is the length of its header (eight bytes, little-endian), the header in JSON, and the values.

    Args:
        location: of the checkpoint, for errors.
        data: the file.
        router: registry name of the router that reads it, for errors.

    Raises:
        CheckpointError: not safetensors, truncated, or a value is not finite.

    """
    try:
        values = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(bytes(data[8:values]))
        tensors = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                part = memoryview(data)[values + begin : values + end]
                tensors[name] = np.frombuffer(part, DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{location}: not the weights of router {router!r} ({error})") from None
    return _finite(tensors, location)


def _finite(tensors: Tensors, location: str) -> Tensors:
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise CheckpointError(f"{location}: a weight of {name} is not finite")
    return tensors


def take(tensors: Tensors, name: str, shape: tuple[int | None, ...], location: str) -> NDArray[Any]:
    """Return one tensor, of its own dtype, after a check of its shape.

    Args:
        tensors: of the checkpoint.
        name: of the tensor.
        shape: lengths that it must have; None is any length.
        location: of the checkpoint, for errors.

    Raises:
        CheckpointError: it is missing, or has another shape.

    """
    if name not in tensors:
        raise CheckpointError(
            f"{location}: tensor {name} is missing; there are: {', '.join(sorted(tensors))}"
        )
    actual = tensors[name].shape
    fits = len(actual) == len(shape) and all(w in (None, n) for n, w in zip(actual, shape, strict=True))
    if not fits:
        expected = ", ".join("any" if w is None else str(w) for w in shape)
        raise CheckpointError(f"{location}: tensor {name} has shape {list(actual)}, not [{expected}]")
    return tensors[name]


def embedder_fields(embedder: Embedder) -> dict[str, Any]:
    """Return what a manifest holds of an embedder: ``name``, ``fingerprint`` and ``width``."""
    return {"name": embedder.name, "fingerprint": embedder.fingerprint, "width": embedder.width}


def save_checkpoint(
    out: str,
    tensors: Tensors,
    embedder: Embedder,
    *,
    router: str,
    name: str,
    card: str,
    fields: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint to a new folder, its manifest last.

    Args:
        out: path or URI of a new folder.
        tensors: name → array; stored as they are.
        embedder: what the router was trained with.
        router: registry name.
        name: the checkpoint's own name.
        card: the model card, Markdown.
        fields: further entries of the manifest.

    Raises:
        ConfigError: a file of the checkpoint exists already.

    """
    weights = save({n: np.ascontiguousarray(tensor) for n, tensor in tensors.items()})
    manifest = {
        "format": FORMAT,
        "router": router,
        "name": name,
        "embedder": embedder_fields(embedder),
        **(fields or {}),
        "files": {WEIGHTS: sha256(weights)},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    create_files(out, [(WEIGHTS, weights), (CARD, card.encode()), (MANIFEST, text.encode())])


def refuse_existing(out: str) -> None:
    """Check that a folder to write to is new.

    Args:
        out: path or URI of the folder.

    Raises:
        ConfigError: it holds a file; the file is named.

    """
    from routellm_batch.storage.store import FsStore

    store = FsStore(out)
    for existing in store.list(""):
        raise _existing(store.uri(existing.path))


def create_files(out: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Create files in a folder, in the given order, and overwrite none.

    Args:
        out: path or URI of the folder.
        files: (name, bytes) of each; the one without which the folder is no checkpoint comes last.

    Raises:
        ConfigError: a file of that name exists already.

    """
    from routellm_batch.storage.store import FsStore

    store = FsStore(out)
    for name, data in files:
        if not store.create(name, data):
            raise _existing(store.uri(name))


def _existing(uri: str) -> ConfigError:
    return ConfigError("out", f"{uri} is there already; name a new folder")
