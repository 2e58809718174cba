"""One contract for every store: whole objects, created exclusively, listed as they are now."""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from helpers.jobs import job_config, prompts, run_job, write_prompts
from helpers.sim.store import MemoryStore
from helpers.stub import interrupting, stub_server

from routellm_batch.core.errors import DataError, StoreError
from routellm_batch.storage.inputs import find_files
from routellm_batch.storage.store import FsStore

THREADS = 8


KINDS = ("local", "memory", "s3")


def fresh_root(kind: str, request: pytest.FixtureRequest) -> str:
    if kind == "local":
        return str(request.getfixturevalue("tmp_path") / "store")
    if kind == "memory":
        return f"memory://store-{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('bucket')}/store"


@pytest.fixture(params=KINDS)
def root(request: pytest.FixtureRequest) -> str:
    """A fresh root on each kind of store; s3 is a server on loopback, spoken to over HTTP."""
    return fresh_root(request.param, request)


@pytest.fixture
def store(root: str) -> FsStore:
    """A store at that root."""
    return FsStore(root)


@pytest.fixture(params=[*KINDS, "fake"])
def any_store(request: pytest.FixtureRequest) -> FsStore | MemoryStore:
    """A fresh store of each kind, and the one that simulated worlds have."""
    if request.param == "fake":
        return MemoryStore("fake://store")
    return FsStore(fresh_root(request.param, request))


def test_a_created_object_is_there_as_it_was_given(any_store: FsStore | MemoryStore) -> None:
    """Bytes come back as they are, of any size and below any folder."""
    objects = {"a.json": b"{}", "deep/er/b.bin": bytes(range(256)) * 8192, "c d/ü#1%20.txt": b"x"}
    assert [True] * 3 == [any_store.create(path, data) for path, data in objects.items()]
    assert objects == {path: any_store.read(path) for path in objects}
    assert [True, False] == [any_store.exists("a.json"), any_store.exists("b.json")]


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_is_not_there_is_told_from_one_without_the_file() -> None:
    """An absent bucket is named as such for the input and for the root, whatever is asked of it first."""
    uri = f"s3://absent-{uuid.uuid4().hex}/in"
    touches: list[Callable[[], object]] = [
        *(lambda end=end: find_files(f"{uri}{end}") for end in ("", "/a.parquet", "/*.parquet")),
        lambda: FsStore(uri).probe(),
        lambda: FsStore(uri).read("run.json"),
        lambda: FsStore(uri).list("call"),
        lambda: FsStore(uri).folders("call"),
    ]
    for touch in touches:
        with pytest.raises(StoreError, match="there is no such bucket"):
            touch()


def test_an_input_without_files_lies_in_a_bucket_that_is_there(bucket: str) -> None:
    """Where the bucket is there, what is missing is the file."""
    for end in ("", "/in", "/a.parquet", "/*.parquet"):
        with pytest.raises(DataError, match="no Parquet file is found"):
            find_files(f"{bucket}{end}")


def test_a_second_create_changes_nothing(any_store: FsStore | MemoryStore) -> None:
    """The first writer wins; the same bytes again are the writer's own, and so a success."""
    assert [True, False, True] == [any_store.create("x/a", data) for data in (b"first", b"second", b"first")]
    assert b"first" == any_store.read("x/a")


