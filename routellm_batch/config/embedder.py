"""The embedder part of the configuration: what reads the texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from routellm_batch.config.connection import (
    CONNECTION_KEYS,
    Headers,
    Query,
    Reach,
    Settings,
    check_query,
    check_reach,
)
from routellm_batch.config.endpoints import BaseUrl, KeyReference, Usd, check_http
from routellm_batch.config.model import Model
from routellm_batch.config.problems import explain
from routellm_batch.config.reading import parse_yaml
from routellm_batch.core.errors import ConfigError

ONLY = {
    "transformer": ("model", "pooling", "max_tokens", "batch_tokens", "device", "precision"),
    "remote": (
        "model",
        "base_url",
        "api_key",
        *CONNECTION_KEYS,
        "price",
        "dimensions",
        "batch_texts",
        "max_tokens",
        "timeout_s",
        "attempts",
    ),
}
"""Which embedder has which keys; ``static`` has none."""


class EmbeddingPriceConfig(Model):
    """USD per million tokens."""

    input: Usd
    """Price of a million input tokens."""


class EmbedderConfig(Model):
    """Which embedder a router reads texts with, and its settings; a key of another embedder is refused."""

    name: str = "static"
    """``static``, ``transformer`` or ``remote``."""
    model: str | None = None
    """transformer: a folder, ``package:NAME`` or ``hub:ORG/NAME@REVISION``; remote: the model's name at the endpoint."""
    pooling: Literal["auto", "mean", "cls"] = "auto"
    """transformer: how token vectors become one; ``auto`` is what the model's own config says, else the mean."""
    max_tokens: Annotated[int, Field(ge=8)] | None = None
    """Only this many tokens from the start of a text are read; None is the model's own bound."""
    batch_tokens: Annotated[int, Field(ge=8)] | None = None
    """transformer: tokens in a micro-batch, padding included; None suits the device."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """transformer: where it runs; ``auto`` is the GPU where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """transformer: ``auto`` is float32 on a CPU and bfloat16 on a GPU."""
    base_url: BaseUrl | None = None
    """remote: the endpoint's URL."""
    api_key: KeyReference | None = None
    """remote: reference to its key."""
    headers: Headers = Field(default_factory=Settings)
    """remote: further headers of each request; a secret one is a reference."""
    query: Query = Field(default_factory=Settings)
    """remote: query of each request's URL; a secret one is a reference."""
    ca_file: str | None = None
    """remote: PEM file of the authorities that are trusted, in place of the public ones."""
    allow_http: bool = False
    """remote: allow http to another machine: texts and key travel unencrypted."""
    price: EmbeddingPriceConfig | None = None
    """remote: what it costs."""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """remote: width to ask for; None is the model's own."""
    batch_texts: Annotated[int, Field(ge=1, le=2048)] = 256
    """remote: texts in a request."""
    timeout_s: Annotated[float, Field(gt=0)] = 60
    """remote: seconds that one attempt may take."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """remote: failed attempts after which scoring stops."""

    @model_validator(mode="after")
    def _own_keys(self) -> EmbedderConfig:
        allowed = ONLY.get(self.name, ())
        for key in sorted(self.model_fields_set - {"name", *allowed}):
            # A default may be spelt out: a run on storage names every setting.
            if getattr(self, key) == type(self).model_fields[key].get_default(call_default_factory=True):
                continue
            message = f"{key} is not a setting of embedder {self.name!r}"
            raise ValueError(message)
        if self.name in ONLY and self.model is None:
            message = f"embedder {self.name!r} needs a model"
            raise ValueError(message)
        if self.name == "remote" and (self.base_url is None or self.price is None):
            message = "embedder 'remote' needs base_url and price"
            raise ValueError(message)
        check_http(self.base_url, allow_http=self.allow_http)
        check_reach(self.headers, self.api_key)
        check_query(self.base_url, self.query)
        return self

    @property
    def reach(self) -> Reach:
        """How a remote one is reached besides its URL and key."""
        return Reach(self.headers, self.query, self.ca_file)


def parse_embedder(text: str) -> EmbedderConfig:
    """Return the embedder that a command line names: ``NAME``, ``NAME:MODEL`` or a YAML mapping of its settings.

    Raises:
        ConfigError: the settings are not those of an embedder; the text names the key.

    """
    name, _, model = text.partition(":")
    tree = parse_yaml(text, source="--embedder") if text.startswith("{") else {"name": name}
    if model and not text.startswith("{"):
        tree["model"] = model
    try:
        return EmbedderConfig.model_validate(tree)
    except ValidationError as error:
        key, problem = explain(error, EmbedderConfig)[0]
        raise ConfigError(f"--embedder {key}".strip(), problem) from None
