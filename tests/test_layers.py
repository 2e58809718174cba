"""The shape of the code: imports point down, one door to each outside library, nothing long.

The rules are the tables below; a module that no row names is at the bottom, until one says where it belongs.
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

LAYERS: tuple[tuple[str, ...], ...] = (
    ("storage", "ledger"),  # The run folder: everything above reads and writes it.
    ("models",),  # What torch models share.
    ("routers", "embedders", "endpoints", "runtime", "reporting"),
    ("stages",),
    (
        *("pipeline", "call_stage", "overrun", "dispatch", "outputs", "servers", "training", "evaluation"),
        *("grading", "ask", "judging", "judged", "judge_pairs", "starting", "graded"),
    ),
    ("pilot",),
    ("cli", "cli_endpoint", "cli_router"),
)
"""Lowest first; whatever is not named is below them all. A layer may import itself and what is below."""

DOORS: Mapping[str, tuple[str, ...]] = {
    "dask": ("runtime/dask.py",),
    "distributed": ("runtime/dask.py", "runtime/clusters.py"),
    "dask_cuda": ("runtime/clusters.py",),
    "openai": ("endpoints/client.py",),
    "fsspec": ("storage/",),
    "s3fs": ("storage/",),
    "torch": ("models/", "routers/", "embedders/", "training/"),
    "transformers": ("models/", "routers/", "embedders/", "training/"),
    "huggingface_hub": ("models/",),
}
"""Outside library → the only places that may import it."""

ADAPTERS = 3
LATE = frozenset(("routers", "embedders"))
"""Adapters that the config picks by name: only their folder, which has the table of names, is imported."""
HIDDEN_FROM_STAGES = frozenset(("runtime", "reporting"))
"""A stage knows neither what it runs on nor who reads what it did."""

PURE = (
    *(
        "answer_costs",
        "burn",
        "calibration",
        "calibration_maps",
        "errors",
        "foresight",
        "lengths",
        "lengths_model",
        "metrics",
    ),
    *("past_lengths", "planning", "prediction", "pricing", "ranking", "steps", "summary", "types"),
)
PURE_MAY_IMPORT = frozenset(
    (
        *("__future__", "bisect", "collections", "dataclasses", "decimal", "enum", "fractions", "functools"),
        *("hashlib", "heapq", "itertools", "math", "operator", "statistics", "struct", "typing"),
        "numpy",
    )
)
PURE_MAY_USE = frozenset(PURE)
IO_CALLS = frozenset(("open", "print", "input"))

MODULE_LINES, FUNCTION_LINES, JOB_LINES = 300, 60, 40

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


def _part(module: str) -> str:
    """``routellm_batch.stages.score.task`` → ``stages``."""
    return module.partition(".")[2].partition(".")[0]


def _level(module: str) -> int:
    part = _part(module)
    return next((level for level, names in enumerate(LAYERS, 1) if part in names), 0)


def _import_problem(path: str, module: str, wanted: str) -> str | None:
    """Say why ``module`` (at ``path``) may not import ``wanted``, or None."""
    top = wanted.partition(".")[0]
    if top != PACKAGE:
        doors = DOORS.get(top)
        if doors and not path.startswith(doors):
            return f"only {', '.join(doors)} may import {top}"
        if _part(module) in PURE and top not in PURE_MAY_IMPORT:
            return f"a pure module may not import {top or 'relatively'}"
        return "imports are absolute" if not top else None
    if _part(module) in PURE and _part(wanted) not in PURE_MAY_USE:
        return f"a pure module may not import {wanted}"
    if _level(wanted) > _level(module):
        return f"imports point down, and {wanted} is above"
    here, there = _part(module), _part(wanted)
    if here == "stages" and there in HIDDEN_FROM_STAGES:
        return f"a stage does not know {there}"
    # An adapter folder's own names are open to its neighbours and to stages; the modules in it are not.
    inside = wanted.count(".") > 1 and here != there
    neighbours = _level(module) == _level(wanted) == ADAPTERS
    if inside and (neighbours or (there in LATE and here == "stages")):
        return f"{there} is reached through its folder, not by {wanted}"
    return None


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
        if _part(module) in PURE:
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            outside = [call for call in calls if ast.unparse(call.func) in IO_CALLS]
            found += [f"{path}:{call.lineno}: a pure module does no I/O" for call in outside]
        found += _sizes(path, text, MODULE_LINES)
    found += [f"circle: {' → '.join(circle)}" for circle in _cycles(graph)]
    return found


def _read(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in sorted(folder.rglob("*.py"))}


def test_package_keeps_the_rules() -> None:
    """The package breaks no rule of layers, doors, purity, circles and lengths."""
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
            if _part(name) in {*LAYERS[0], *LAYERS[1], "stages"} or name.partition(".")[0] in DOORS:
                found.append(f"{path}:{line}: a job composes, it does not import {name}")
    assert found == []


def test_scripts_are_short_too() -> None:
    """Benchmarks and tools keep the package's lengths."""
    found: list[str] = []
    for folder in ("benchmarks", "tools"):
        for path, text in _read(REPO / folder).items():
            found += _sizes(f"{folder}/{path}", text, MODULE_LINES)
    assert found == []


