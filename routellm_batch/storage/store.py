"""The one door to fsspec: whole objects under a root, created exclusively.

Exclusive creation is what keeps two writers apart, so a run probes the store before it relies on it. Trials with real
stores showed three facts that shape this file:

* ``LocalFileSystem`` looks and then writes, so two writers can both win; a temp file and ``os.link`` can't.
* s3fs turns a refused conditional PUT into FileExistsError only if the server's XML names the condition;
  others give a bare OSError whose cause carries HTTP 409 or 412.
* a PUT whose reply was lost is tried again, and then our own object is reported as another writer's: compare the bytes.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from routellm_batch.core.errors import MissingExtraError, RoutellmBatchError, StoreError
from routellm_batch.core.protocols import Store
from routellm_batch.core.registry import missing_extra
from routellm_batch.core.types import StoredObject
from routellm_batch.storage.trouble import explained, in_words, lacks_bucket, store_error, why, within

STORE_ATTEMPTS = 6
REFUSED = frozenset({409, 412})
"""HTTP status codes of a conditional PUT where the object exists already."""
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


BUILTIN = "builtin:"
"""Scheme of the example data sets that come with the package."""


def absolute(uri: str) -> str:
    """Return a URI that means the same from any working directory; a bare path is local."""
    if uri.startswith(BUILTIN):
        name = f"{uri.removeprefix(BUILTIN)}.parquet"
        return str(files("routellm_batch").joinpath("examples", name))
    return uri if "://" in uri else os.path.abspath(uri)  # noqa: PTH100 - a glob is no Path


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return the filesystem of a URI, whose listings are never cached, and the path within it.

    Raises:
        StoreError: the protocol is unknown, or its filesystem can't be opened.
        MissingExtraError: the protocol's package is not installed.

    """
    uri = absolute(uri)
    protocol, mark, rest = uri.partition("://")
    if not mark or protocol in {"file", "local"}:  # names on this machine may have any signs, :: among them
        fs = fsspec.filesystem("file", use_listings_cache=False)
        return fs, os.path.abspath(rest or "/") if mark else uri  # noqa: PTH100 - paths here are strings
    if "::" in protocol or "://" in rest:
        raise StoreError(
            f"{uri}: URIs chained with :: are not read; unpack or copy the files, and name their folder"
        )
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        if isinstance(error.__cause__ or error, ModuleNotFoundError):
            extra = missing_extra(error.__cause__ or error, what=uri)  # type: ignore[arg-type]
            if isinstance(extra, MissingExtraError):
                raise extra from None
        raise StoreError(f"{uri}: {error}") from None
    except ValueError:
        raise StoreError(
            f"{uri}: unknown storage protocol; use a path, file://, s3://, gs://, az://, …"
        ) from None
    with in_words(uri):
        fs = kind(use_listings_cache=False, **kind._get_kwargs_from_urls(uri))  # noqa: SLF001 - as url_to_fs does
        return fs, str(kind._strip_protocol(uri))  # noqa: SLF001


def read_json(store: Store, path: str) -> dict[str, Any] | None:
    """Return a JSON object, or None where the store has none at this path."""
    try:
        return dict(json.loads(store.read(path)))
    except FileNotFoundError:
        return None


def _transient(error: BaseException) -> bool:
    """Whether a storage error may pass by itself (a throttled or dropped request)."""
    final = isinstance(error, (*FINAL, _LastingError))
    return isinstance(error, (OSError, TimeoutError)) and not final and not _refused(error)


class _LastingError(OSError):
    """A driver's error that no second try helps: no credentials, or nothing that the driver can do."""


