"""Names to classes: a table row is ``name: "module:Class"`` and is imported when first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from routellm_batch.core.errors import ConfigError, MissingExtraError

EXTRAS = {
    "dask_cuda": "cuda",
    "torch": "torch",
    "transformers": "torch",
    "s3fs": "s3",
    "adlfs": "azure",
    "gcsfs": "gcs",
}
"""Missing package → the extra that brings it."""


def resolve(table: Mapping[str, str], name: str, *, key: str) -> Any:
    """Import and return what ``name`` stands for in ``table``.

    Args:
        table: name → ``module:Class``.
        name: what the config asks for.
        key: the config key, for the error.

    Raises:
        ConfigError: no such name; the text lists those there are.
        MissingExtraError: its packages are not installed; the text names the extra.

    """
    check_name(table, name, key=key)
    module, _, attribute = table[name].partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise missing_extra(error, what=f"{key}: {name}") from error


def check_name(table: Mapping[str, str], name: str, *, key: str) -> None:
    """Refuse a name that stands for nothing in ``table``.

    Raises:
        ConfigError: the text lists the names there are, and the likely one.

    """
    if name not in table:
        close = get_close_matches(name, table, n=1)
        there = f"did you mean {close[0]}? There are" if close else "there are"
        raise ConfigError(key, f"no such name {name!r}; {there}: {', '.join(sorted(table))}")


def missing_extra(error: ModuleNotFoundError, *, what: str) -> Exception:
    """Say which extra a failed import asks for; the error itself where none is known."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return error
    return MissingExtraError(f'{what} needs {package}: pip install "routellm-batch[{extra}]"')
