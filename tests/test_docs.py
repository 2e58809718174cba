"""What the documents say is run: commands, configs, the tree of files and the links.

A line ``<!-- tested -->`` above a fence marks it: ``bash`` is run in a copy of the checkout, the blocks of a
page in their order in one folder; ``yaml`` must load as a config. ``<!-- tree -->`` above a fence marks a
list of paths, indented by folder, each followed by two spaces and its purpose.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.patience import patience

from routellm_batch.config.job import load_config
from routellm_batch.core.errors import ConfigError

REPO = Path(__file__).resolve().parents[1]
PAGES = [page for page in (REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))) if page.exists()]
LINKED = [
    *PAGES,
    REPO / "CONTRIBUTING.md",
    *sorted((REPO / "routellm_batch").rglob("*.md")),
    *sorted((REPO / "infra").glob("*.md")),
]
LEFT_OUT = (".git", ".venv", "out", "build", "dist", "tests", ".*_cache", "__pycache__", ".hypothesis")
BLOCK = re.compile(r"^<!-- (tested|tree) -->\n+```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK_TIMEOUT_S = 240


class Block(NamedTuple):
    """One marked fence."""

    mark: str
    language: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    """Every marked fence of a page, in order."""
    for match in BLOCK.finditer(page):
        yield Block(*match.groups(), page.count("\n", 0, match.start()) + 1)


def run_commands(page: str, folder: Path) -> None:
    """Run a page's marked shell blocks in ``folder``; fail on the first that fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(page):
        if block.language == "bash":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=folder,
                env={**os.environ, "PATH": path},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=patience(BLOCK_TIMEOUT_S),
                check=False,
            )
            if done.returncode:
                pytest.fail(
                    f"line {block.line}: exit {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False
                )


def check_configs(page: str, folder: Path) -> int:
    """Load a page's marked YAML blocks as configs; return how many there were."""
    found = [block for block in blocks(page) if block.language == "yaml"]
    for block in found:
        config = folder / f"line-{block.line}.yaml"
        config.write_text(block.text, encoding="utf-8")
        load_config(config)
    return len(found)


def tree_paths(block: str) -> Iterator[str]:
    """Paths that a tree lists: folders end with ``/`` and what they hold is indented below them."""
    folders: list[tuple[int, str]] = []
    for line in filter(str.strip, block.splitlines()):
        indent = len(line) - len(line.lstrip())
        while folders and folders[-1][0] >= indent:
            folders.pop()
        above = folders[-1][1] if folders else ""
        for name in re.split(r" {2,}", line.strip())[0].split():
            yield above + name
            if name.endswith("/"):
                folders.append((indent, above + name))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy what a user would clone, with this environment as its .venv."""
    copy = tmp_path / "checkout"
    shutil.copytree(REPO, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_marked_commands_work(page: Path, request: pytest.FixtureRequest) -> None:
    """Each marked command of the documents exits with 0 in a copy of the checkout."""
    text = page.read_text(encoding="utf-8")
    if any(block.language == "bash" for block in blocks(text)):
        run_commands(text, request.getfixturevalue("checkout"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_marked_configs_load(page: Path, tmp_path: Path) -> None:
    """Each marked YAML of the documents is a config that loads."""
    check_configs(page.read_text(encoding="utf-8"), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_trees_list_what_exists(page: Path) -> None:
    """Each path in a marked tree is there."""
    trees = [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.mark == "tree"]
    assert [path for tree in trees for path in tree_paths(tree) if not (REPO / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_mark_is_misread(page: Path) -> None:
    """A mark that no fence follows would test nothing, so there is none."""
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^<!-- *(?:tested|tree) *-->", text, re.MULTILINE)) == len(list(blocks(text)))


LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in HEADING.findall(FENCE.sub("", page))
    }


def dead_links(page: Path) -> list[str]:
    """Links of a page to a file or a heading that there is not."""
    dead = []
    for match in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / match[1]) if match[1] else page
        if not target.exists() or (match[2] and match[2] not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(match[0])
    return dead


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the repository names a file that exists, and a heading that is in it."""
    assert [] == dead_links(page)


def test_dead_link_is_reported(tmp_path: Path) -> None:
    """A link to an absent file, or to an absent heading of a page, is dead; one to a heading is not."""
    page = tmp_path / "page.md"
    page.write_text("# One: `two`\n[a](#one-two) [b](#three) [c](absent.md) [d](https://example.com)\n")
    assert ["](#three)", "](absent.md)"] == dead_links(page)


PAGE = """
```bash
exit 1
```
<!-- tested -->
```bash
echo {word} >first
```
Text.
<!-- tested -->

```bash
grep -q good first
routellm_python=$(command -v python)
test "$routellm_python" = "{python}"
```
"""


def test_commands_run_in_order_in_one_folder(tmp_path: Path) -> None:
    """Marked blocks run one after the other with this environment's programs; unmarked ones don't."""
    python = Path(sys.executable).parent / "python"
    run_commands(PAGE.format(word="good", python=python), tmp_path)
    assert (tmp_path / "first").read_text() == "good\n"


def test_failing_command_fails(tmp_path: Path) -> None:
    """A marked block that fails is reported with its line."""
    with pytest.raises(pytest.fail.Exception, match="line 10: exit 1"):
        run_commands(PAGE.format(word="bad", python=""), tmp_path)


def test_bad_config_fails(tmp_path: Path) -> None:
    """A marked YAML block that is no config is reported."""
    with pytest.raises(ConfigError):
        check_configs("<!-- tested -->\n```yaml\nrun: {idd: x}\n```\n", tmp_path)


def test_tree_is_read_by_its_indent() -> None:
    """Names on one line share a folder; what is indented lies in the folder above it."""
    tree = "README.md LICENSE   the page\njobs/  verbs\n  a.py  one\n  b/\n    c.py   two\nconfigs/\n"
    expected = ["README.md", "LICENSE", "jobs/", "jobs/a.py", "jobs/b/", "jobs/b/c.py", "configs/"]
    assert expected == list(tree_paths(tree))