def _as_os_error(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function; an error of a store's own client is raised as an OSError, which it is not by itself."""
    try:
        return function(*args, **kwargs)
    except (OSError, RoutellmBatchError, MemoryError):
        raise
    except Exception as error:
        name = type(error).__name__
        lasting = "Credential" in name or type(error).__module__ == "builtins"
        raise (_LastingError if lasting else ConnectionError)(name) from error


def _refused(error: BaseException) -> bool:
    response = getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return False
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") in REFUSED


class FsStore:
    """A ``Store`` on any fsspec filesystem.

    Args:
        root: URI of the folder that all paths are relative to.
        single_writer: whether the user vouches that nobody else writes, so that creates need not be exclusive.

    Raises:
        StoreError: the protocol is unknown, or its filesystem can't be opened.
        MissingExtraError: the protocol's package is not installed.

    """

    def __init__(self, root: str, *, single_writer: bool = False) -> None:
        self.root = absolute(root)
        self.single_writer = single_writer
        self._fs, self._base = open_filesystem(self.root)
        self._base = self._base.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)
        self._answered = False  # until it has, what fails is a wrong address or a lack of credentials

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the address alone; the other process opens its own filesystem."""
        return (_reopen, (self.root, self.single_writer))

    def uri(self, path: str) -> str:
        """Return the full URI of an object."""
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes) -> bool:
        """Put a new object.

        Returns:
            False where there is an object with other bytes; one with these very bytes is ours, whose reply was lost.

        Raises:
            StoreError: ``data`` is empty.
            OSError: the store can't be written.

        """
        if not data:
            message = f"{path}: an empty object is never written, as stores don't create it exclusively"
            raise StoreError(message)
        created = self._attempt(self._create_local if self._local else self._create_remote, path, data)
        return created or self.read(path) == data

    def replace(self, path: str, data: bytes) -> None:
        """Put a whole object in place of the one that is there, if any.

        Raises:
            OSError: the store can't be written.

        """
        if self._local:
            temporary = self._temporary(path, data)
            os.replace(temporary, f"{self._base}/{path}")  # noqa: PTH105 - paths here are strings
        else:
            self._attempt(self._fs.pipe_file, f"{self._base}/{path}", data)

    def read(self, path: str) -> bytes:
        """Return an object's bytes.

        Raises:
            FileNotFoundError: there is no such object.

        """
        return bytes(self._attempt(self._fs.cat_file, f"{self._base}/{path}"))

    def read_many(self, paths: Sequence[str]) -> Sequence[bytes]:
        """Return the bytes of some objects, read at once where the store can.

        Raises:
            FileNotFoundError: there is no such object as one of them.

        """
        if not paths:
            return []
        full = [f"{self._base}/{path}" for path in paths]
        if any(sign in self._base for sign in "*?["):  # fsspec would take it for a pattern
            return [self.read(path) for path in paths]
        contents = self._attempt(self._fs.cat, full)
        if isinstance(contents, dict):
            return [bytes(contents[path]) for path in full]
        return [bytes(contents)]  # of a single path

    def exists(self, path: str) -> bool:
        """Whether there is such an object."""
        return bool(self._attempt(self._fs.exists, f"{self._base}/{path}"))

    def list(self, folder: str) -> Sequence[StoredObject]:
        """Return every object below a folder, uncached, sorted by path; names that begin with a dot are left out."""
        self._fs.invalidate_cache()
        infos = self._attempt(self._fs.find, f"{self._base}/{folder}".rstrip("/"), detail=True)
        start = len(self._base) + 1
        objects = (StoredObject(path[start:], int(info["size"] or 0)) for path, info in infos.items())
        return sorted((o for o in objects if not Path(o.path).name.startswith(".")), key=lambda o: o.path)

    def folders(self, folder: str) -> Sequence[str]:
        """Return the names of the folders directly below a folder, sorted."""
        self._fs.invalidate_cache()
        try:
            infos = self._attempt(self._fs.ls, f"{self._base}/{folder}", detail=True)
        except FileNotFoundError:
            return []
        return sorted(
            info["name"].rstrip("/").rpartition("/")[2] for info in infos if info["type"] == "directory"
        )

    def probe(self) -> bool:
        """Whether the second of two creates of one key is refused, as it must be.

        Raises:
            StoreError: the store can't be written at all.

        """
        path = f"_probe/{secrets.token_hex(8)}"
        try:
            self.create(path, b"first")
            exclusive = not self.create(path, b"other")
        except OSError as error:
            raise StoreError(f"{self.root}: {why(self.root, error, 'written')}") from None
        with suppress(OSError):
            self._fs.rm_file(f"{self._base}/{path}")
        return exclusive

    def _attempt(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        attempts = Retrying(
            retry=retry_if_exception(_transient),
            stop=stop_after_attempt(STORE_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            reraise=True,
        )
        if self._answered:
            return attempts(_as_os_error, function, *args, **kwargs)
        return self._first(lambda: attempts(_as_os_error, function, *args, **kwargs))

    def _first(self, call: Callable[[], Any]) -> Any:
        """Ask the store for the first time, for no longer than a person would wait."""
        try:
            answer = call() if self._local else within(self.root, call)
        except (FileNotFoundError, FileExistsError) as error:
            if lacks_bucket(error):
                raise store_error(self.root, error) from None
            self._answered = True
            raise
        except OSError as error:
            told = error if self._local else explained(self._fs, self._base, error)
            raise store_error(self.root, told) from None
        self._answered = True
        return answer

    def _create_remote(self, path: str, data: bytes) -> bool:
        full = f"{self._base}/{path}"
        if self.single_writer and self._fs.exists(full):
            return False
        try:
            self._fs.pipe_file(full, data, mode="overwrite" if self.single_writer else "create")
        except FileExistsError:
            return False
        except OSError as error:
            if _refused(error):
                return False
            raise
        return True

    def _create_local(self, path: str, data: bytes) -> bool:
        temporary = self._temporary(path, data)
        try:
            os.link(temporary, f"{self._base}/{path}")
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)  # noqa: PTH108 - paths here are strings
        return True

    def _temporary(self, path: str, data: bytes) -> str:
        folder, _, name = f"{self._base}/{path}".rpartition("/")
        temporary = f"{folder}/.{name}.{secrets.token_hex(6)}"
        try:
            _write_whole(temporary, data)
        except FileNotFoundError:  # to look for the folder before each object would cost as much as the rest
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - paths here are strings
            _write_whole(temporary, data)
        return temporary


def _write_whole(path: str, data: bytes) -> None:
    """Write a new file, and have it on the disk when this returns."""
    with open(path, "xb") as file:  # noqa: PTH123 - paths here are strings
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _reopen(root: str, single_writer: bool) -> FsStore:  # noqa: FBT001 - as pickle calls it
    store = FsStore(root, single_writer=single_writer)
    store._answered = True  # noqa: SLF001 - it has, to the process that this one comes from
    return store
