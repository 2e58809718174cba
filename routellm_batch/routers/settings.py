"""The settings that a router is made from, and the checks that routers share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from routellm_batch.config.embedder import EmbedderConfig
from routellm_batch.config.problems import explain
from routellm_batch.core.errors import ConfigError

Options = TypeVar("Options", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of one router, as ``make_router`` got them."""

    checkpoint: str | None = None
    """``builtin:NAME``, or the path or URI of a folder of weights."""
    embedder: EmbedderConfig = EmbedderConfig()
    """Settings of the embedder, for a router that reads embeddings."""
    seed: int = 0
    """The run's seed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of this router."""

    def read_options(self, model: type[Options], router: str) -> Options:
        """Return the options as a frozen pydantic model of the router's own.

        Args:
            model: the class of that model.
            router: registry name, for errors.

        Raises:
            ConfigError: an unknown option, or a value that it can't have; the key is named.

        """
        try:
            return model.model_validate(dict(self.options))
        except ValidationError as error:
            (name, problem), *_ = explain(error, model)
            if problem.startswith("unknown key"):
                problem = f"is no option of router {router!r}; there are: {', '.join(model.model_fields)}"
            raise ConfigError(f"router.options.{name}".rstrip("."), problem) from None

    def refuse_options(self, router: str) -> None:
        """Check that no option is given, for a router that has none.

        Raises:
            ConfigError: an option is given.

        """
        for name in self.options:
            raise ConfigError(f"router.options.{name}", f"router {router!r} has no options")

    def refuse_checkpoint(self, router: str) -> None:
        """Check that no checkpoint is given, for a router that has no weights.

        Raises:
            ConfigError: a checkpoint is given.

        """
        if self.checkpoint is not None:
            raise ConfigError("router.checkpoint", f"router {router!r} has no weights; leave it out")


def refuse_unknown_model(name: str, known: Collection[str], *, option: str) -> None:
    """Check that a checkpoint knows a model.

    Args:
        name: the model that the config names.
        known: the models of the checkpoint.
        option: the router's option that names it, for the error.

    Raises:
        ConfigError: it is not one of them; the text names the closest.

    """
    if name not in known:
        close = get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:3]
        raise ConfigError(
            f"router.options.{option}", f"the checkpoint knows no {name!r}; near: {', '.join(close)}"
        )