@pytest.mark.parametrize("rounds", [12])
def test_of_many_writers_one_wins(root: str, rounds: int) -> None:
    """Eight writers that create one object at the same moment: exactly one is told that it did, and its bytes stand."""
    stores = [FsStore(root) for _ in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(rounds):
            start = threading.Barrier(THREADS)

            def write(writer: int, number: int = number, start: threading.Barrier = start) -> bool:
                start.wait()
                return stores[writer].create(f"race/{number}", f"writer {writer}".encode())

            won = [writer for writer, wins in enumerate(pool.map(write, range(THREADS))) if wins]
            assert [f"writer {writer}".encode() for writer in won] == [stores[0].read(f"race/{number}")]


def test_replacing_is_for_reports(any_store: FsStore | MemoryStore) -> None:
    """``replace`` puts an object whether one is there or not."""
    for data in (b"first", b"second"):
        any_store.replace("report/x.html", data)
    assert b"second" == any_store.read("report/x.html")


def test_an_absent_object_is_not_found(any_store: FsStore | MemoryStore) -> None:
    """Reading what is not there raises FileNotFoundError, alone or among others."""
    any_store.create("a", b"a")
    for read in (lambda: any_store.read("b"), lambda: any_store.read_many(["a", "b"])):
        with pytest.raises(FileNotFoundError):
            read()


def test_many_are_read_at_once(any_store: FsStore | MemoryStore) -> None:
    """Several objects come back in the order they were asked for; none, one and many alike."""
    for n in range(5):
        any_store.create(f"m/{n}", f"{n}".encode())
    assert [[], [b"3"], [b"4", b"0", b"2"]] == [
        list(any_store.read_many([f"m/{n}" for n in numbers])) for numbers in ([], [3], [4, 0, 2])
    ]


def test_listings_are_of_now(any_store: FsStore | MemoryStore) -> None:
    """Every object below a folder is listed, sorted, with its size, the moment that it is there."""
    assert ([], []) == (list(any_store.list("f")), list(any_store.folders("f")))
    for n, name in enumerate(["f/b", "f/a", "f/sub/c", "g/d", "f/sub2/deep/e"]):
        any_store.create(name, b"x" * (n + 1))
        assert name in [o.path for o in any_store.list(name.partition("/")[0])]
    assert [("f/a", 2), ("f/b", 1), ("f/sub/c", 3), ("f/sub2/deep/e", 5)] == [
        (o.path, o.size) for o in any_store.list("f")
    ]
    assert (["sub", "sub2"], ["f", "g"], 5) == (
        list(any_store.folders("f")),
        list(any_store.folders("")),
        len(any_store.list("")),
    )


def test_a_folder_is_not_its_neighbours_prefix(any_store: FsStore | MemoryStore) -> None:
    """``call/1`` and ``call/10`` are two folders."""
    any_store.create("call/1/a", b"x")
    any_store.create("call/10/a", b"x")
    assert ["call/1/a"] == [o.path for o in any_store.list("call/1")]


def test_an_empty_object_is_never_written(any_store: FsStore | MemoryStore) -> None:
    """An empty body is refused, as some stores don't create it exclusively."""
    with pytest.raises(StoreError, match="an empty object is never written"):
        any_store.create("marker", b"")
    assert not any_store.exists("marker")


def test_the_probe_passes_and_leaves_nothing(store: FsStore) -> None:
    """A store that keeps writers apart passes the probe, and no object of it stays."""
    assert (True, []) == (store.probe(), list(store.list("")))


def test_a_store_travels_by_address(store: FsStore) -> None:
    """A pickled store opens the same root on the other side."""
    store.create("a", b"a")
    other = pickle.loads(pickle.dumps(store))
    assert (b"a", store.root, store.single_writer) == (other.read("a"), other.root, other.single_writer)


class Flaky:
    """A filesystem whose writes fail, before or after they took place, the first times."""

    def __init__(self, fs: Any, *, failures: int, applied: bool) -> None:
        self._fs, self._failures, self._applied = fs, failures, applied

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)

    def pipe_file(self, path: str, data: bytes, **options: Any) -> None:
        """Write, failing while failures are left."""
        if self._failures:
            self._failures -= 1
            if self._applied:
                self._fs.pipe_file(path, data, **options)
            raise OSError("503 SlowDown")
        self._fs.pipe_file(path, data, **options)


@pytest.mark.parametrize("applied", [False, True], ids=["throttled", "lost-reply"])
def test_a_write_that_failed_in_passing_is_tried_again(
    bucket: str, monkeypatch: pytest.MonkeyPatch, *, applied: bool
) -> None:
    """Throttled, or applied with its reply lost, a create is one object and one success."""
    store = FsStore(f"{bucket}/store")
    monkeypatch.setattr(store, "_fs", Flaky(store._fs, failures=1 if applied else 2, applied=applied))
    assert (True, b"data", 1) == (store.create("a", b"data"), store.read("a"), len(store.list("")))


