"""The cluster part of the configuration: where the work runs, and who may reach it."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from routellm_batch.config.endpoints import is_loopback
from routellm_batch.config.model import Model


class TlsConfig(Model):
    """PEM files for mutual TLS with a scheduler."""

    ca: str
    """PEM file of the certificate authority."""
    cert: str
    """PEM file of the certificate of this party."""
    key: str
    """PEM file of its private key."""


def _address(value: str) -> str:
    """Refuse an address that others can reach: whoever reaches a Dask scheduler can run code on it."""
    parts = urlsplit(value)
    if parts.scheme not in {"tcp", "tls"} or not parts.hostname:
        message = "must be tls://host:port, or tcp://host:port on this machine"
        raise ValueError(message)
    if parts.scheme == "tcp" and not is_loopback(parts.hostname):
        message = (
            f"{value} is neither encrypted nor on this machine, and whoever reaches a Dask scheduler can run code "
            "there; use tls://… with cluster.tls: {ca, cert, key}"
        )
        raise ValueError(message)
    return value


class ClusterConfig(Model):
    """Where the work runs."""

    kind: Literal["serial", "local", "address", "cuda"] = "serial"
    """``serial``: this process; ``local``: worker processes here; ``cuda``: one per GPU; ``address``: a Dask scheduler."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 2
    """Worker processes of kind ``local``."""
    address: Annotated[str, AfterValidator(_address)] | None = None
    """The scheduler's address, ``tls://host:port``, or ``tcp://`` on this machine; with kind ``address`` only."""
    tls: TlsConfig | None = None
    """Certificates for a ``tls://`` address."""

    @model_validator(mode="after")
    def _reach(self) -> ClusterConfig:
        if (self.kind == "address") != (self.address is not None):
            message = "address is required with kind address, and not allowed with another kind"
            raise ValueError(message)
        encrypted = self.address is not None and self.address.startswith("tls://")
        if encrypted != (self.tls is not None):
            message = (
                "tls: {ca, cert, key} is required with an address of tls://, and not allowed without one"
            )
            raise ValueError(message)
        return self
