"""The shape of the code: every module in a room, imports point down, one door to each outside library, nothing long.

The rules are the tables below; a module outside a room breaks them.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = "routellm_batch"

ROOMS: tuple[tuple[str, ...], ...] = (
    ("core",),  # The vocabulary, and what belongs to a process.
    ("budget",),  # What calls should cost, which rows go strong, what was spent.
    ("config",),
    ("answers", "storage", "reporting", "runtime"),
    ("endpoints",),
    ("routers",),
    ("evaluation", "stages"),
    ("pipeline",),  # Whole jobs, composed.
    ("cli",),
)
"""Floors, lowest first: a room imports itself and the floors below; rooms of one floor don't know each other."""

DATA = frozenset(("weights", "examples"))
"""Folders that hold no code."""

DOORS: Mapping[str, tuple[str, ...]] = {
    "dask": ("runtime/",),
    "distributed": ("runtime/",),
    "dask_cuda": ("runtime/",),
    "openai": ("endpoints/",),
    "aiohttp": ("endpoints/",),
    "fsspec": ("storage/",),
    "matplotlib": ("evaluation/",),
    "s3fs": ("storage/",),
    "torch": ("routers/",),
    "transformers": ("routers/",),
    "huggingface_hub": ("routers/",),
}
"""Outside library → the only places that may import it."""

LATE = frozenset(("routers",))
"""A stage imports only the folder, which has the table of names: what the config picks is loaded late."""
HIDDEN_FROM_STAGES = frozenset(("runtime", "reporting"))
"""A stage knows neither what it runs on nor who reads what it did."""

_PURE_STDLIB = (
    *("__future__", "bisect", "collections", "dataclasses", "decimal", "enum", "fractions", "functools"),
    *("hashlib", "heapq", "itertools", "json", "math", "operator", "re", "statistics", "string", "struct"),
    *("typing", "unicodedata"),
)
PURE: Mapping[str, frozenset[str]] = {
    "budget": frozenset((*_PURE_STDLIB, "numpy", "scipy")),
    "answers": frozenset((*_PURE_STDLIB, "numpy", "scipy", "re2", "jsonschema", "referencing")),
}
"""Room without I/O, clock or thread → the outside modules that it may import."""
PURE_CORE = frozenset(("arrays", "encoding", "errors", "metrics", "types"))
"""The modules of ``core`` that a pure room may import; the others log, wait or start threads."""
IO_CALLS = frozenset(("open", "print", "input"))

HIDDEN_FROM_JOBS = frozenset(("storage", "endpoints", "stages", "runtime"))

ROUTE_NAMES = frozenset(("strong", "weak"))
NAMES_ROUTES = frozenset(("core", "config"))
"""Elsewhere a route is ``STRONG`` or ``WEAK``, so that a further endpoint is added in one place."""

MODULE_LINES, FUNCTION_LINES, JOB_LINES = 400, 60, 40

Sources = Mapping[str, str]
"""Path inside the package, e.g. ``stages/score.py`` → its text."""


def _dotted(path: str) -> str:
    parts = [PACKAGE, *path.removesuffix(".py").split("/")]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.AST, modules: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Every import, inside functions too: its line and the full name of the module it asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                yield node.lineno, inside if inside in modules else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, str(a.value)) for a in node.args if isinstance(a, ast.Constant))


def _room(module: str) -> str:
    """``routellm_batch.stages.score.task`` → ``stages``."""
    return module.partition(".")[2].partition(".")[0]


def _floor(module: str) -> int:
    """Return the floor of a module's room; the package itself, which has the version alone, is below them all."""
    return next((floor for floor, rooms in enumerate(ROOMS, 1) if _room(module) in rooms), 0)


def _place_problem(path: str) -> str | None:
    """Say why a module may not lie where it does, or None."""
    if path == "__init__.py":
        return None
    room, inside, _ = path.partition("/")
    if not inside:
        return "a module lies in a room, not in the package's own folder"
    if not any(room in rooms for rooms in ROOMS):
        return f"{room} holds no code" if room in DATA else f"there is no room {room}"
    return None


def _pure_problem(room: str, wanted: str) -> str | None:
    """Say why a module of a pure room may not import ``wanted``, or None."""
    top, _, inside = wanted.partition(".")
    if top != PACKAGE:
        return None if top in PURE[room] else f"a pure room may not import {top or 'relatively'}"
    if _room(wanted) == "core" and inside.removeprefix("core.").partition(".")[0] not in PURE_CORE:
        return f"a pure room may not import {wanted}"
    return None


def _import_problem(path: str, module: str, wanted: str) -> str | None:
    """Say why ``module`` (at ``path``) may not import ``wanted``, or None."""
    top, here, there = wanted.partition(".")[0], _room(module), _room(wanted)
    if here in PURE and (problem := _pure_problem(here, wanted)):
        return problem
    if top != PACKAGE:
        doors = DOORS.get(top)
        if doors and not path.startswith(doors):
            return f"only {', '.join(doors)} may import {top}"
        return "imports are absolute" if not top else None
    if here == there:
        return None
    if here and _floor(wanted) > _floor(module):
        return f"imports point down, and {wanted} is above"
    if here and _floor(wanted) == _floor(module):
        return f"{here} and {there} are on one floor and don't know each other"
    if here == "stages" and there in HIDDEN_FROM_STAGES:
        return f"a stage does not know {there}"
    if here == "stages" and there in LATE and wanted.count(".") > 1:
        return f"{there} is reached through its folder, not by {wanted}"
    return None


