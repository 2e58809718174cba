"""A unit test lies where its module lies: ``tests/unit/<rooms>/test_<name>.py`` is about ``<rooms>/<name>``."""

from __future__ import annotations

from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGE = REPO / "routellm_batch"
UNIT = REPO / "tests" / "unit"
OUTSIDE = frozenset(("benchmarks", "examples"))
"""Folders of unit tests for what is not a module: the benchmarks, and the data that comes with the package."""


def misplaced(tests: list[str], package: Path) -> list[str]:
    """Return the unit tests, as paths below ``tests/unit``, that name no module or folder of a package."""
    problems = []
    for test in sorted(tests):
        path = Path(test)
        module = package / path.parent / path.stem.removeprefix("test_")
        known = path.stem.startswith("test_") and (module.is_dir() or module.with_suffix(".py").is_file())
        if not known and path.parts[0] not in OUTSIDE:
            problems.append(f"tests/unit/{test}: there is no {module.relative_to(package)} in the package")
    return problems


def test_every_unit_test_lies_where_its_module_does() -> None:
    """The path of each unit test names a module, or a folder of modules, of the package."""
    assert [] == misplaced([str(p.relative_to(UNIT)) for p in UNIT.rglob("*.py")], PACKAGE)


@pytest.mark.parametrize(
    ("test", "placed"),
    [
        ("stages/test_score.py", True),
        ("stages/score/test_loop.py", True),
        ("stages/test_loop.py", False),
        ("stages/score/test_score.py", False),
        ("test_score.py", False),
        ("score/test_loop.py", False),
        ("stages/score/loop.py", False),
        ("benchmarks/test_tables.py", True),
    ],
)
def test_the_rule_bites(tmp_path: Path, test: str, *, placed: bool) -> None:
    """In a package with one module in a folder of a room, only that module and that folder have tests."""
    (tmp_path / "stages" / "score").mkdir(parents=True)
    (tmp_path / "stages" / "score" / "loop.py").touch()
    assert placed == (misplaced([test], tmp_path) == [])
