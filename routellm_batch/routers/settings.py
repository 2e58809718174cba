"""What a router is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from routellm_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of one router, as ``make_router`` got them."""

    checkpoint: str | None = None
    """``builtin:NAME``, or the path or URI of a folder of weights."""
    embedder: str = "static"
    """A row of ``EMBEDDERS``."""
    seed: int = 0
    """The run's seed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further settings."""

    def refuse_options(self, router: str) -> None:
        """Refuse options where a router has none.

        Raises:
            ConfigError: an option is given.

        """
        for name in self.options:
            raise ConfigError(f"router.options.{name}", f"router {router!r} has no options")

    def refuse_checkpoint(self, router: str) -> None:
        """Refuse a checkpoint where a router has no weights.

        Raises:
            ConfigError: a checkpoint is given.

        """
        if self.checkpoint is not None:
            raise ConfigError("router.checkpoint", f"router {router!r} has no weights; leave it out")