@pytest.mark.parametrize("code", [409, 412])
def test_a_refusal_by_status_alone_is_understood(
    bucket: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A store that says no with a bare OSError over HTTP 409 or 412 has refused the create; it is not tried again."""

    class ClientError(Exception):
        response = {"ResponseMetadata": {"HTTPStatusCode": code}}  # noqa: RUF012 - as botocore has it

    tries: list[str] = []

    def refuse(path: str, data: bytes, **options: Any) -> None:
        tries.append(path)
        raise OSError(22, "Invalid argument") from ClientError()

    store = FsStore(f"{bucket}/store")
    store.create("a", b"other")
    monkeypatch.setattr(store._fs, "pipe_file", refuse, raising=False)
    assert (False, 1) == (store.create("a", b"mine"), len(tries))


class CarelessFileSystem(MemoryFileSystem):
    """A store that ignores conditions, as some S3 servers do."""

    protocol = "careless"
    store: dict[str, Any] = {}  # noqa: RUF012 - as its parent has it
    pseudo_dirs = [""]  # noqa: RUF012 - the same

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        """Write, whatever is there."""
        super().pipe_file(path, value, mode="overwrite", **options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + str(path).removeprefix("careless://").strip("/")


@pytest.fixture
def careless() -> Iterator[str]:
    """A root on a store that ignores conditions."""
    fsspec.register_implementation("careless", CarelessFileSystem, clobber=True)
    yield f"careless://root-{uuid.uuid4().hex}"
    CarelessFileSystem.store.clear()


def test_a_store_that_ignores_conditions_fails_the_probe(careless: str) -> None:
    """Where the second writer overwrites the first, the probe says so."""
    assert not FsStore(careless).probe()


def test_a_run_on_such_a_store_is_refused_or_warned_of(tmp_path: Path, careless: str) -> None:
    """The refusal names the store, the danger and the way out; with one writer it runs, and says so loudly."""
    write_prompts(tmp_path / "in.parquet", prompts(10))
    with stub_server() as stub:
        settings = {"strong": stub.base_url, "weak": stub.base_url, "run__root": careless}
        with pytest.raises(StoreError) as caught:
            run_job(job_config(tmp_path, **settings))
        assert [True] * 3 == [
            word in str(caught.value) for word in (careless, "If-None-Match", "run.single_writer=true")
        ]
        assert [] == stub.calls
        result = run_job(job_config(tmp_path, **settings, run__single_writer=True))
    assert (0, 10) == (result.exit_code, len(result.by_id))
    assert "run.single_writer is set" in " ".join(result.notices)


def test_a_whole_job_on_every_store(tmp_path: Path, root: str) -> None:
    """Input and output on the store, interrupted and resumed: each id once, and no call twice."""
    write_prompts(tmp_path / "in.parquet", [*prompts(30), None])
    fs, path = fsspec.url_to_fs(root)
    fs.makedirs(f"{path}/in", exist_ok=True)
    fs.put_file(str(tmp_path / "in.parquet"), f"{path}/in/part.parquet")
    slow = {f"endpoints__{route}__limits": {"concurrency": 2} for route in ("strong", "weak")}
    with stub_server() as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        config = job_config(tmp_path, **urls, **slow, run__root=f"{root}/out", input__uri=f"{root}/in/")
        whole = stub.script
        stub.script = interrupting(whole, 4)
        cut = run_job(config)
        stub.script = whole
        done = run_job(config)
        sent = len(stub.calls)
        assert (75, 0, 30, 30) == (cut.exit_code, done.exit_code, len(done.by_id), sent)
        assert (1, 7) == (len(done.invalid), len(done.strong_ids()))
        write_prompts(tmp_path / "in.parquet", prompts(30, prefix="Other"))
        fs.put_file(str(tmp_path / "in.parquet"), f"{path}/in/part.parquet")
        with pytest.raises(DataError, match="the input changed since the run began"):
            run_job(config)
        assert sent == len(stub.calls)


def test_files_on_s3_are_pinned_by_etag(tmp_path: Path, bucket: str) -> None:
    """Where the store knows an ETag, no file is read whole to be pinned."""
    write_prompts(tmp_path / "in.parquet", prompts(5))
    fs, path = fsspec.url_to_fs(bucket)
    fs.put_file(str(tmp_path / "in.parquet"), f"{path}/in.parquet")
    with stub_server() as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        result = run_job(job_config(tmp_path, **urls, input__uri=f"{bucket}/in.parquet"))
    assert ["etag:"] == [file.pin[:5] for file in result.run.files]


@pytest.mark.parametrize("uri", ["s3://no-such-bucket-here/root"])
def test_a_bucket_that_is_not_there(tmp_path: Path, bucket: str, uri: str) -> None:
    """A root that can't be written is refused before anything is sent."""
    write_prompts(tmp_path / "in.parquet", prompts(3))
    with stub_server() as stub:
        config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, run__root=uri)
        with pytest.raises(StoreError, match="no-such-bucket-here"):
            run_job(config)
    assert [] == stub.calls
