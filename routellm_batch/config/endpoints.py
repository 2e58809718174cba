"""The endpoint part of the configuration: what is called, at which price, within which limits."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from routellm_batch.budget.pricing import CallPrice, Price, usd_to_nano
from routellm_batch.config.connection import (
    Headers,
    Query,
    Reach,
    Settings,
    check_query,
    check_reach,
    check_url_query,
)
from routellm_batch.config.model import Model, PlainJson, Probability, plain_json

RESERVED_PARAMS = frozenset({"model", "messages", "stream", "n", "best_of"})
"""Keys of a request that the job sets itself, or that would change what a reply is or how many answers are paid for."""
MAXIMA = ("max_completion_tokens", "max_tokens")
"""Params that limit an answer's tokens; older servers know only the second."""

METADATA_HOSTS = frozenset(
    (
        *(
            "metadata",
            "metadata.google.internal",
            "metadata.goog",
            "instance-data",
            "instance-data.ec2.internal",
        ),
        *("metadata.azure.internal", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"),
    )
)
"""Where clouds serve a machine's credentials, apart from link-local addresses."""

_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
"""Blanks, control characters and backslashes: programs differ in what host and path are around them."""
_BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

MAX_PRICE_USD = 10_000
"""The highest price of a million tokens that a config may have."""


def _price(value: Decimal) -> Decimal:
    if not value.is_finite() or value < 0 or value.as_tuple().exponent < -9:  # type: ignore[operator]
        message = "must be USD per million tokens, 0 or more, with at most nine decimals"
        raise ValueError(message)
    if value > MAX_PRICE_USD:  # planning adds costs up in 64 bits
        message = f"must be USD per million tokens, {MAX_PRICE_USD:,} at most"
        raise ValueError(message)
    return value


def _sum(value: Decimal) -> Decimal:
    usd_to_nano(value)
    return value


def _key_reference(value: str) -> str:
    if not value.startswith(("env:", "file:")) or not value.partition(":")[2]:
        message = "must be a reference, env:NAME or file:/path; a literal key is refused"
        raise ValueError(message)
    return value


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_link_local(host: str) -> bool:
    """Whether a host is a cloud's metadata service, or an address that no model server has."""
    if host.rstrip(".").lower() in METADATA_HOSTS:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_link_local or mapped.is_unspecified or str(mapped) in METADATA_HOSTS


def _uri(value: str) -> str:
    if "@" in urlsplit(value).netloc and ":" in urlsplit(value).netloc.rpartition("@")[0]:
        message = "must hold no password; the store's own environment variables or files have the credentials"
        raise ValueError(message)
    return value


def _split_url(value: str) -> SplitResult | None:
    """Return the parts of a URL; None where a program could read another host out of it, or none can be called."""
    try:
        parts = urlsplit(value)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as name resolution will
    except ValueError:  # brackets that hold no address, a port out of range, a host with an empty part
        return None
    return None if port == 0 or _NOT_IN_URL.search(value) else parts


def _base_url(value: str) -> str:
    parts = _split_url(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        message = "must be a URL such as https://api.example.com/v1"
        raise ValueError(message)
    host = parts.hostname
    if "@" in parts.netloc or "#" in value:
        message = (
            "must hold no user, password or fragment; the key belongs in api_key as a reference, "
            "a query that holds one in query: {name: env:NAME}"
        )
        raise ValueError(message)
    if _is_link_local(host):
        message = "must not be a link-local address or a metadata service, whose replies are credentials"
        raise ValueError(message)
    if "%" in parts.netloc or _BROKEN_PERCENT.search(parts.path) or _BROKEN_PERCENT.search(parts.query):
        message = "must have a percent sign only in its path or query, before two hexadecimal digits"
        raise ValueError(message)
    if any(part in {".", ".."} for part in unquote(parts.path).split("/")):
        message = "must have no . or .. in its path"
        raise ValueError(message)
    check_url_query(parts.query)
    address, _, query = value.partition("?")
    return address.rstrip("/") + (f"?{query}" if query else "")


def shown_url(base_url: str | None) -> str:
    """Return a base URL for people and logs: without its query, which may hold what nobody else should read."""
    return (base_url or "").partition("?")[0]


def speaks_plainly(base_url: str | None) -> bool:
    """Whether prompts, answers and the key travel to a URL unencrypted over a network."""
    parts = urlsplit(base_url or "")
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def check_http(base_url: str | None, *, allow_http: bool) -> None:
    """Refuse plain http to another machine, unless the config asks for it.

    Raises:
        ValueError: the URL is http, its host is another machine, and ``allow_http`` is not set.

    """
    if speaks_plainly(base_url) and not allow_http:
        message = (
            "base_url must be https, except on this machine (localhost, 127.0.0.1); for a host of your own "
            "network, where nobody else can read along, set allow_http: true"
        )
        raise ValueError(message)


Usd = Annotated[Decimal, AfterValidator(_price)]
Uri = Annotated[str, AfterValidator(_uri)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
KeyReference = Annotated[str, AfterValidator(_key_reference)]
Sum = Annotated[Decimal, Field(gt=0), AfterValidator(_sum)]


class PriceConfig(Model):
    """USD per million tokens."""

    input: Usd
    """Price of a million input tokens."""
    output: Usd
    """Price of a million output tokens."""
    cached_input: Usd | None = None
    """Price of a million input tokens read from the provider's cache; None is that of ``input``."""


class LimitsConfig(Model):
    """What the endpoint allows, for the whole run."""

    rpm: Annotated[int, Field(ge=1)] | None = None
    """Requests a minute; None sets no limit."""
    tpm: Annotated[int, Field(ge=1)] | None = None
    """Tokens a minute, input and output; None sets no limit."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Requests in progress at once."""


class FaultsConfig(Model):
    """Chance of each fault, per request."""

    rate_limit: Probability = 0
    """429 with Retry-After."""
    server_error: Probability = 0
    """500, 502 or 503."""
    hang: Probability = 0
    """No reply until the client leaves."""
    truncated: Probability = 0
    """200, with a body that breaks off."""
    html: Probability = 0
    """200, with an HTML page."""


class ReferenceConfig(Model):
    """Known answers, which a simulated model gives right more often the more skilled it is."""

    uri: str
    """Parquet file of prompts with right answers."""
    prompt: str = "prompt"
    """Its column of prompts."""
    answer: str = "reference"
    """Its column of right answers."""
    difficulty: str | None = "difficulty"
    """Its column of difficulties in [0, 1]; None makes every prompt 0.5."""


class SimulateConfig(Model):
    """A made-up model on loopback."""

    latency_ms: Annotated[float, Field(ge=0)] = 50
    """Milliseconds to an answer."""
    faults: FaultsConfig = FaultsConfig()
    """Chance of each fault."""
    seed: int = 0
    """Seed of answers and faults."""
    skill: Probability = 0.5
    """How often the reference prompts are answered right, 0 to 1."""
    output_tokens: Annotated[int, Field(ge=1)] = 120
    """Mean length of an answer, in tokens."""
    reference: ReferenceConfig | None = None
    """Right answers, for answers that can be graded."""
    replies: dict[str, Annotated[float, BeforeValidator(plain_json), Field(ge=0)]] = Field(
        default_factory=dict
    )
    """Last line of an answer → how often, in proportion: makes a judge for trying things out."""
    rpm: Annotated[int, Field(ge=1)] | None = None
    """Requests a minute that the server allows; beyond it, it answers 429."""
    log: str | None = None
    """Local file for the server's own billing log."""

    @model_validator(mode="after")
    def _one_kind_of_answer(self) -> SimulateConfig:
        if self.replies and (self.reference is not None or not any(self.replies.values())):
            message = "replies need a weight above 0, and go with no reference"
            raise ValueError(message)
        return self


class ReplayConfig(Model):
    """Recorded answers on loopback."""

    uri: str
    """Parquet file of recorded answers."""
    prompt: str = "prompt"
    """Its column of prompts."""
    answer: str
    """Its column of answers."""
    latency_ms: Annotated[float, Field(ge=0)] = 0
    """Milliseconds to an answer."""
    log: str | None = None
    """Local file for the server's own billing log."""


class EstimateConfig(Model):
    """What planning expects of a call, before the endpoint has answered."""

    output_tokens: Annotated[int, Field(ge=1)] | None = None
    """Expected tokens of an answer; None is half of the maximum, or 256 without one (simulated: its mean)."""
    lengths_from: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    """Finished run below ``run.root``, by id or ``latest``, whose answer lengths are expected; a pilot comes first."""


class EndpointConfig(Model):
    """One model behind an OpenAI-compatible chat API."""

    kind: Literal["openai", "simulated", "replay"]
    """``openai``: any compatible server; ``simulated`` and ``replay``: a server that the run starts on this machine."""
    model: str
    """Name of the model, as the endpoint knows it."""
    price: PriceConfig
    """What tokens cost."""
    base_url: BaseUrl | None = None
    """URL of the API, up to ``/v1``, with a query where it has one; kind ``openai`` needs it, the others refuse it."""
    api_key: KeyReference | None = None
    """Reference to the key, ``env:NAME`` or ``file:/path``; a literal key is refused."""
    headers: Headers = Field(default_factory=Settings)
    """Further headers of each request; a secret one is a reference, as ``api_key`` is. May change on a resume."""
    query: Query = Field(default_factory=Settings)
    """Query of each request's URL, ``{api-version: 2024-10-21}``; a secret one is a reference. May change on a resume."""
    ca_file: str | None = None
    """PEM file of the authorities trusted for this endpoint, in place of the public ones. May change on a resume."""
    allow_http: bool = False
    """Allow http to another machine: prompts, answers and the key travel unencrypted. May change on a resume."""
    params: PlainJson = Field(default_factory=dict)
    """Further keys of each request, sent as they are; with a cap ``max_completion_tokens`` is needed."""
    limits: LimitsConfig = LimitsConfig()
    """What the endpoint allows."""
    timeout_s: Annotated[float, Field(gt=0)] = 120
    """Seconds that one attempt may take, from connect to last byte."""
    estimate: EstimateConfig = EstimateConfig()
    """What planning expects of an answer."""
    presume_5xx: bool = True
    """Book a 5xx reply at its worst cost, as some providers bill work that they failed to deliver."""
    simulate: SimulateConfig | None = None
    """Settings of kind ``simulated``."""
    replay: ReplayConfig | None = None
    """Settings of kind ``replay``."""

    @model_validator(mode="after")
    def _keys_fit_kind(self) -> EndpointConfig:
        if self.kind == "openai":
            if self.base_url is None:
                message = "base_url is missing: kind openai needs the endpoint's URL"
                raise ValueError(message)
        elif self.base_url is not None or self.api_key is not None:
            message = (
                f"base_url and api_key are not allowed with kind {self.kind}: the run starts its own server"
            )
            raise ValueError(message)
        if self.kind == "replay" and self.replay is None:
            message = "replay is missing: kind replay needs replay: {uri: …, answer: …}"
            raise ValueError(message)
        for name in ("simulate", "replay"):
            if getattr(self, name) is not None and self.kind != {"simulate": "simulated"}.get(name, name):
                message = f"{name} is not allowed with kind {self.kind}"
                raise ValueError(message)
        for name in MAXIMA:
            value = self.params.get(name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                message = f"params.{name} must be a whole number of tokens, 1 or more"
                raise ValueError(message)
        reserved = sorted(RESERVED_PARAMS & self.params.keys())
        if reserved:
            message = f"params.{reserved[0]} is set by the job and can't be given"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _can_be_reached_so(self) -> EndpointConfig:
        if self.kind != "openai" and (
            self.headers or self.query or self.ca_file is not None or self.allow_http
        ):
            message = (
                "headers, query, ca_file and allow_http are not allowed with "
                f"kind {self.kind}: the run starts its own server"
            )
            raise ValueError(message)
        check_http(self.base_url, allow_http=self.allow_http)
        check_reach(self.headers, self.api_key)
        check_query(self.base_url, self.query)
        return self

    @property
    def reach(self) -> Reach:
        """How it is reached besides its URL and key."""
        return Reach(self.headers, self.query, self.ca_file)

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens that an answer may have; None where the params set no limit.

        Of two limits it is the higher one, as an endpoint may use either.
        """
        given = [self.params.get(name) for name in MAXIMA]
        return max((value for value in given if value is not None), default=None)

    @property
    def expected_output_tokens(self) -> int:
        """Tokens that planning expects of an answer: as configured, or the simulation's mean, or half of the limit."""
        limit = self.max_output_tokens
        guess = 256 if limit is None else max(1, limit // 2)
        if self.kind == "simulated":
            guess = (self.simulate or SimulateConfig()).output_tokens
        expected = self.estimate.output_tokens or guess
        return expected if limit is None else min(expected, limit)

    @property
    def nano_price(self) -> Price:
        """The price in nano-dollars per million tokens."""
        return Price.from_usd(self.price.input, self.price.output, self.price.cached_input)

    @property
    def call_price(self) -> CallPrice:
        """What prices a call of this endpoint: its price, and how long its answers are expected to be and may be."""
        return CallPrice(self.nano_price, self.expected_output_tokens, self.max_output_tokens)
