"""The parts of docs/contract.md that the code says: config keys, commands, kinds of errors.

python tools/contract_page.py            rewrites them
python tools/contract_page.py --check    exits with 1 where the page is stale

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. What a config key means is the docstring under
its field; what an option means is its help.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from routellm_batch.cli.app import app
from routellm_batch.config.identity import OPERATIONAL
from routellm_batch.config.job import Config
from routellm_batch.core.types import ErrorKind
from routellm_batch.reporting.run.wording import KIND_TEXTS
from routellm_batch.stages.call.task import PERMANENT

PAGE = Path(__file__).resolve().parents[1] / "docs" / "contract.md"
PART = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
WORDS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Decimal: "number",
    Any: "any value",
    dict: "mapping",
}
"""Type → its name for somebody who writes YAML."""
CHECKED = {
    "_uri": "path or URI",
    "_base_url": "URL",
    "_key_reference": "key reference",
    "_price": "USD",
    "_sum": "USD",
    "_json_schema": "JSON schema",
}
"""Validator of a type → its name, where that says more than the type."""
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
SHARED = ("strong", "weak", "judge")
"""Endpoints have the same keys, so one table serves them all."""


def render(text: str) -> str:
    """Return the page with its generated parts made anew."""
    parts = {
        "config": config_reference,
        "resume": resume_keys,
        "commands": command_reference,
        "errors": error_kinds,
    }
    return PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]()}\n{found[4]}", text)


def config_reference() -> str:
    """Return a table for each section of the config, with every key that a file may have."""
    tables: list[str] = []
    for title, lead, rows in _sections():
        head = "| key | type | default | |\n|---|---|---|---|\n"
        tables.append(f"### {title}\n\n{lead}\n\n{head}{''.join(rows)}")
    return "\n".join(tables)


def _sections() -> Iterator[tuple[str, str, list[str]]]:
    yield "Sections of a config", _line(Config.__doc__), [_row("", *one) for one in _fields(Config)]
    for name, field, _ in _fields(Config):
        if name == "endpoints":
            yield from _endpoints(field)
        elif name != "grade":  # has the graders of the pilot
            yield from _section(name, field)


def _section(name: str, field: FieldInfo) -> Iterator[tuple[str, str, list[str]]]:
    (model,) = _models(field.annotation)
    yield f"`{name}`", _line(model.__doc__), list(_rows(f"{name}.", model))
    for key, inner, _ in _fields(model):
        for kind in models if len(models := _models(inner.annotation)) > 1 else ():
            (value,) = get_args(kind.model_fields["kind"].annotation)
            text = f"{_line(kind.__doc__)} The same keys stand under `grade`."
            if value == "judge":
                text = f"{_line(kind.__doc__)} `grade` does not take it."
            yield f"`{name}.{key}` of kind `{value}`", text, list(_rows(f"{name}.{key}.", kind))


def _endpoints(field: FieldInfo) -> Iterator[tuple[str, str, list[str]]]:
    (group,) = _models(field.annotation)
    yield "`endpoints`", _line(group.__doc__), [_row("endpoints.", *one) for one in _fields(group)]
    (model,) = _models(group.model_fields["strong"].annotation)
    ends = ", ".join(f"`endpoints.{name}`" for name in SHARED)
    yield ends, _line(model.__doc__), list(_rows("endpoints.*.", model))


def _rows(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """Rows of a model's keys, each nested mapping right below its own key."""
    for name, field, text in _fields(model):
        yield _row(prefix, name, field, text)
        nested = _models(field.annotation)
        if len(nested) == 1:
            yield from _rows(f"{prefix}{name}.", nested[0])


