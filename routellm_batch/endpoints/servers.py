"""The endpoints' servers: where each listens, and whether it can be reached."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.config.endpoints import (
    EndpointConfig,
    ReplayConfig,
    SimulateConfig,
    is_loopback,
    shown_url,
    speaks_plainly,
)
from routellm_batch.config.job import Config, EndpointsConfig
from routellm_batch.core.errors import ConfigError, EndpointStopError
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route
from routellm_batch.endpoints.keys import resolve_key, resolve_value
from routellm_batch.endpoints.simulator.process import start_server
from routellm_batch.endpoints.simulator.spec import Faults, ReferenceSpec, ReplaySpec, SimulateSpec
from routellm_batch.endpoints.tls import trusted

CONNECT_S = 10.0


@contextmanager
def base_urls(endpoints: EndpointsConfig, scheduler: str | None) -> Iterator[Mapping[Route, str]]:
    """Start the simulated and replay servers that the config asks for; yield each route's base URL.

    Args:
        endpoints: of the job.
        scheduler: address of the cluster that calls them; None for processes on this machine.

    Raises:
        ConfigError: such a server can't be reached from the cluster that the config names.
        InputError: a server can't be started; the text says why.

    """
    _check_reach(endpoints, scheduler)
    by_route = endpoints.by_route()
    with ExitStack() as stack, ThreadPoolExecutor(len(ROUTES)) as pool:

        def begin(endpoint: EndpointConfig) -> str:
            spec = server_spec(endpoint)
            if spec is None:
                return endpoint.base_url or ""
            handle = start_server(spec)
            stack.callback(handle.close)  # here, so that one is stopped even if the other fails to start
            return handle.base_url

        # One endpoint may serve both routes (``ask``); then it has one server, with one log and one limit.
        strong = pool.submit(begin, by_route[STRONG])
        weak = strong if by_route[WEAK] == by_route[STRONG] else pool.submit(begin, by_route[WEAK])
        yield {STRONG: strong.result(), WEAK: weak.result()}


def server_spec(endpoint: EndpointConfig) -> SimulateSpec | ReplaySpec | None:
    """Return what to start for an endpoint; None for a real one."""
    price = endpoint.price
    cached = None if price.cached_input is None else str(price.cached_input)
    if endpoint.kind == "simulated":
        settings = endpoint.simulate or SimulateConfig()
        reference = None if settings.reference is None else ReferenceSpec(**settings.reference.model_dump())
        return SimulateSpec(
            model=endpoint.model,
            latency_ms=settings.latency_ms,
            faults=Faults(**settings.faults.model_dump()),
            seed=settings.seed,
            skill=settings.skill,
            output_tokens=settings.output_tokens,
            reference=reference,
            replies=settings.replies,
            rpm=settings.rpm,
            log=settings.log,
            price_input=str(price.input),
            price_output=str(price.output),
            price_cached=cached,
        )
    if isinstance(endpoint.replay, ReplayConfig):
        replay = endpoint.replay
        return ReplaySpec(
            model=endpoint.model,
            uri=replay.uri,
            prompt=replay.prompt,
            answer=replay.answer,
            latency_ms=replay.latency_ms,
            log=replay.log,
            price_input=str(price.input),
            price_output=str(price.output),
            price_cached=cached,
        )
    return None


def _check_reach(endpoints: EndpointsConfig, scheduler: str | None) -> None:
    """Refuse servers on this machine's loopback for workers on others."""
    own = [route for route in ROUTES if endpoints.of(route).kind != "openai"]
    if own and scheduler is not None and not is_loopback(urlsplit(scheduler).hostname or ""):
        problem = "a simulated or replay endpoint listens on this machine only, but the workers are elsewhere"
        raise ConfigError(f"endpoints.{own[0]}.kind", problem)


def check_reachable(urls: Mapping[Route, str], endpoints: EndpointsConfig) -> None:
    """Connect to each endpoint's port once, so that a wrong address costs seconds and not a night.

    Raises:
        EndpointStopError: nothing listens there, its name can't be resolved, or its certificate is not believed.

    """
    for route, url in urls.items():
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        try:
            with socket.create_connection((host, port), CONNECT_S) as plain:
                if parts.scheme == "https":
                    trusted(endpoints.of(route).ca_file).wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            message = (
                f"endpoints.{route}.base_url: the certificate of {shown_url(url)} is not trusted ({error.verify_message}); "
                f"nothing was sent. Name the file of its authority in endpoints.{route}.ca_file, or in the "
                "variable SSL_CERT_FILE, then run the same command again"
            )
            raise EndpointStopError(message) from None
        except OSError as error:
            reason = type(error).__name__
            message = (
                f"endpoints.{route}.base_url: {shown_url(url)} can't be reached ({reason}); nothing was sent. "
                "Check the address and the network, then run the same command again"
            )
            raise EndpointStopError(message) from None


def check_keys(endpoints: EndpointsConfig) -> None:
    """Look every reference and every file of authorities up before anything is done; they are read where they are used.

    Raises:
        ConfigError: one is unknown on this machine, or can't be used.

    """
    for name, endpoint in endpoints.named().items():
        check_secrets(endpoint, f"endpoints.{name}")


def check_secrets(endpoint: EndpointConfig | EmbedderConfig, prefix: str) -> None:
    """Look the references of one endpoint up, and its file of authorities.

    Raises:
        ConfigError: one is unknown on this machine, or can't be used; its key begins with ``prefix``.

    """
    resolve_key(endpoint.api_key, f"{prefix}.api_key")
    for key, settings in (("headers", endpoint.headers), ("query", endpoint.query)):
        for name, value in settings.items():
            resolve_value(value, f"{prefix}.{key}.{name}")
    if endpoint.base_url is not None:
        trusted(endpoint.ca_file, f"{prefix}.ca_file")


def plain_http_words(config: Config) -> list[str]:
    """Return a sentence for each URL that is called over plain http on another machine, as the config allows."""
    called = [one.base_url for one in config.endpoints.named().values()]
    urls = [url for url in (*called, config.router.embedder.base_url) if speaks_plainly(url)]
    return [
        f"allow_http is set: prompts, answers and the key travel unencrypted to {url}. "
        "Whoever is on the way can read and change them"
        for url in dict.fromkeys(map(shown_url, urls))
    ]


def check_scoring_key(embedder: EmbedderConfig) -> None:
    """Look the references of a ``remote`` embedder up, which scoring calls before any model is.

    Raises:
        ConfigError: one is unknown on this machine, or can't be used.

    """
    check_secrets(embedder, "router.embedder")