def _route_names(path: str, tree: ast.AST) -> Iterator[str]:
    """Literal names of routes outside of the rooms that define them; a type may spell them out."""
    if path.startswith(tuple(f"{room}/" for room in NAMES_ROUTES)):
        return
    types: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            types |= {id(inner) for inner in ast.walk(node)}
        # The label tokens of RouteLLM's classifier are its own, whatever the routes are called.
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "LABELS":
            types |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in ROUTE_NAMES and id(node) not in types:
            yield f"{path}:{node.lineno}: the route {node.value!r} is named by its constant of core.types"


def _cycles(graph: Mapping[str, frozenset[str]]) -> Iterator[list[str]]:
    """One path for each circle found by depth-first search."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> Iterator[list[str]]:
        if module in path:
            yield [*path[path.index(module) :], module]
        elif module not in done:
            for wanted in sorted(graph.get(module, ())):
                yield from visit(wanted, [*path, module])
            done.add(module)

    for module in sorted(graph):
        yield from visit(module, [])


def _sizes(path: str, text: str, lines: int) -> Iterator[str]:
    count = len(text.splitlines())
    if count > lines:
        yield f"{path}: {count} lines, at most {lines}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


def violations(sources: Sources) -> list[str]:
    """Every broken rule of a package given as texts; empty where all is well."""
    modules = frozenset(map(_dotted, sources))
    graph: dict[str, frozenset[str]] = {}
    found: list[str] = []
    for path, text in sorted(sources.items()):
        module, tree = _dotted(path), ast.parse(text)
        wanted = sorted(set(_imports(tree, modules)))
        graph[module] = frozenset(name for _, name in wanted if name in modules)
        problems = ((line, _import_problem(path, module, name)) for line, name in wanted)
        found += [f"{path}:{line}: {problem}" for line, problem in problems if problem]
        found += [f"{path}:1: {problem}" for problem in [_place_problem(path)] if problem]
        found += _route_names(path, tree)
        if _room(module) in PURE:
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            outside = [call for call in calls if ast.unparse(call.func) in IO_CALLS]
            found += [f"{path}:{call.lineno}: a pure room does no I/O" for call in outside]
        found += _sizes(path, text, MODULE_LINES)
    found += [f"circle: {' → '.join(circle)}" for circle in _cycles(graph)]
    return found


def _read(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))}


def test_package_keeps_the_rules() -> None:
    """The package breaks no rule of rooms, floors, doors, purity, names, circles and lengths."""
    assert violations(_read(REPO / PACKAGE)) == []


def test_jobs_are_short_verbs() -> None:
    """A job has at most 40 lines, opens with a docstring, and imports no adapter or outside library."""
    found: list[str] = []
    for path, text in _read(REPO / "jobs").items():
        found += _sizes(path, text, JOB_LINES)
        tree = ast.parse(text)
        if not ast.get_docstring(tree):
            found.append(f"{path}: no docstring")
        for line, name in _imports(tree, frozenset()):
            if _room(name) in HIDDEN_FROM_JOBS or name.partition(".")[0] in DOORS:
                found.append(f"{path}:{line}: a job composes, it does not import {name}")
    assert found == []


def test_scripts_are_short_too() -> None:
    """Benchmarks and tools keep the package's lengths."""
    found: list[str] = []
    for folder in ("benchmarks", "tools"):
        for path, text in _read(REPO / folder).items():
            found += _sizes(f"{folder}/{path}", text, MODULE_LINES)
    assert found == []


