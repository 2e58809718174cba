"""``python tests/faults``: run the fault matrix; one line per row, ``number name passed|failed``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROW = re.compile(r"test_row_(\d+)_(\w+)")


class Matrix:
    """Remembers how the cases of each row ended; a row is named after its first case."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.failed: set[int] = set()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note a case."""
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


def main() -> int:
    """Run the rows and print the matrix; 0 if all passed."""
    matrix = Matrix()
    code = pytest.main([str(Path(__file__).parent), "-q", *sys.argv[1:]], plugins=[matrix])
    for number, name in sorted(matrix.names.items()):
        sys.stdout.write(f"{number} {name} {'failed' if number in matrix.failed else 'passed'}\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
