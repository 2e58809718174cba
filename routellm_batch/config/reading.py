"""From what a user wrote to a tree of values, and from pydantic's errors to sentences that name the user's key.

YAML keeps numbers as they are written (a share of 0.26 is the Decimal 0.26) and may have no key twice.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

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
    if not equals or not path:
        raise ConfigError(override, "an override is written key.path=value")
    at: Any = tree
    *parents, last = path.split(".")
    for part in parents:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise ConfigError(path, f"{part} is not a mapping, so nothing can be set below it")
    at[last] = parse_yaml(text, source=path)


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """Return the key and the problem of each error of a validation, in pydantic's order.

    Args:
        error: what the validation raised.
        model: what was validated; an unknown key is explained by the likely one of its keys.

    """
    return [_explain(one, model) for one in error.errors(include_url=False, include_input=False)]


def _explain(error: Any, model: Any) -> tuple[str, str]:
    parts, inner = _follow([str(part) for part in error["loc"]], model)
    kind, key = error["type"], ".".join(parts)
    if kind == "extra_forbidden":
        return key, "unknown key" + _suggest(parts[-1], inner)
    if kind == "missing":
        return key, "is missing"
    if kind == "union_tag_not_found":
        return f"{key}.kind", "is missing"
    if kind == "union_tag_invalid":
        return f"{key}.kind", f"{error['ctx']['tag']!r} is none of {error['ctx']['expected_tags']}"
    text = error["msg"].removeprefix("Value error, ")
    return key, text[:1].lower() + text[1:] if text[:2] != text[:2].upper() else text


def _follow(loc: Sequence[str], model: Any) -> tuple[list[str], Any]:
    """Return a location as the file has it, and the model that its last part belongs to, if that is known.

    Between a key that takes one of several kinds and the keys below it, pydantic names the kind.
    """
    parts: list[str] = []
    left = list(loc)
    while left:
        parts.append(left.pop(0))
        if not left or model is None:
            continue
        field = getattr(model, "model_fields", {}).get(parts[-1])
        options = [] if field is None else _models(field.annotation)
        if len(options) > 1:
            kind = left.pop(0)
            options = [one for one in options if kind in get_args(one.model_fields["kind"].annotation)]
        model = options[0] if options else None
    return parts, model


def _models(annotation: Any) -> list[Any]:
    """Return the models that an annotation allows."""
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _suggest(name: str, model: Any) -> str:
    if model is None:
        return ""
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"
