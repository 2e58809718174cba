"""The endpoints' servers: where each listens, and whether it answers the door."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from routellm_batch.config.endpoints import EndpointConfig, ReplayConfig, SimulateConfig, is_loopback
from routellm_batch.config.job import Config
from routellm_batch.core.errors import ConfigError, EndpointStopError
from routellm_batch.core.types import ROUTES, STRONG, WEAK, Route
from routellm_batch.endpoints.keys import resolve_key
from routellm_batch.endpoints.simulator.serve import start_server
from routellm_batch.endpoints.simulator.spec import Faults, ReferenceSpec, ReplaySpec, SimulateSpec

CONNECT_S = 10.0


@contextmanager
def base_urls(config: Config) -> Iterator[Mapping[Route, str]]:
    """Start the simulated and replay servers that the config asks for; yield each route's base URL.

    Raises:
        ConfigError: such a server can't be reached from the cluster that the config names.
        InputError: a server can't be started; the text says why.

    """
    _check_reach(config)
    ends: dict[Route, EndpointConfig] = config.endpoints.by_route()
    with ExitStack() as stack, ThreadPoolExecutor(len(ROUTES)) as pool:

        def begin(end: EndpointConfig) -> str:
            spec = server_spec(end)
            if spec is None:
                return end.base_url or ""
            handle = start_server(spec)
            stack.callback(handle.close)  # here, so that one is stopped even if the other fails to start
            return handle.base_url

        # One endpoint may serve both routes (``ask``); then it has one server, with one log and one limit.
        strong = pool.submit(begin, ends[STRONG])
        weak = strong if ends[WEAK] == ends[STRONG] else pool.submit(begin, ends[WEAK])
        yield {STRONG: strong.result(), WEAK: weak.result()}


def server_spec(end: EndpointConfig) -> SimulateSpec | ReplaySpec | None:
    """Return what to start for an endpoint; None for a real one."""
    price = end.price
    cached = None if price.cached_input is None else str(price.cached_input)
    if end.kind == "simulated":
        given = end.simulate or SimulateConfig()
        reference = None if given.reference is None else ReferenceSpec(**given.reference.model_dump())
        return SimulateSpec(
            model=end.model,
            latency_ms=given.latency_ms,
            faults=Faults(**given.faults.model_dump()),
            seed=given.seed,
            skill=given.skill,
            output_tokens=given.output_tokens,
            reference=reference,
            replies=given.replies,
            rpm=given.rpm,
            log=given.log,
            price_input=str(price.input),
            price_output=str(price.output),
            price_cached=cached,
        )
    if isinstance(end.replay, ReplayConfig):
        replay = end.replay
        return ReplaySpec(
            model=end.model,
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


def _check_reach(config: Config) -> None:
    """Refuse servers on this machine's loopback for workers on others."""
    own = [route for route in ROUTES if config.endpoints.of(route).kind != "openai"]
    address = config.cluster.address
    if own and address is not None and not is_loopback(urlsplit(address).hostname or ""):
        problem = "a simulated or replay endpoint listens on this machine only, but the workers are elsewhere"
        raise ConfigError(f"endpoints.{own[0]}.kind", problem)


def check_reachable(urls: Mapping[Route, str]) -> None:
    """Knock at each endpoint's port, so that a wrong address costs seconds and not a night.

    Raises:
        EndpointStopError: nothing listens there, or its name can't be resolved.

    """
    for route, url in urls.items():
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), CONNECT_S).close()
        except OSError as error:
            reason = type(error).__name__
            message = (
                f"endpoints.{route}.base_url: {url} can't be reached ({reason}); nothing was sent. "
                "Check the address and the network, then run the same command again"
            )
            raise EndpointStopError(message) from None


def check_keys(config: Config) -> None:
    """Look every key reference up before anything is done; the keys themselves are read where they are used.

    Raises:
        ConfigError: a reference stands for nothing here.

    """
    for name, endpoint in config.endpoints.named().items():
        resolve_key(endpoint.api_key, f"endpoints.{name}.api_key")


def check_scoring_key(config: Config) -> None:
    """Look the key reference of a ``remote`` embedder up, which scoring calls before any model is.

    Raises:
        ConfigError: it stands for nothing here.

    """
    resolve_key(config.router.embedder.api_key, "router.embedder.api_key")
