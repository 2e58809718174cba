"""How endpoints are reached: a private authority, further headers and a query, plain http to a named host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.authority import Gateway, gateway, write_certificates
from helpers.jobs import Finished, job_config, prompts, run_job, write_prompts
from helpers.patience import patience

from routellm_batch.config.identity import identity
from routellm_batch.core.errors import ConfigError, EndpointStopError, RunMismatchError
from routellm_batch.core.types import STRONG
from routellm_batch.endpoints import servers
from routellm_batch.endpoints.servers import check_keys, check_reachable, plain_http_words
from routellm_batch.pipeline.ask import Ask, ask_config

SECRET = "a-secret-of-the-gateway"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Certificates of an authority that nobody else knows."""
    (tmp_path / "tls").mkdir()
    return write_certificates(tmp_path / "tls")


@pytest.fixture
def server(files: dict[str, str], tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with a certificate of that authority, and an input."""
    write_prompts(tmp_path / "in.parquet", prompts(4))
    with gateway(files) as served:
        yield served


def settings(**keys: Any) -> dict[str, Any]:
    """Return the changes that give both endpoints some keys."""
    return {
        f"endpoints__{route}__{key}": value for route in ("strong", "weak") for key, value in keys.items()
    }


def finish(folder: Path, server: Gateway, **changes: Any) -> Finished:
    """Run a job on the gateway."""
    return run_job(job_config(folder, strong=server.base_url, weak=server.base_url, **changes))


def answer_first(door: socket.socket, said: bytes | None) -> socket.socket:
    """Take a connection, and say something that is no TLS, or nothing."""
    taken, _ = door.accept()
    if said is not None:
        taken.sendall(said)
    return taken


def test_a_private_authority_is_trusted_where_it_is_named(
    tmp_path: Path, server: Gateway, files: dict[str, str]
) -> None:
    """With ``ca_file`` a server of a company's own authority is called."""
    result = finish(tmp_path, server, **settings(ca_file=files["ca"]))
    assert (0, ["ok"] * 4) == (result.exit_code, [row["status"] for row in result.rows])


def test_an_authority_of_the_environment_is_heard(
    tmp_path: Path, server: Gateway, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names the authority for every endpoint, in worker processes too."""
    monkeypatch.setenv("SSL_CERT_FILE", files["ca"])
    result = finish(tmp_path, server, cluster={"kind": "local", "workers": 1})
    assert (0, 4) == (result.exit_code, len(server.requests))


def test_an_unknown_authority_stops_before_anything_is_sent(tmp_path: Path, server: Gateway) -> None:
    """A certificate that is not trusted says so at the start, and what to do."""
    with pytest.raises(EndpointStopError, match=r"is not trusted .*endpoints\.\w+\.ca_file") as caught:
        finish(tmp_path, server)
    assert ("SSL_CERT_FILE" in str(caught.value), []) == (True, server.requests)


@pytest.mark.parametrize("said", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_server_that_shakes_no_hands_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes | None
) -> None:
    """A port that takes connections and stays silent, or speaks no TLS, ends the check as one that can't be reached."""
    monkeypatch.setattr(servers, "CONNECT_S", 0.2 if said is None else patience(5))
    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor(1) as pool:
        url = f"https://127.0.0.1:{door.getsockname()[1]}/v1"
        answered = pool.submit(answer_first, door, said)
        config = job_config(tmp_path, strong=url, weak=url)
        with pytest.raises(EndpointStopError, match="can't be reached"):
            check_reachable({STRONG: url}, config.endpoints)
        answered.result(patience(5)).close()


@pytest.mark.parametrize("content", [None, b"", b"not PEM"])
def test_a_file_of_authorities_is_checked_first(tmp_path: Path, content: bytes | None) -> None:
    """A file that is absent or holds no certificate is refused with its key, before anything is done."""
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    config = job_config(tmp_path, **settings(ca_file=str(tmp_path / "ca.pem")), strong="https://h/v1")
    with pytest.raises(ConfigError, match=r"endpoints\.strong\.ca_file: .*ca\.pem"):
        check_keys(config.endpoints)


def test_headers_and_query_travel_and_secrets_do_not_stay(
    tmp_path: Path, server: Gateway, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gateway asks for is on each request; the run folder has references alone."""
    monkeypatch.setenv("GATEWAY_KEY", SECRET)
    server.base_url = server.base_url.removesuffix("/v1") + "/openai/deployments/gpt"
    headers = {"api-key": "env:GATEWAY_KEY", "X-Team": "search"}
    result = finish(
        tmp_path,
        server,
        **settings(ca_file=files["ca"], headers=headers, query={"api-version": "2024-10-21"}),
    )
    assert {"/openai/deployments/gpt/chat/completions?api-version=2024-10-21"} == {
        path for path, _ in server.requests
    }
    sent = server.requests[0][1]
    assert (SECRET, "search", None) == (sent["api-key"], sent["X-Team"], sent.get("Authorization"))
    folder = Path(result.run_uri.removeprefix("file://"))
    assert not [path for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert b"env:GATEWAY_KEY" in (folder / "run.json").read_bytes()


@pytest.mark.parametrize(
    ("value", "words"), [(None, "NO_SUCH is not set"), ("a\r\nb", "env:NO_SUCH has a line")]
)
def test_a_reference_of_a_header_is_looked_up_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, words: str
) -> None:
    """A header whose variable is absent, or holds what can't be sent, is refused by its key without its value."""
    if value is not None:
        monkeypatch.setenv("NO_SUCH", value)
    config = job_config(tmp_path, **settings(headers={"X-Key": "env:NO_SUCH"}))
    with pytest.raises(ConfigError, match=rf"endpoints\.strong\.headers\.X-Key: .*{words}"):
        check_keys(config.endpoints)


def test_plain_http_needs_leave_and_is_said(tmp_path: Path) -> None:
    """With ``allow_http`` a host of the network is called, and the terminal says what that means, of an ask too."""
    url = "http://models.internal:8000/v1"
    with pytest.raises(ConfigError, match="base_url must be https"):
        job_config(tmp_path, strong=url)
    config = job_config(tmp_path, strong=f"{url}?v=canary", endpoints__strong__allow_http=True)
    for job in (config, ask_config(Ask(config, "in", STRONG, "root", "id", Decimal(1)))):
        assert [True] == [f"travel unencrypted to {url}. " in one for one in plain_http_words(job)]


def test_the_query_of_a_url_is_in_no_message(tmp_path: Path, server: Gateway) -> None:
    """What a URL asks for may be nobody else's business: messages name the address alone."""
    server.base_url += "?tenant=canary"
    with pytest.raises(EndpointStopError, match="is not trusted") as caught:
        finish(tmp_path, server)
    assert "canary" not in str(caught.value)


def test_a_query_of_a_url_reaches_the_endpoint(
    tmp_path: Path, server: Gateway, files: dict[str, str]
) -> None:
    """A URL as Azure's pages give it works as it is; what a refused resume shows of it is a digest."""
    server.base_url = server.base_url.removesuffix("/v1") + "/openai/deployments/gpt?api-version=2024-10-21"
    trusted = settings(ca_file=files["ca"])
    result = finish(tmp_path, server, **trusted)
    assert (0, {"/openai/deployments/gpt/chat/completions?api-version=2024-10-21"}) == (
        result.exit_code,
        {path for path, _ in server.requests},
    )
    server.base_url = server.base_url.replace("2024-10-21", "canary")
    with pytest.raises(RunMismatchError, match=r"with the query of digest [0-9a-f]{8}") as caught:
        finish(tmp_path, server, **trusted)
    assert "canary" not in str(caught.value)


def test_how_an_endpoint_is_reached_may_change_on_a_resume(tmp_path: Path) -> None:
    """None of these keys is a part of what a run is."""
    changed = settings(headers={"X-Team": "a"}, query={"v": "1"}, ca_file="ca.pem", allow_http=True)
    assert identity(job_config(tmp_path)) == identity(job_config(tmp_path, **changed))
