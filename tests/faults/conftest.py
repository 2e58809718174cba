"""The fault matrix: what a row's test is called, and the run without faults that others are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.faults import Scene, check_secrets, scene


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of a run to which nothing happened."""
    with scene(tmp_path_factory.mktemp("reference")) as made:
        assert 0 == made.run(made.config(cluster={"kind": "serial"})).wait()
        return made.rows


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Scene]:
    """Prompts and two endpoints; what they leave behind holds no secret."""
    with scene(tmp_path) as made:
        yield made
        check_secrets(made)
