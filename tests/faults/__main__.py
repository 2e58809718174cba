"""``python tests/faults [pytest options]``: run the fault matrix; a line for each row, ``number name passed|failed``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROW = re.compile(r"test_row_(\d+)_(\w+)")
HALVES = (("test_clusters", "test_endpoints"), ("test_processes", "test_storage", "test_input"))
"""Run side by side, as much of the time is spent on programs that start; a row's cases are in one file."""
APART = ("test_crash_points",)
"""Files that hold no row of the matrix; ``make crash`` runs them."""
MOST_AGAIN = 5
"""More failed rows than this are not a busy machine."""
Rows = dict[int, tuple[str, bool]]
"""Number → name, and whether it passed."""
NO_TESTS = int(pytest.ExitCode.NO_TESTS_COLLECTED)


class Matrix:
    """Remembers how the cases of each row ended; a row is named after its first case."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.failed: set[int] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the cases that are to be run."""
        for item in session.items:
            number, name = self._row(item.nodeid)
            self.names.setdefault(number, name)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a part of a case ended; one that was skipped has not passed."""
        if report.outcome != "passed":
            self.failed.add(self._row(report.nodeid)[0])

    def _row(self, nodeid: str) -> tuple[int, str]:
        found = ROW.search(nodeid)
        assert found is not None, f"{nodeid}: a test of the matrix is named test_row_<number>_<name>"
        return int(found[1]), found[2]


def run_half(number: int, results: Path, options: list[str]) -> int:
    """Run the files of one half in this process, and write how each row ended."""
    matrix = Matrix()
    files = [str(path) for name in HALVES[number] for path in sorted(HERE.glob(f"{name}*.py"))]
    code = pytest.main([*files, "-q", *options], plugins=[matrix])
    rows = {row: [name, row not in matrix.failed] for row, name in matrix.names.items()}
    results.write_text(json.dumps(rows))
    return int(code)


def main() -> int:
    """Run both halves and print the matrix; 0 if all rows passed."""
    known = tuple(name for names in (*HALVES, APART) for name in names)
    missing = [path.name for path in HERE.glob("test_*.py") if not path.name.startswith(known)]
    assert [] == missing
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        rows, whole = _run_side_by_side(Path(folder), sys.argv[1:])
        failed = [number for number, (_, passed) in rows.items() if not passed]
        if failed and len(failed) <= MOST_AGAIN:
            sys.stderr.write(f"rows {failed} failed beside others; each once more, alone\n")
            again, whole = _run_alone(Path(folder), failed, sys.argv[1:])
            rows |= again
    for number, (name, passed) in sorted(rows.items()):
        sys.stdout.write(f"{number} {name} {'passed' if passed else 'failed'}\n")
    return 0 if rows and whole and all(passed for _, passed in rows.values()) else 1


def _run_side_by_side(folder: Path, options: list[str]) -> tuple[Rows, bool]:
    """Run both halves; return how each row ended, and whether both halves were run at all."""
    results = [folder / f"{number}.json" for number in range(len(HALVES))]
    halves = [_start(number, path, options) for number, path in enumerate(results)]
    codes = [half.wait() for half in halves]
    return _read(results), all(code in {0, 1, NO_TESTS} for code in codes)


def _run_alone(folder: Path, rows: list[int], options: list[str]) -> tuple[Rows, bool]:
    """Run some rows once more, nothing beside them: two halves on two cores can be too slow for a row's own clock."""
    results = [folder / f"{number}-alone.json" for number in range(len(HALVES))]
    only = ["-k", " or ".join(f"row_{number:02d}" for number in rows)]
    codes = [_start(number, path, [*options, *only]).wait() for number, path in enumerate(results)]
    return _read(results), all(code in {0, 1, NO_TESTS} for code in codes)


def _start(number: int, results: Path, options: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--half", str(number), str(results), *options])


def _read(results: list[Path]) -> Rows:
    told = [json.loads(path.read_text()) for path in results if path.exists()]
    return {int(number): (name, passed) for one in told for number, (name, passed) in one.items()}


if __name__ == "__main__":
    half = sys.argv[1:2] == ["--half"]
    sys.exit(run_half(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]) if half else main())