def test_command_line_starts_without_torch() -> None:
    """Importing the command line brings in neither torch nor transformers."""
    code = f"import sys, {PACKAGE}.cli; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


LONG = "def f() -> None:\n" + "    x = 1\n" * 60


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"stages/call.py": "import dask.array"}, "stages/call.py:1: only runtime/dask.py may import dask"),
        ({"runtime/dask.py": "import dask"}, None),
        ({"cli.py": "def f():\n    from distributed import Client"}, "cli.py:2: only runtime/dask.py"),
        ({"endpoints/other.py": "import openai"}, "only endpoints/client.py may import openai"),
        ({"config.py": "from fsspec.core import url_to_fs"}, "only storage/ may import fsspec"),
        (
            {"stages/score.py": "import torch.nn as nn"},
            "models/, routers/, embedders/, training/ may import torch",
        ),
        ({"stages/score.py": "import importlib\nimportlib.import_module('torch')"}, "may import torch"),
        ({"routers/bert.py": "import torch, transformers"}, None),
        ({"routers/a.py": "from routellm_batch.stages import score"}, "routellm_batch.stages is above"),
        ({"stages/a.py": "from routellm_batch import pipeline", "pipeline.py": ""}, "pipeline is above"),
        ({"config.py": "from routellm_batch.storage.store import x"}, "storage.store is above"),
        ({"stages/a.py": "from routellm_batch.routers import get_router"}, None),
        ({"stages/a.py": "from routellm_batch.routers.outcome.router import X"}, "through its folder"),
        ({"routers/a.py": "import routellm_batch.endpoints.client"}, "through its folder"),
        ({"stages/a.py": "from routellm_batch.runtime import make_runner"}, "a stage does not know runtime"),
        ({"stages/a.py": "from routellm_batch.endpoints.pacing.gate import Gate"}, None),
        ({"routers/a.py": "from routellm_batch.routers.embedders import get_embedder"}, None),
        ({"pipeline.py": "from routellm_batch.runtime import make_runner"}, None),
        ({"pipeline.py": "from routellm_batch.endpoints.simulator.serve import serve"}, None),
        ({"stages/a.py": "from . import b"}, "imports are absolute"),
        ({"planning.py": "import os"}, "a pure module may not import os"),
        ({"pricing.py": "from time import monotonic"}, "a pure module may not import time"),
        (
            {"metrics.py": "from routellm_batch.config.job import Config"},
            "may not import routellm_batch.config.job",
        ),
        ({"metrics.py": "from routellm_batch.core.types import Usage\nimport numpy as np"}, None),
        ({"planning.py": "def f():\n    return open('x')"}, "planning.py:2: a pure module does no I/O"),
        (
            {"a.py": "from routellm_batch.b import x", "b.py": "def f():\n    import routellm_batch.a"},
            "circle: routellm_batch.a → routellm_batch.b → routellm_batch.a",
        ),
        ({"a.py": "x = 1\n" * 300}, None),
        ({"a.py": "x = 1\n" * 301}, "a.py: 301 lines, at most 300"),
        ({"a.py": LONG}, "a.py:1: f has 61 lines, at most 60"),
    ],
)
def test_rules_bite(sources: Sources, expected: str | None) -> None:
    """Each rule is broken by a small package made for it, and only by that."""
    found = violations(sources)
    assert len(found) == (0 if expected is None else 1), found
    assert expected is None or expected in found[0]
