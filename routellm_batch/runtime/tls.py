"""The PEM files of mutual TLS, opened before Dask gets them: its own errors name neither the file nor the config key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from routellm_batch.config.cluster import TlsConfig
from routellm_batch.core.errors import ConfigError


def readable_files(tls: TlsConfig) -> Mapping[str, str]:
    """Return ``ca_file``, ``client_cert`` and ``client_key``, each with the path of its file.

    Raises:
        ConfigError: a file is missing or can't be read; the text names the config key and the file.

    """
    for name, path in tls.model_dump().items():
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            reason = type(error).__name__
            raise ConfigError(f"cluster.tls.{name}", f"{path} can't be read ({reason})") from None
    return {"ca_file": tls.ca, "client_cert": tls.cert, "client_key": tls.key}
