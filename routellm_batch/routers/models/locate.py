"""Find a folder of weights: in this package, in any store, in an installed package, or on the model hub.

    builtin:NAME              shipped with this package
    package:NAME              a folder with a ``config.json`` inside an installed Python package (it is not imported)
    hub:ORG/NAME@REVISION     the Hugging Face hub; the revision is a commit, so that the weights cannot change
    anything else             a path or URI of a folder

Only data is read: safetensors, JSON and text. A folder whose weights are pickles is refused, as a pickle could run code.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.routers.models.builtin import shipped

BUILTIN, PACKAGE, HUB = "builtin:", "package:", "hub:"
"""Schemes of a location."""
WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.md")
"""Files that are fetched from the hub or a remote store; none of them can run code."""
PICKLES = frozenset((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"))
"""Endings of files that could be pickles."""
WORDS = ("tokenizer*.json", "*.txt", "*.model")
"""Files that a tokenizer is made of."""
_HUB = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
_LOOKS_LIKE_HUB = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def local_folder(location: str, *, key: str, weights: bool = True) -> Path:
    """Return a local folder with the files of ``location``, fetched if need be.

    Args:
        location: ``builtin:NAME``, ``package:NAME``, ``hub:ORG/NAME@REVISION``, or a path or URI of a folder.
        key: the config key, for errors.
        weights: False where only a tokenizer is needed: weights are then not fetched and may be absent.

    Raises:
        ConfigError: a hub name without a revision, or a package that is not installed.
        CheckpointError: the folder is absent, it can't be fetched, or its weights are pickles.
        MissingExtraError: its store's packages are not installed.

    """
    if location.startswith(BUILTIN):
        folder = shipped(location.removeprefix(BUILTIN))
    elif location.startswith(PACKAGE):
        folder = _package(location.removeprefix(PACKAGE), key)
    elif location.startswith(HUB):
        folder = _hub(location.removeprefix(HUB), key, WANTED if weights else WORDS)
    elif "://" in location:
        folder = _fetched(location, WANTED if weights else WORDS)
    else:
        folder = Path(location)
        if not folder.is_dir():
            hint = (
                f"; a name on the hub is written {HUB}{location}@REVISION" if _is_hub_name(location) else ""
            )
            raise CheckpointError(f"{key}: {location}: no such folder{hint}")
    if weights:
        _refuse_pickles(folder, location, key)
    return folder


def _is_hub_name(location: str) -> bool:
    return _LOOKS_LIKE_HUB.fullmatch(location.partition("@")[0]) is not None


def _package(name: str, key: str) -> Path:
    spec = find_spec(name) if name.isidentifier() else None
    for place in spec.submodule_search_locations or () if spec else ():
        for config in sorted(Path(place).glob("**/config.json"), key=lambda p: len(p.parts)):
            return config.parent
    raise ConfigError(key, f"{PACKAGE}{name}: no such package is installed, or it holds no config.json")


def _hub(name: str, key: str, patterns: Sequence[str]) -> Path:
    matched = _HUB.fullmatch(name)
    if matched is None:
        raise ConfigError(
            key, f"{HUB}{name}: is not {HUB}ORG/NAME@REVISION; without a revision the weights may change"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(matched["name"], revision=matched["revision"], allow_patterns=list(patterns))
        )
    except LocalEntryNotFoundError:
        raise CheckpointError(
            f"{key}: {HUB}{name}: the hub can't be reached and the model is not in the local cache"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise CheckpointError(f"{key}: {HUB}{name}: can't be fetched ({type(error).__name__})") from None


def _fetched(uri: str, patterns: Sequence[str]) -> Path:
    """Copy the files of a remote folder that match the patterns to a new temporary folder, and return it."""
    from routellm_batch.storage.store import FsStore  # Local weights need no fsspec, which loads slowly.

    store = FsStore(uri)
    objects = [o for o in store.list("") if "/" not in o.path and Path(o.path).match("*.*")]
    names: Sequence[str] = [o.path for o in objects if any(Path(o.path).match(p) for p in patterns)]
    if not names:
        raise CheckpointError(
            f"{uri}: no such folder, or it holds none of the files that are needed ({', '.join(patterns)})"
        )
    contents = store.read_many(names)
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in contents)).hexdigest()[:16]
    folder = Path(tempfile.mkdtemp(prefix=f"routellm-weights-{digest}-"))
    for name, data in zip(names, contents, strict=True):
        (folder / name).write_bytes(data)
    return folder


def _refuse_pickles(folder: Path, location: str, key: str) -> None:
    if any(folder.glob("*.safetensors")):
        return
    for path in sorted(folder.iterdir(), key=lambda p: ("model" not in p.name, p.name)):
        if path.suffix in PICKLES:
            raise CheckpointError(
                f"{key}: {location}: {path.name} is a pickle, which could run code; convert it to safetensors"
            )
    raise CheckpointError(f"{key}: {location}: holds no *.safetensors")
