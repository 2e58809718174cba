"""From what a user wrote to a tree of values.

YAML keeps numbers as they are written (a share of 0.26 is the Decimal 0.26) and may have no key twice.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import yaml

from routellm_batch.core.errors import ConfigError

_FLOAT = re.compile(r"^[-+]?(\d[\d_]*\.\d*|\.\d+|\d[\d_]*(?=[eE]))([eE][-+]?\d+)?$")
_WITH_EXPONENT = re.compile(r"^[-+]?(\d[\d_]*(\.\d*)?|\.\d+)[eE][-+]?\d+$")
"""Floats that YAML 1.1 takes for text: 1e3, 1.5e3."""
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """SafeLoader with Decimal for floats; dates stay text, duplicate keys are refused."""


def _decimal(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    text = str(loader.construct_scalar(node)).replace("_", "")
    if _FLOAT.match(text):
        return Decimal(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
        key = loader.construct_object(key_node)
        if key in seen:
            line = key_node.start_mark.line + 1
            raise ConfigError(str(key), f"is written twice (line {line})")
        seen.add(key)
    loader.flatten_mapping(node)
    return {loader.construct_object(k): loader.construct_object(v, deep=True) for k, v in node.value}


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _WITH_EXPONENT, list("-+.0123456789"))


def parse_yaml(text: str, *, source: str) -> Any:
    """Parse one YAML document.

    Raises:
        ConfigError: not YAML, or a key written twice; the text says at which line.

    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader with one more number type
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        problem = f"not valid YAML{where}: {getattr(error, 'problem', '') or 'cannot be parsed'}"
        raise ConfigError("", problem, source=source) from None
    except ConfigError as error:
        raise ConfigError(error.key, error.problem, source=source) from None
    except (ValueError, TypeError):  # an impossible number, or a key that is itself a list
        raise ConfigError("", "not valid YAML: a number or a key can't be read", source=source) from None


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one value of a tree as ``key.path=value`` says; the value is YAML.

    Raises:
        ConfigError: the override has another form, its value is not YAML, or a part of the path is not a mapping.

    """
    path, equals, text = override.partition("=")
    path = path.removeprefix("--")  # as options of other programs are written
    if not equals or not path:
        raise ConfigError(override, "an override is written key.path=value")
    at: Any = tree
    *parents, last = path.split(".")
    for part in parents:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(path, f"{part} is not a mapping, so nothing can be set below it")
    at[last] = parse_yaml(text, source=path)