def _row(prefix: str, name: str, field: FieldInfo, text: str) -> str:
    cells = (f"`{prefix}{name}`", type_text(field), _default_text(field), text)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Return each key as a file has it, its field and the line about it."""
    texts = {key: text for one in reversed(model.__mro__) for key, text in _texts_of(one).items()}
    fields = model.model_fields
    # A grader's kind comes first: it says which keys there are.
    for name in sorted(fields, key=lambda name: name != "kind"):
        field = fields[name]
        if not texts.get(name):
            message = f"{model.__name__}.{name} has no docstring"
            raise LookupError(message)
        yield field.alias or name, field, texts[name]


def _texts_of(model: type) -> dict[str, str]:
    """Return field → the docstring under it, of the fields that a class itself has."""
    if not issubclass(model, BaseModel) or model is BaseModel:
        return {}
    (body,) = (
        one
        for one in ast.parse(textwrap.dedent(inspect.getsource(model))).body
        if isinstance(one, ast.ClassDef)
    )
    return {
        field.target.id: _line(text.value.value)
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }


def _line(text: str | None) -> str:
    return re.sub(r"\bNone\b", "none", " ".join((text or "").split()).replace("``", "`"))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation allows."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def type_text(field: FieldInfo) -> str:
    """Return what a key takes, in words."""
    return _type(field.annotation, list(field.metadata))


def _type(annotation: Any, metadata: list[Any]) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0], [*parts[1:], *metadata])
    if origin in {Union, types.UnionType}:
        return _union([part for part in parts if part is not types.NoneType], metadata)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0], [])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "mapping"
    names = [CHECKED[name] for one in metadata if (name := _validator(one)) in CHECKED]
    return _bounded(names[0] if names else WORDS[origin or annotation], metadata)


def _union(parts: list[Any], metadata: list[Any]) -> str:
    return "a grader" if len(parts) > 1 else _type(parts[0], metadata)


def _validator(one: Any) -> str:
    return one.func.__name__ if isinstance(one, AfterValidator) else ""


def _bounded(name: str, metadata: list[Any]) -> str:
    limits = [
        (sign, getattr(one, key))
        for key, sign in BOUNDS.items()
        for one in _plain(metadata)
        if hasattr(one, key)
    ]
    return ", ".join([name, *(f"{sign} {value:,}" for sign, value in limits)])


def _plain(metadata: list[Any]) -> Iterator[Any]:
    """Constraints, those inside a ``Field`` too."""
    for one in metadata:
        yield from one.metadata if isinstance(one, FieldInfo) else [one]


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its keys' defaults"
    if value is None:
        return "none"
    if isinstance(value, (tuple, dict)):
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def resume_keys() -> str:
    """Return the keys that may change between a run and its resume."""
    names = (re.sub(r"^endpoints\.\w+\.", "endpoints.*.", key) for key in OPERATIONAL)
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names)) + ".\n"


def command_reference() -> str:
    """Return usage, arguments and options of every command."""
    return "\n".join(_command(name, command) for name, command in _commands("routellm-batch", _root()))


def _root() -> Any:
    return typer.main.get_command(app)


def _commands(path: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(f"{path} {name}", command)
        else:
            yield f"{path} {name}", command


def _command(name: str, command: Any) -> str:
    usage = " ".join([name, *(_usage(one) for one in command.params)])
    head = "| | default | |\n|---|---|---|\n"
    rows = [f"| `{_spelt(one)}` | {_given(one)} | {_line(one.help)} |\n" for one in command.params]
    return f"### `{name}`\n\n{_line(command.help)}\n\n```\n{usage}\n```\n\n{head}{''.join(rows)}"


def _spelt(param: Any) -> str:
    """Return an argument or option as somebody types it."""
    if param.param_type_name == "argument":
        return str(param.metavar)
    flag = param.opts[0]
    return flag if param.is_flag else f"{flag} {param.metavar or param.name.upper()}"


def _usage(param: Any) -> str:
    if param.param_type_name == "argument":
        text = param.metavar if param.required else f"[{param.metavar}]"
        return f"{text}…" if param.nargs == -1 else text
    text = _spelt(param) if param.required else f"[{_spelt(param)}]"
    return f"{text}…" if param.multiple else text


def _given(param: Any) -> str:
    if param.required:
        return "required"
    if getattr(param, "is_flag", False):
        return "off"
    return "none" if param.default is None else f"`{param.default}`"


def error_kinds() -> str:
    """Return why a row can be failed, and whether a resume calls it again."""
    head = "| `error_kind` | what happened | a resume of a stopped run calls the row again |\n|---|---|---|\n"
    rows = [
        f"| `{kind}` | {KIND_TEXTS[kind]} | {'no' if kind in PERMANENT else 'yes'} |\n" for kind in ErrorKind
    ]
    return f"{head}{''.join(rows)}"


def main() -> int:
    """Rewrite the page, or check it."""
    parser = argparse.ArgumentParser(description="Rewrite the generated parts of docs/contract.md.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 where the page is stale"
    )
    given = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    after = render(before)
    if given.check:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