HEAVY = (
    *(
        "aiohttp",
        "cryptography",
        "dask",
        "distributed",
        "fsspec",
        "jinja2",
        "jsonschema",
        "matplotlib",
        "numpy",
    ),
    *("openai", "pandas", "psutil", "pyarrow", "re2", "rich", "safetensors", "scipy", "sklearn"),
    *("tenacity", "tokenizers", "torch", "transformers", "yaml"),
)


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], (*HEAVY, "pydantic")),
        (["--version"], (*HEAVY, "pydantic")),
        (["run", "--help"], HEAVY),  # typer itself imports pydantic for a command's arguments
        (["endpoint", "simulate", "--help"], HEAVY),
    ],
)
def test_help_imports_nothing_heavy(words: list[str], heavy: tuple[str, ...]) -> None:
    """What answers ``--help`` and ``--version`` is the command line alone: no heavy library has been imported."""
    code = (
        f"import sys, atexit; sys.argv[1:] = {words}; "
        f"atexit.register(lambda: print(sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)); "
        f"from {PACKAGE}.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stderr.strip(), done.returncode) == ("[]", 0)
    assert done.stdout


LONG = "def f() -> None:\n" + "    x = 1\n" * 60


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"stages/a.py": "import dask.array"}, "stages/a.py:1: only runtime/ may import dask"),
        ({"runtime/dask.py": "import dask"}, None),
        ({"cli/app.py": "def f():\n    from distributed import Client"}, "cli/app.py:2: only runtime/ may"),
        ({"stages/a.py": "import openai"}, "only endpoints/ may import openai"),
        ({"stages/a.py": "import aiohttp"}, "only endpoints/ may import aiohttp"),
        ({"config/a.py": "from fsspec.core import url_to_fs"}, "only storage/ may import fsspec"),
        ({"stages/a.py": "import torch.nn as nn"}, "only routers/ may import torch"),
        ({"stages/a.py": "import importlib\nimportlib.import_module('torch')"}, "routers/ may import torch"),
        ({"routers/bert/router.py": "import torch, transformers"}, None),
        ({"new.py": ""}, "new.py:1: a module lies in a room"),
        ({"newroom/a.py": ""}, "newroom/a.py:1: there is no room newroom"),
        ({"weights/a.py": ""}, "weights holds no code"),
        ({"__init__.py": ""}, None),
        ({"core/types.py": "from routellm_batch import __version__", "__init__.py": ""}, None),
        ({"routers/a.py": "from routellm_batch.stages import score"}, "routellm_batch.stages is above"),
        (
            {"stages/a.py": "from routellm_batch.pipeline import run", "pipeline/run.py": ""},
            "pipeline.run is above",
        ),
        ({"config/a.py": "from routellm_batch.storage.store import x"}, "storage.store is above"),
        ({"budget/a.py": "from routellm_batch.config.job import x"}, "routellm_batch.config.job is above"),
        ({"storage/a.py": "import routellm_batch.runtime.tasks"}, "storage and runtime are on one floor"),
        ({"answers/a.py": "import routellm_batch.storage.run"}, "answers and storage are on one floor"),
        ({"stages/a.py": "import routellm_batch.evaluation"}, "stages and evaluation are on one floor"),
        ({"endpoints/a.py": "from routellm_batch.routers import get_router"}, "routers is above"),
        ({"core/a.py": "from routellm_batch.budget.pricing import NANO"}, "budget.pricing is above"),
        ({"stages/a.py": "from routellm_batch.routers import get_router"}, None),
        ({"stages/a.py": "from routellm_batch.routers.knn.router import X"}, "through its folder"),
        ({"stages/a.py": "from routellm_batch.runtime import open_runner"}, "a stage does not know runtime"),
        ({"stages/a.py": "import routellm_batch.reporting.text"}, "a stage does not know reporting"),
        ({"stages/a.py": "from routellm_batch.endpoints.pacing.gate import Gate"}, None),
        ({"routers/a.py": "from routellm_batch.endpoints import fetch_embeddings"}, None),
        ({"pipeline/run.py": "from routellm_batch.runtime import open_runner"}, None),
        ({"stages/a.py": "from . import b"}, "imports are absolute"),
        ({"budget/a.py": "import os"}, "a pure room may not import os"),
        ({"budget/costs/a.py": "from time import monotonic"}, "a pure room may not import time"),
        ({"budget/a.py": "import threading"}, "a pure room may not import threading"),
        ({"answers/a.py": "import pyarrow"}, "a pure room may not import pyarrow"),
        ({"answers/a.py": "import re2, jsonschema"}, None),
        ({"budget/a.py": "import jsonschema"}, "a pure room may not import jsonschema"),
        (
            {"budget/a.py": "from routellm_batch.core.process import emit"},
            "not import routellm_batch.core.process",
        ),
        ({"budget/a.py": "from routellm_batch.core.types import Usage\nimport numpy as np"}, None),
        ({"budget/a.py": "def f():\n    return open('x')"}, "budget/a.py:2: a pure room does no I/O"),
        ({"stages/a.py": "ROUTE = 'strong'"}, "stages/a.py:1: the route 'strong' is named by its constant"),
        ({"stages/a.py": "ROUTE: Literal['strong', 'weak'] = STRONG"}, None),
        ({"config/a.py": "ROUTE = 'weak'"}, None),
        (
            {
                "core/a.py": "from routellm_batch.core.b import x",
                "core/b.py": "def f():\n    import routellm_batch.core.a",
            },
            "circle: routellm_batch.core.a → routellm_batch.core.b → routellm_batch.core.a",
        ),
        ({"core/a.py": "x = 1\n" * 400}, None),
        ({"core/a.py": "x = 1\n" * 401}, "core/a.py: 401 lines, at most 400"),
        ({"core/a.py": LONG}, "core/a.py:1: f has 61 lines, at most 60"),
    ],
)
def test_rules_bite(sources: Sources, expected: str | None) -> None:
    """Each rule is broken by a small package made for it, and only by that."""
    found = violations(sources)
    assert len(found) == (0 if expected is None else 1), found
    assert expected is None or expected in found[0]
