"""docs/contract.md says what the code does: its tables are made from the code, or compared with it here."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
from helpers.report_facts import calls, facts, plan_with_pilot

from routellm_batch.budget.plan import Degrade
from routellm_batch.budget.spend.embeddings import EmbeddingUse
from routellm_batch.budget.spend.summary import Failures
from routellm_batch.config.job import Config
from routellm_batch.core import errors
from routellm_batch.core.types import ROUTES, InvalidKind
from routellm_batch.reporting.quality_view import Achieved, PilotView, QualityView
from routellm_batch.reporting.run.cost_json import cost_json
from routellm_batch.reporting.run.facts import EXIT_CODES, FAILED_EXIT, LabelFacts
from routellm_batch.storage.tables import failed_schema, response_schema, score_schema

REPO = Path(__file__).resolve().parents[1]
PAGE = (REPO / "docs" / "contract.md").read_text(encoding="utf-8")
SCHEMA = Config.model_json_schema()
ARROW = {"float": "float32", "double": "float64"}
"""Arrow's name of a type → the one that says its width."""
OPEN_MAPS = {"errors", "invalid_rows", "labels.given", "labels.invalid", "quality.problems", "degraded"}
"""Keys of cost.json whose own keys are data."""
USAGE_ERROR = 2
"""What the command line itself ends with where an option is unknown."""


def tool() -> ModuleType:
    """Return tools/contract_page.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("contract_page", REPO / "tools" / "contract_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def section(title: str) -> str:
    """Return the page's text below a heading, up to the next heading."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def chapter(title: str) -> str:
    """Return a chapter with the sections in it."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def table(title: str, number: int = 0) -> list[list[str]]:
    """Return the cells of a section's table, its head left out."""
    found = re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE)[number]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found.splitlines()]
    return rows[2:]


def test_page_is_what_the_code_says() -> None:
    """The generated parts are up to date; if not: python tools/contract_page.py."""
    assert tool().render(PAGE) == PAGE


def test_every_part_is_marked() -> None:
    """Each part that the tool makes is on the page once; a part that is missing could not go stale."""
    assert ["errors", "resume", "config", "commands"] == re.findall(
        r"^<!-- generated: (\w+) -->$", PAGE, re.MULTILINE
    )


def config_keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Return every key below a node of the config's JSON schema."""
    for mapping in mappings(node):
        for name, inner in mapping["properties"].items():
            yield f"{prefix}{name}"
            yield from config_keys(inner, f"{prefix}{name}.")


def mappings(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the mappings that a node stands for, through references and alternatives."""
    if "$ref" in node:
        yield from mappings(SCHEMA["$defs"][node["$ref"].rpartition("/")[2]])
    for part in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from mappings(part)
    if "properties" in node:
        yield node


def test_no_config_key_is_missing() -> None:
    """Every key of the config's JSON schema has a row; those of a grader stand under the pilot's alone."""
    stars = {re.sub(r"^endpoints\.(strong|weak|judge)\.", "endpoints.*.", key) for key in config_keys(SCHEMA)}
    wanted = {key for key in stars if not key.startswith("grade.")}
    written = set(re.findall(r"^\| `([\w.*]+)` \|.*\|.*\|.*\|$", chapter("Configuration"), re.MULTILINE))
    assert wanted == written


def test_field_without_a_line_is_refused() -> None:
    """A config key without a docstring stops the tool, which names it."""

    class Bare(Config):
        """A config with one key more."""

        bare: int = 0

    with pytest.raises(LookupError, match="Bare.bare has no docstring"):
        list(tool()._fields(Bare))


def columns(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return name and type of each column; an id has the type that the input has."""
    return [(f"`{one.name}`", "string or int64" if one.name == "id" else type_name(one)) for one in schema]


def type_name(column: pa.Field) -> str:
    """Return a column's type as the page has it."""
    return ARROW.get(str(column.type), str(column.type))


SCHEMAS: dict[str, Callable[[], pa.Schema]] = {
    "`score/`": lambda: score_schema(pa.string()),
    "`responses/`": lambda: response_schema(pa.string(), [], None),
    "`failed/`": lambda: failed_schema(pa.string()),
}


@pytest.mark.parametrize("title", SCHEMAS)
def test_columns(title: str) -> None:
    """Columns, their order and their types are those of the schema."""
    assert columns(SCHEMAS[title]()) == [(name, kind) for name, kind, _ in table(title)]


def test_invalid_kinds() -> None:
    """Every reason why a row is invalid has a line."""
    assert [f"`{kind}`" for kind in InvalidKind] == [kind for kind, _ in table("`failed/`", 1)]


def whole_cost_json() -> dict[str, Any]:
    """Return cost.json of a run that had everything: a pilot, grades, a paid embedder, a plan degraded on the way."""
    plan = replace(plan_with_pilot(), degraded={"reason": "planned cost was above hard_cap_usd"})
    predicted = plan.outlook.quality if plan.outlook else None
    achieved = Achieved(980, 0.741, 0.72, 0.76)
    nano = dict.fromkeys(ROUTES, 1)
    degrade = Degrade(1, plan.cut, "burn", "2026-11-23T00:00:00", 1, 1, nano, nano, 1, 1, 1, 1)
    pilot = PilotView(
        "s3://bucket/pilots/x", "2026-11-20", 2, 2, "exact", "fitted", "", None, 1, 1, here=True
    )
    quality = QualityView(predicted, achieved, 0.9, 0.6, 0.5, achieved, 0.4, {"unread": 1})
    return cost_json(
        facts(
            plan=plan,
            state="errors",
            calls=calls(
                reasons=[Failures(route, "bad_request") for route in ROUTES],
                halts=[Failures(route, "auth") for route in ROUTES],
            ),
            degrades=[degrade],
            pilot=pilot,
            quality=quality,
            embedding=EmbeddingUse("embedding-model"),
            labels=LabelFacts("label", 1, {"spam": 1}, 0, 0, {"no_label": 1}),
        )
    )


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Return the path of each leaf; a list stands for its first item."""
    if isinstance(value, list) and value:
        yield from keys_of(value[0], f"{path}[]")
    elif isinstance(value, dict) and path not in OPEN_MAPS:
        for key, inner in value.items():
            yield from keys_of(inner, f"{path}.{key}" if path else key)
    else:
        yield path


def spelt_out(key: str) -> Iterator[str]:
    """Return the keys that ``a.{b, c}`` and ``endpoints.*`` stand for."""
    starred = [key.replace("endpoints.*", f"endpoints.{route}") for route in ROUTES] if "*" in key else [key]
    for one in starred:
        parts = [part.split(", ") for part in re.split(r"[{}]", one)]
        yield from ("".join(choice) for choice in product(*parts))


def test_cost_json_keys() -> None:
    """Every key of cost.json has a line, and every line is a key."""
    written = [key for row in table("`report/cost.json`") for key in spelt_out(row[0].strip("`"))]
    assert sorted(keys_of(whole_cost_json())) == sorted(written)


def test_exit_codes() -> None:
    """Every code that the program ends with has a line, and no other."""
    raised = {one.exit_code for one in vars(errors).values() if hasattr(one, "exit_code")}
    codes = {0, FAILED_EXIT, USAGE_ERROR} | raised | set(EXIT_CODES.values())
    assert sorted(codes) == [int(row[0]) for row in table("Exit codes")]
