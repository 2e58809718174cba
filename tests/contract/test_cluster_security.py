"""A cluster on the network: mutual TLS from files, nothing but loopback without it, and workers that are told to go."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from helpers import tasks
from helpers.jobs import job_config, prompts, run_job, write_prompts
from helpers.patience import patience, wait_for
from helpers.stub import answering, stub_server
from helpers.tasks import Item

from routellm_batch.config.job import ClusterConfig
from routellm_batch.core.errors import ConfigError, TaskError
from routellm_batch.core.protocols import Runner
from routellm_batch.runtime import open_runner

DASK = str(Path(sys.executable).with_name("dask"))
REPO = Path(__file__).resolve().parents[2]
FLUSHED_WITHIN_S = 8
"""A nanny kills its worker soon after."""


def certificates(folder: Path) -> dict[str, str]:
    """Write a CA and one certificate for scheduler, workers and job; return their files."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])

    def build(subject: x509.Name, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    ca = build(ca_name, ca_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "routellm")])
    own = build(name, key.public_key()).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
    )
    pem = serialization.Encoding.PEM
    paths = {part: folder / f"{part}.pem" for part in ("ca", "cert", "key")}
    paths["ca"].write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    paths["cert"].write_bytes(own.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.NoEncryption()
    paths["key"].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return {part: str(path) for part, path in paths.items()}


@contextmanager
def dask(folder: Path, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a ``dask`` command for the time of a block."""
    path = os.pathsep.join([str(REPO), str(REPO / "tests"), os.environ.get("PYTHONPATH", "")])
    with (folder / f"{name}.log").open("wb") as out:
        process = subprocess.Popen(
            [DASK, *words], stdout=out, stderr=out, cwd=folder, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(patience(10))


@contextmanager
def cluster(
    folder: Path, *, tls: dict[str, str] | None = None, worker: Sequence[str] = ("--no-nanny",)
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a scheduler and one worker of two threads on loopback; yield the address and the worker."""
    files = (
        []
        if tls is None
        else ["--tls-ca-file", tls["ca"], "--tls-cert", tls["cert"], "--tls-key", tls["key"]]
    )
    scheme, file = "tcp" if tls is None else "tls", folder / "scheduler.json"
    where = ["--protocol", scheme, "--host", "127.0.0.1"]
    listed = ["--scheduler-file", str(file)]
    with ExitStack() as stack:
        stack.enter_context(
            dask(folder, "scheduler", "scheduler", *where, "--port", "0", *listed, "--no-dashboard", *files)
        )
        options = [
            *where,
            *files,
            *worker,
            "--nthreads",
            "2",
            "--no-dashboard",
            "--local-directory",
            str(folder),
        ]
        worker_process = stack.enter_context(dask(folder, "worker", "worker", *listed, *options))
        yield json.loads(written(file, 30))["address"], worker_process


def written(path: Path, within_s: float) -> str:
    """Return what a file says once it is there and not empty."""
    wait_for(lambda: path.exists() and path.stat().st_size, within_s, path.name)
    return path.read_text("utf-8")


def test_a_job_runs_over_mutual_tls_and_strangers_are_refused(tmp_path: Path) -> None:
    """With certificates from files a job is done; who has none, or speaks plainly, gets nothing."""
    tls = certificates(tmp_path)
    write_prompts(tmp_path / "in.parquet", prompts(20))
    with cluster(tmp_path, tls=tls) as (address, _), stub_server(answering("Yes.")) as stub:
        settings = {"kind": "address", "address": address, "tls": tls}
        done = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, cluster=settings))
        port = int(address.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), patience(10)) as raw,
            pytest.raises(OSError, match=r".|^$"),
        ):
            _greet(raw, ssl.create_default_context(cafile=tls["ca"]))
        with socket.create_connection(("127.0.0.1", port), patience(10)) as raw:
            raw.sendall(b"\0" * 64)
            assert not _answers_in_clear(raw)
    assert (0, 20) == (done.exit_code, done.cost["rows"]["ok"])


def _greet(raw: socket.socket, context: ssl.SSLContext) -> None:
    """Raise ConnectionError where the other side hangs up without a word, SSLError where it says why."""
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as stranger:
        stranger.settimeout(patience(10))
        if not stranger.recv(1):  # TLS 1.3 tells of the missing certificate only here
            raise ConnectionError


def _answers_in_clear(raw: socket.socket) -> bool:
    """Say whether anything but a TLS alert comes back."""
    raw.settimeout(patience(10))
    try:
        said = raw.recv(64)
    except ConnectionError:
        return False
    return bool(said) and said[0] != 0x15


