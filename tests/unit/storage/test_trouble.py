"""What a store's failures become: one sentence with the URI and what to do, whatever driver raised them."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import patch

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from routellm_batch.core.errors import InputError, MissingExtraError, StoreError
from routellm_batch.storage.inputs import find_files
from routellm_batch.storage.store import FsStore, open_filesystem
from routellm_batch.storage.trouble import within


def raised(name: str, base: type[Exception] = Exception) -> Exception:
    """Return an error of a class of that name, with a text that must not be shown."""
    return type(name, (base,), {})("https://signed?secret=abc")


def coded(name: str, base: type[Exception] = OSError, **fields: Any) -> Exception:
    """Return an error of a driver that came from one of the store's client, which has a code."""
    error = base("https://signed?secret=abc")
    error.__cause__ = raised(name)
    vars(error.__cause__).update(fields)
    return error


def s3(code: str, base: type[Exception]) -> Exception:
    """Return what s3fs raises for a code of S3."""
    return coded("ClientError", base, response={"Error": {"Code": code}})


TROUBLE = [
    (s3("NoSuchBucket", FileNotFoundError), "no such bucket"),
    (s3("AccessDenied", PermissionError), "access is denied"),
    (s3("InvalidAccessKeyId", PermissionError), "the credentials can't be used"),
    (s3("SignatureDoesNotMatch", PermissionError), "the credentials can't be used"),
    (s3("ExpiredToken", PermissionError), "the credentials can't be used"),
    (coded("ResourceNotFoundError", FileNotFoundError, error_code="ContainerNotFound"), "no such bucket or"),
    (coded("HttpResponseError", PermissionError, error_code="AuthenticationFailed"), "credentials can't be"),
    (coded("HttpResponseError", PermissionError, error_code="AuthorizationFailure"), "access is denied"),
    (coded("ServiceRequestError", OSError), "the store can't be reached"),
    (coded("ClientConnectorDNSError", OSError), "the store can't be reached"),
    (raised("NoCredentialsError"), "no credentials are found"),
    (raised("DefaultCredentialsError"), "no credentials are found"),
    (raised("ClientAuthenticationError"), "the credentials can't be used"),
    (raised("ProfileNotFound"), "check key, profile and clock"),
    (raised("Forbidden", OSError), "access is denied"),
    (PermissionError(13, "no"), "may not be read|access is denied"),
    (raised("EndpointConnectionError"), "the store can't be reached"),
    (raised("ConnectError", OSError), "the store can't be reached"),
    (raised("NoSuchBucket", OSError), "no such bucket"),
    (raised("RepositoryNotFoundError"), "no such data set"),
    (NotImplementedError("x"), "can't do what is asked"),
    (RuntimeError("x"), "check the path, the credentials and the network"),
    (KeyError("x"), "check the path, the credentials and the network"),
]


@pytest.mark.parametrize(("error", "words"), TROUBLE, ids=lambda one: type(one).__name__)
def test_input_and_root_say_what_is_wrong(error: Exception, words: str) -> None:
    """The first touch of a store ends with exit code 2 and words, for the input as for the run's root."""
    uri = "memory://bucket/in"

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with patch.multiple(MemoryFileSystem, isfile=fail, cat_file=fail, ls=fail), patch("time.sleep"):
        for touch in (lambda: find_files(uri), lambda: FsStore(uri).read("run.json")):
            with pytest.raises(InputError, match=words) as caught:
                touch()
            assert (2, True, False) == (
                caught.value.exit_code,
                uri in str(caught.value),
                "secret" in str(caught.value),
            )


def test_a_refusal_without_a_reason_is_asked_for_one() -> None:
    """The answer to a HEAD has no code: a listing tells keys that can't be used from keys that may not."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Forbidden")

    def told(*_: Any, **__: Any) -> Any:
        raise s3("InvalidAccessKeyId", PermissionError)

    with patch.multiple(MemoryFileSystem, isfile=refuse, cat_file=refuse, ls=told):
        for touch in (find_files, lambda uri: FsStore(uri).read("run.json")):
            with pytest.raises(StoreError, match="the credentials can't be used"):
                touch("memory://bucket/in")


def test_a_store_that_has_answered_raises_what_may_pass() -> None:
    """Once a store has answered, a failure is an OSError that the run may wait out."""
    store = FsStore("memory://bucket/root")
    assert not store.exists("x")
    with (
        patch.object(MemoryFileSystem, "cat_file", side_effect=raised("EndpointConnectionError")),
        patch("time.sleep"),
        pytest.raises(OSError, match="EndpointConnectionError"),
    ):
        store.read("x")


@pytest.mark.parametrize(
    "uri", ["zip://a.parquet::s3://b/a.zip", "simplecache::s3://b/in", "filecache::gs://b"]
)
def test_chained_uris_are_refused(uri: str) -> None:
    """A URI within a URI says that it is not read."""
    with pytest.raises(StoreError, match="chained with :: are not read"):
        open_filesystem(uri)


@pytest.mark.parametrize("uri", ["nonsense://x/y", "s4://bucket/x"])
def test_unknown_schemes_are_named(uri: str) -> None:
    """A protocol that nobody knows is named with its URI."""
    with pytest.raises(StoreError, match=rf"{uri}: unknown storage protocol"):
        open_filesystem(uri)


@pytest.mark.parametrize(
    "error", [ImportError("no libhdfs"), OSError("CLASSPATH"), RuntimeError("java"), ValueError("account?")]
)
def test_a_driver_that_cant_be_made_is_told(error: Exception) -> None:
    """What a driver raises when it is made is a sentence too."""
    with patch.object(fsspec, "get_filesystem_class") as kind:
        kind.return_value._get_kwargs_from_urls.return_value = {}
        kind.return_value.side_effect = error
        with pytest.raises(StoreError, match="hdfs://host/in: can't be used .*install Hadoop's client"):
            open_filesystem("hdfs://host/in")


def test_a_missing_package_names_its_extra_or_itself() -> None:
    """A protocol without its package says what to install."""
    missing = ModuleNotFoundError("No module named 'gcsfs'", name="gcsfs")
    with (
        patch.object(fsspec, "get_filesystem_class", side_effect=missing),
        pytest.raises((StoreError, MissingExtraError), match="gcsfs"),
    ):
        open_filesystem("gs://bucket/in")


def test_a_silent_store_is_given_up() -> None:
    """A first question that is not answered in time ends with words."""
    never = threading.Event()
    try:
        with pytest.raises(StoreError, match="s3://b: can't be used .*can't be reached"):
            within("s3://b", never.wait, limit_s=0.01)
    finally:
        never.set()
