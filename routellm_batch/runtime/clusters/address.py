"""``cluster.kind: address``: workers that somebody else runs, behind the address of their scheduler."""

from __future__ import annotations

from distributed import Client
from distributed.security import Security

from routellm_batch.config.cluster import ClusterConfig, TlsConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.events import Sink
from routellm_batch.runtime.dask import DaskRunner, set_up_dask
from routellm_batch.runtime.tls import readable_files

CONNECT_S = 60


def open_address(config: ClusterConfig, sink: Sink, token: str) -> DaskRunner:
    """Return a runner on the cluster at ``config.address``.

    Raises:
        ConfigError: no scheduler answers at the address, no worker joins, or a TLS file can't be read.

    """
    set_up_dask()
    address, security = config.address or "", _security(config.tls)
    try:
        client = Client(address, security=security, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            "cluster.address", f"no Dask scheduler answers at {address} ({type(error).__name__})"
        ) from None
    return DaskRunner(client, sink, token)


def _security(tls: TlsConfig | None) -> Security | None:
    if tls is None:
        return None
    files = {f"tls_{name}": path for name, path in readable_files(tls).items()}
    return Security(require_encryption=True, **files)
