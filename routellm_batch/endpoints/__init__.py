"""Endpoints: the real client, the pace it keeps, and the fakes that tests and trials call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.endpoints.keys import resolve_key
from routellm_batch.endpoints.meter import Meter


async def fetch_embeddings(
    config: EmbedderConfig, requests: Sequence[Sequence[str]], meter: Meter
) -> list[NDArray[np.float32]]:
    """Ask the embeddings endpoint of a ``remote`` embedder for vectors, several requests at once.

    Args:
        config: model, address, key, price and retries.
        requests: the texts of each request; none of them empty.
        meter: where what is paid is booked.

    Returns:
        float32 [B, D] for each request, finite, as the endpoint gave them.

    Raises:
        ConfigError: the key's reference is unknown here.
        EndpointStopError: a request failed for good.
        BudgetStopError: the meter's allowance pays for no further request.

    """
    resolve_key(config.api_key, "router.embedder.api_key")  # named here as the config names it
    from routellm_batch.endpoints.embeddings import fetch_all  # late: the client is slow to import

    return await fetch_all(config, requests, meter)
