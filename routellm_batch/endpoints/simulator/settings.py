"""Reading specs from JSON or YAML: the file of ``endpoint simulate --faults FILE``, and specs sent to a child process."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from routellm_batch.config.reading import parse_yaml
from routellm_batch.core.errors import ConfigError
from routellm_batch.endpoints.simulator.spec import (
    FAULT_NAMES,
    Faults,
    ReferenceSpec,
    ServerSpec,
    SimulateSpec,
    Step,
)

Spec = TypeVar("Spec", bound=ServerSpec)
_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}


def simulate_spec(settings_file: str | None = None, **overrides: Any) -> SimulateSpec:
    """Return a spec from a JSON or YAML settings file (if any) and keyword overrides; None overrides nothing.

    The file is either chances alone (``{rate_limit: 0.02, …}``) or fields of ``SimulateSpec``, with prices as
    ``price: {input, output, cached_input}`` and the table of right answers as ``reference: {uri, …}``.

    Raises:
        ConfigError: the file can't be read, or a key is unknown or out of range.

    """
    settings = {} if settings_file is None else _read_settings(settings_file)
    settings.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return spec_from_json(SimulateSpec, settings)
    except ConfigError as error:
        raise ConfigError(error.key, error.problem, source=settings_file or "") from None


def _read_settings(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("", f"can't be read ({type(error).__name__})", source=path) from None
    try:
        settings = json.loads(text, parse_float=Decimal)
    except ValueError:
        settings = parse_yaml(text, source=path)
    if settings is None:
        return {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError("", "must be a mapping of names to values", source=path)
    if settings.keys() & set(FAULT_NAMES):
        return {"faults": settings}
    if "price" in settings:
        names = {"input": "price_input", "output": "price_output", "cached_input": "price_cached"}
        for name, value in _mapping("price", settings.pop("price"), names, source=path).items():
            settings[names[name]] = None if value is None else str(value)
    return settings


def spec_from_json(kind: type[Spec], values: Mapping[str, Any]) -> Spec:
    """Return a spec from plain JSON values, as ``dataclasses.asdict`` gives them.

    Raises:
        ConfigError: a key is unknown, or a value has the wrong type or range.

    """
    settings = _typed("", kind, values)
    for name, part in (("faults", Faults), ("reference", ReferenceSpec)):
        value = settings.get(name)
        if value is not None and not isinstance(value, part):
            settings[name] = part(**_typed(name, part, value))
    if "script" in settings:
        steps = _mapping("script", settings["script"], None)
        settings["script"] = {str(key): _steps(f"script.{key}", value) for key, value in steps.items()}
    return kind(**settings)


def _typed(key: str, kind: type[Any], values: Any) -> dict[str, Any]:
    """Return values that are fit for a dataclass: with known names, and plain types as annotated."""
    types = {f.name: str(f.type) for f in fields(kind)}
    checked = dict(_mapping(key, values, types))
    for name, value in checked.items():
        path = f"{key}.{name}" if key else name
        plain, _, optional = types[name].partition(" | ")
        if isinstance(value, Decimal):
            checked[name] = float(value)
        if plain not in _TYPES or (value is None and optional == "None"):
            continue
        expected, words = _TYPES[plain]
        if isinstance(value, bool) or not isinstance(checked[name], expected):
            raise ConfigError(path, f"must be {words}")
    return checked


def _mapping(key: str, value: Any, names: Collection[str] | None, *, source: str = "") -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(key, "must be a mapping of names to values", source=source)
    for name in value:
        if names is not None and name not in names:
            problem = f"unknown key; there are: {', '.join(sorted(names))}"
            raise ConfigError(f"{key}.{name}" if key else str(name), problem, source=source)
    return value


def _steps(key: str, value: Any) -> tuple[Step, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(key, "must be a list of fault names")
    return tuple(value)
