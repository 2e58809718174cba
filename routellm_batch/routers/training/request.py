"""The request that every trainer takes, and what every report of a training holds."""

from __future__ import annotations

import math
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
    """What to train on, where to write the checkpoint, and the trainer's settings."""

    paths: Sequence[str]
    """Parquet files, globs or folders (paths or URIs)."""
    out: str
    """Path or URI of a new folder."""
    embedder: EmbedderConfig = EmbedderConfig()
    """What texts are read with, where the router reads embeddings."""
    seed: int = 0
    """Seed of every random choice."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this trainer."""
    progress: Callable[[str], None] = _quiet
    """Called with a line of text now and then: step, loss, figures on the rows held out."""

    def settings(self) -> RouterSettings:
        """Return the request as a router's settings, whose ``read_options`` checks the options."""
        return RouterSettings(None, self.embedder, self.seed, self.options)

    def refuse_options(self, router: str) -> None:
        """Check that no option is given, for a trainer that has none.

        Raises:
            ConfigError: an option is given.

        """
        for name in self.options:
            raise ConfigError(f"option {name}", f"the trainer of router {router!r} has no options")


def file_name(uri: str) -> str:
    """Return the last part of a path or URI, as model cards name a file; cards hold no folders."""
    return uri.rstrip("/").rpartition("/")[2]


class Trained(Protocol):
    """What every trainer returns."""

    @property
    def out(self) -> str:
        """Where the checkpoint is."""
        ...

    @property
    def summary(self) -> str:
        """What it was trained on, and the figure on rows held out, in a clause."""
        ...


def gain_text(apgr: float) -> str:
    """Return the part of the gain that a ranking recovers, in words; NaN is no gain to recover."""
    return "no gain to recover" if math.isnan(apgr) else f"APGR {apgr:.3f} (random has 0.5)"
