"""What a store's failure means to a user: whatever a driver raises becomes one sentence that says what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from routellm_batch.core.errors import RoutellmBatchError, StoreError

ANSWER_S = 60.0
"""A store that has not answered its first question by then is taken for unreachable; drivers try for many minutes."""

NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_ADVICE = (
    (
        ("NoCredentials", "PartialCredentials", "CredentialRetrieval", "DefaultCredentials", "Unauthorized"),
        "no credentials are found; set those that the store's own tools read (variables, a profile or a role)",
    ),
    (
        (
            "ProfileNotFound",
            "TokenRetrieval",
            "SSOToken",
            "RefreshError",
            "ClientAuthentication",
            "InvalidAccessKey",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "InvalidToken",
            "AuthenticationFailed",
            "RequestTimeTooSkewed",
        ),
        "the credentials can't be used; check key, profile and clock, or log in again",
    ),
    (NO_BUCKET, "there is no such bucket or container; check the name"),
    (
        ("Permission", "Forbidden", "AccessDenied", "AuthorizationFailure", "AuthorizationPermission"),
        "access is denied; check the path, and what the credentials may do",
    ),
    (
        ("RepositoryNotFound", "RevisionNotFound", "GatedRepo"),
        "no such data set, or none that this user may read",
    ),
    (
        (
            "Connect",
            "ServiceRequest",
            "Timeout",
            "gaierror",
            "NameResolution",
            "SSL",
            "ProxyError",
            "MaxRetry",
            "OfflineMode",
        ),
        "the store can't be reached; check the address and the network",
    ),
    (("ImportError", "ModuleNotFound"), "its driver can't be loaded; install what it needs on this machine"),
    (("NotImplemented",), "this kind of store can't do what is asked of it; copy the files to another one"),
)
"""Parts of the names of exceptions, of any driver, with what to say; the first that fits is taken."""
_HADOOP = "its driver can't be loaded; install Hadoop's client (libhdfs, Java, CLASSPATH), or copy the files elsewhere"


def _names(error: BaseException | None) -> str:
    """Return the class names of an error and of what it came from; never its text, which may hold a signed URL."""
    found: list[str] = []
    while error is not None and len(found) < 16:
        found += [
            kind.__name__ for kind in type(error).__mro__ if kind not in {Exception, BaseException, object}
        ]
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            found.append(str(response.get("Error", {}).get("Code", "")))
        found.append(str(getattr(error, "error_code", "")))  # Azure's
        error = error.__cause__ or error.__context__
    return " ".join(found)


def why(uri: str, error: BaseException, done: str = "used") -> str:
    """Return what an error of a store means and what to do, without the error's own text; it can't be ``done``."""
    reason = type(error.__cause__ or error).__name__
    if uri.startswith(("hdfs://", "webhdfs://", "viewfs://")):
        return f"can't be {done} ({reason}): {_HADOOP}"
    names = _names(error)
    fits = (advice for parts, advice in _ADVICE if any(part in names for part in parts))
    advice = next(fits, "check the path, the credentials and the network")
    return f"can't be {done} ({reason}): {advice}"


def lacks_bucket(error: BaseException) -> bool:
    """Whether a store says that the whole bucket is absent, and not only what was asked for in it."""
    names = _names(error)
    return any(part in names for part in NO_BUCKET)


def explained(fs: Any, path: str, error: BaseException) -> BaseException:
    """Return the error that says most: the answer to a HEAD has no body, and so no code that tells a reason.

    Args:
        fs: the filesystem that refused.
        path: what it refused.
        error: how.

    """
    if not isinstance(error, PermissionError):
        return error
    try:
        within(path, fs.ls, path.strip("/").partition("/")[0])
    except Exception as told:  # noqa: BLE001 - every driver has errors of its own
        return told if isinstance(told, PermissionError) else error
    return error


def store_error(uri: str, error: BaseException) -> StoreError:
    """Return the error to raise in place of what a driver raised."""
    return StoreError(
        f"{uri}: {why(uri, error)}. Nothing was sent; run the same command again once it is put right"
    )


@contextmanager
def in_words(uri: str, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise whatever a driver raises as a StoreError.

    Args:
        uri: what is read.
        but: classes that the caller has words for.

    Raises:
        StoreError: the store can't be used; the text names the URI and what to do.

    """
    try:
        yield
    except (RoutellmBatchError, MemoryError):
        raise
    except but:
        raise
    except Exception as error:  # noqa: BLE001 - every driver has errors of its own
        raise store_error(uri, error) from None


def within(uri: str, function: Callable[..., Any], *args: Any, limit_s: float = ANSWER_S) -> Any:
    """Return what a function returns, or raise what it raises, unless that takes too long.

    Raises:
        StoreError: it took longer than ``limit_s`` seconds; it may go on, unheard, in a thread of its own.

    """
    result: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            result.append(function(*args))
        except BaseException as error:  # noqa: BLE001 - raised again, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True, name="store")
    thread.start()
    thread.join(limit_s)
    if failed:
        raise failed[0]
    if not result:
        raise store_error(uri, TimeoutError())
    return result[0]
