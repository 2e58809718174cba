"""The billing log of a fake endpoint: what a provider would charge, written before each reply is sent."""

from __future__ import annotations

import json
import os
from pathlib import Path

from routellm_batch.budget.pricing import Price, cost_nano, usd_text
from routellm_batch.core.errors import ConfigError
from routellm_batch.core.types import Usage


class BillingLog:
    """Appends one JSON line per request.

    Each line is one ``write`` to a descriptor in append mode, so that it stays whole when several servers share a file, and
    survives a kill. Without a path nothing is written.
    """

    def __init__(self, path: str | None, price: Price) -> None:
        """Open the file, whose answers are billed at ``price``.

        Raises:
            ConfigError: the file can't be opened for appending.

        """
        self._price = price
        self._descriptor: int | None = None
        if path is not None:
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            except OSError as error:
                raise ConfigError("log", f"{path} can't be written ({type(error).__name__})") from None

    def write(self, t: float, request_key: str, attempt: int, status: int, usage: Usage) -> None:
        """Append one line.

        Args:
            t: Unix seconds.
            request_key: names the request over its attempts.
            attempt: how many times the client had sent it before.
            status: HTTP status of the reply.
            usage: what is billed.

        """
        if self._descriptor is None:
            return
        usd = usd_text(cost_nano(self._price, usage))
        line = (
            f'{{"t": {t:.6f}, "request_key": {json.dumps(request_key)}, "attempt": {attempt}, '
            f'"status": {status}, "input_tokens": {usage.input_tokens}, '
            f'"output_tokens": {usage.output_tokens}, "usd": "{usd}"}}\n'
        )
        os.write(self._descriptor, line.encode())

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
