"""Which certificates are believed: the public authorities, or those that the config or the environment names."""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path

import httpx2

from routellm_batch.core.errors import ConfigError

FROM_ENVIRONMENT = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""OpenSSL's own variables; what they name stands in place of the public authorities, as it does for other programs."""


def trusted(ca_file: str | None, config_key: str = "ca_file") -> ssl.SSLContext:
    """Return what checks an endpoint's certificate; read once in a process, as that takes longer than a hundred calls.

    Args:
        ca_file: PEM file of authorities, absolute or below the working directory; None for the environment's, or else
            for the public ones.
        config_key: where it is named, for the error.

    Raises:
        ConfigError: the file or folder is absent, unreadable, or holds no certificate; the text names it.

    """
    if ca_file is not None:
        return _from_file(str(Path(ca_file).absolute()), config_key)
    file, folder = (os.environ.get(name) or None for name in FROM_ENVIRONMENT)
    if file is None and folder is None:
        return _public()
    if folder is not None and not all(Path(one).is_dir() for one in folder.split(os.pathsep)):
        raise ConfigError("SSL_CERT_DIR", f"{folder} is not a folder of certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if file is None else _from_file(file, "SSL_CERT_FILE")
    if folder is not None:
        for one in folder.split(os.pathsep):
            context.load_verify_locations(capath=one)
    return context


@cache
def _public() -> ssl.SSLContext:
    """Return the SDK's own way of checking certificates."""
    return httpx2.create_ssl_context(trust_env=False)


@cache
def _from_file(path: str, config_key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError) as error:
        known = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
        problem = f"can't be read ({type(error).__name__})" if known else "holds no certificate in PEM form"
        raise ConfigError(
            config_key, f"{path} {problem}; name a PEM file of the authority's certificate"
        ) from None
    return context
