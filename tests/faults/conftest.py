"""A job to break for each test, and the answers of the same job when nothing goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.lab import KEY, WORD, Lab, open_lab
from helpers.oracle import answers, check_silent


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Yield a job with the usual input; at the end neither its key nor a prompt may stand in anything it wrote."""
    with open_lab(tmp_path) as made:
        yield made
    check_silent([tmp_path / "root", tmp_path / "local"], [KEY, WORD])
    for program in (*tmp_path.glob("*.out"), *tmp_path.glob("*.err")):
        text = program.read_text(errors="replace")
        assert [] == [canary for canary in (KEY, WORD) if canary in text], program.name


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the responses of the usual job when nothing goes wrong."""
    with open_lab(tmp_path_factory.mktemp("undisturbed")) as made:
        made.serve(latency_ms=1)
        made.finish()
        return answers(made.run)
