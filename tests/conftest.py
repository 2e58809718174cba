"""Fixtures that every test folder may use: shared data, an S3 store over HTTP, roots for runs, simulated time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.patience import patience

REPO = Path(__file__).resolve().parents[1]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Give each test more time on a busy machine before it counts as hung; a limit of 0 stays none."""
    mark = item.get_closest_marker("timeout")
    limit_s = float(
        mark.args[0] if mark else item.config.getoption("timeout") or item.config.getini("timeout")
    )
    item.add_marker(pytest.mark.timeout(patience(limit_s)), append=False)
    return (yield)


def missing(what: str) -> None:
    """Skip the test because a part is missing, or fail it in CI, where none may be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI every part must be there: {what}", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def require() -> Callable[[object, str], None]:
    """``require(part, reason)``: skip with the reason where the part is falsy; in CI, fail."""

    def check(part: object, reason: str) -> None:
        if not part:
            missing(reason)

    return check


@pytest.fixture(scope="session")
def repo() -> Path:
    """Return the root of the checkout."""
    return REPO


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """``shared("data/x.parquet")``: a path in the shared folder, or a skip where it is absent."""
    root = Path(os.environ.get("ROUTELLM_SHARED") or REPO.parent / "shared")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():  # in CI too: the project stands without this data
            pytest.skip(f"needs {name} of the shared data sets (set ROUTELLM_SHARED)")
        return path

    return find


@pytest.fixture
def run_root(tmp_path: Path) -> Path:
    """Return a new, empty folder for ``run.root``."""
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Serve S3 over HTTP on loopback for the whole session; return its base URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a fresh bucket and point every S3 client of this process and its children at it.

    Returns its URI, ``s3://test-…``; the AWS_* variables are set as a user would set them.
    """
    for name, value in {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testtest",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    yield from fresh_bucket()


def fresh_bucket() -> Iterator[str]:
    """Make a bucket on whatever store the AWS_* variables name; forget fsspec's clients before and after."""
    import botocore.session
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # Clients are cached by arguments; the variables are not among them.
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = botocore.session.Session().create_client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    yield f"s3://{name}"
    S3FileSystem.clear_instance_cache()