@pytest.mark.parametrize("part", ["ca", "cert", "key"])
def test_an_absent_certificate_is_named(tmp_path: Path, part: str) -> None:
    """The error names the config key and the file."""
    files = {name: str(tmp_path / "here.pem") for name in ("ca", "cert", "key")}
    (tmp_path / "here.pem").write_text("x")
    files[part] = str(tmp_path / "gone.pem")
    config = ClusterConfig(kind="address", address="tls://127.0.0.1:9", tls=files)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=rf"cluster\.tls\.{part}: .*gone\.pem can't be read \(FileNotFoundError\)"
    ):
        open_runner(config, lambda _: None, "t")


@pytest.fixture(scope="module")
def local() -> Iterator[Runner]:
    """Open a runner of one worker process."""
    runner = open_runner(ClusterConfig(kind="local", workers=1), lambda _: None, "security")
    yield runner
    runner.close()


def test_the_jobs_own_cluster_is_encrypted_and_on_loopback(local: Any) -> None:
    """Scheduler, workers and dashboard listen on loopback only, and Dask's ports ask for a certificate."""
    info = local._client.scheduler_info(n_workers=-1)
    addresses = [info["address"], *info["workers"], local._cluster.dashboard_link.replace("http", "tls", 1)]
    assert [] == [one for one in addresses if not one.startswith("tls://127.0.0.1:")]


def test_what_a_task_raises_brings_no_data_home(local: Any) -> None:
    """Class and place come home; the text is neither in the error nor in the scheduler nor in a worker's log."""
    local.submit(tasks.leak, Item(3, "canaryprompt"))
    error = _first(local).error
    assert isinstance(error, TaskError)
    assert ("ValueError", None, None) == (error.kind, error.__cause__, error.__context__)
    told = local._client.run_on_scheduler(_all_texts)
    logs = [*local._client.get_worker_logs().values(), local._client.get_scheduler_logs()]
    assert [] == [text for text in (repr(error), str(error), told, repr(logs)) if "canary" in text]


def _first(runner: Runner) -> Any:
    until = time.monotonic() + patience(30)
    while time.monotonic() < until:
        found = runner.wait(1)
        if found:
            return found[0]
    message = f"no task ended in {patience(30):.0f} s"
    raise AssertionError(message)


def _all_texts(dask_scheduler: Any) -> str:
    """Return what the scheduler knows in words of any task: names, groups, exceptions, events."""
    tasks_ = [
        (ts.key, ts.exception_text, ts.traceback_text, ts.exception, ts.traceback)
        for ts in dask_scheduler.tasks.values()
    ]
    return repr((tasks_, list(dask_scheduler.computations), dask_scheduler.get_events()))


@pytest.mark.parametrize("nanny", [True, False], ids=["nanny", "no-nanny"])
def test_a_worker_that_is_told_to_go_flushes(tmp_path: Path, *, nanny: bool) -> None:
    """At SIGTERM running tasks hear at once that nothing more is to be begun, and write what they have in time."""
    worker = ("--nworkers", "1") if nanny else ("--no-nanny",)
    with cluster(tmp_path, worker=worker) as (address, process):
        runner = open_runner(ClusterConfig(kind="address", address=address), lambda _: None, "t")
        try:
            runner.submit(tasks.flush_when_drained, Item(0, str(tmp_path / "flushed")))
            written(tmp_path / "flushed.begun", 30)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert "drained" == written(tmp_path / "flushed", FLUSHED_WITHIN_S)
            process.wait(patience(30))
            assert time.monotonic() - begun < patience(30)
        finally:
            runner.close()


def test_a_second_job_leaves_the_first_ones_workers_alone(tmp_path: Path) -> None:
    """A driver that comes and goes on a shared cluster drains nobody's tasks."""
    with cluster(tmp_path) as (address, _):
        config = ClusterConfig(kind="address", address=address)
        first = open_runner(config, lambda _: None, "first")
        open_runner(config, lambda _: None, "second").close()
        try:
            first.submit(tasks.until_drained, Item(0, "first"))
            assert [] == list(first.wait(1))
            first.drain()
            assert "drained" == _first(first).receipt
        finally:
            first.close()


def test_no_worker_samples_its_threads(tmp_path: Path) -> None:
    """Dask's profiler, which can hang a worker on Python 3.11, is off on a cluster that others started too."""
    with cluster(tmp_path) as (address, _):
        runner = open_runner(ClusterConfig(kind="address", address=address), lambda _: None, "t")
        try:
            runner.submit(tasks.profilers, Item(0))
            assert [] == _first(runner).receipt
        finally:
            runner.close()
