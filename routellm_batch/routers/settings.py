"""What a router is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.core.errors import ConfigError

Options = TypeVar("Options", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of one router, as ``make_router`` got them."""

    checkpoint: str | None = None
    """``builtin:NAME``, or the path or URI of a folder of weights."""
    embedder: EmbedderConfig = EmbedderConfig()
    """What texts are read with, where the router reads embeddings."""
    seed: int = 0
    """The run's seed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further settings."""

    def read_options(self, model: type[Options], router: str) -> Options:
        """Return the options as a frozen pydantic model of the router's own.

        Raises:
            ConfigError: an unknown option, or a value that it can't have; the key is named.

        """
        try:
            return model.model_validate(dict(self.options))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            known = ", ".join(model.model_fields)
            problem = (
                f"is no option of router {router!r}; there are: {known}"
                if first["type"] == "extra_forbidden"
                else first["msg"].removeprefix("Value error, ")
            )
            raise ConfigError(f"router.options.{name}".rstrip("."), problem) from None

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
