"""The cost report as a person sees it: in a real browser, at desktop and phone width."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Open = Callable[[Path], AbstractContextManager[Any]]

PAGE = """<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width">
<title>t</title><link rel="icon" href="data:,"></head><body>{body}</body></html>"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, command: Command, repo: Path) -> Path:
    """Run the quick start into a new folder; return its report."""
    root = tmp_path_factory.mktemp("quickstart")
    done = command("run", repo / "configs" / "quickstart.yaml", f"run.root={root}", cwd=repo)
    assert done.returncode == 0, done.stderr
    (path,) = root.rglob("report/report.html")
    return Path(path)


def test_plain_page_passes(strict_page: Open, tmp_path: Path) -> None:
    """A page without fault passes."""
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(body="<h1>Hello</h1>"))
    with strict_page(page) as shown:
        assert shown.locator("h1").inner_text() == "Hello"


@pytest.mark.parametrize(
    "body",
    [
        "<script>console.error('x')</script>",
        "<script>missing()</script>",
        "<img alt='' src='http://127.0.0.1:9/x.png'>",
        "<div style='width: 3000px'>wide</div>",
    ],
)
def test_faulty_page_fails(strict_page: Open, tmp_path: Path, body: str) -> None:
    """A console error, a script error, a remote request and sideways scrolling are each caught."""
    page = tmp_path / "page.html"
    page.write_text(PAGE.format(body=body))
    with pytest.raises(AssertionError), strict_page(page):
        pass


def test_report_is_clean(strict_page: Open, report: Path) -> None:
    """The report of the quick start shows its title and money, with no error, request or overflow."""
    with strict_page(report) as shown:
        assert shown.title()
        text = shown.locator("body").inner_text()
        assert "$" in text
        assert "strong" in text.lower()
