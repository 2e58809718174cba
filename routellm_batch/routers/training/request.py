"""What a trainer is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import ConfigError
from routellm_batch.routers.settings import RouterSettings


def _quiet(_line: str) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """One training."""

    paths: Sequence[str]
    """Parquet files, globs or folders (paths or URIs)."""
    out: str
    """Path or URI of a new folder."""
    embedder: EmbedderConfig = EmbedderConfig()
    """What texts are read with, where the router reads embeddings."""
    seed: int = 0
    """Of every random choice."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this trainer."""
    progress: Callable[[str], None] = _quiet
    """Told a line now and then: step, loss, held-out metric."""

    def settings(self) -> RouterSettings:
        """Return the options as a router's settings, whose ``read_options`` checks them."""
        return RouterSettings(None, self.embedder, self.seed, self.options)

    def refuse_options(self, router: str) -> None:
        """Refuse options where a trainer has none.

        Raises:
            ConfigError: an option is given.

        """
        for name in self.options:
            raise ConfigError(f"option {name}", f"the trainer of router {router!r} has no options")


class Trained(Protocol):
    """What every trainer returns."""

    @property
    def out(self) -> str:
        """Where the checkpoint is."""
        ...
