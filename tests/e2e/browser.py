"""A headless Chromium that is strict with the page it shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Chromium's own traffic is off, so that a request that is seen is the page's.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HEIGHT = 900
OVERHANG = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Chromium:
    """One browser; close it with ``with``."""

    def __init__(self, executable: str) -> None:
        self._executable = executable
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start it."""
        from playwright.sync_api import sync_playwright

        playwright = self._stack.enter_context(sync_playwright())
        self._browser = playwright.chromium.launch(executable_path=self._executable, args=FLAGS)
        self._stack.callback(self._browser.close)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._stack.close()

    @contextmanager
    def open(self, path: Path, width: int, *, script: bool = True) -> Iterator[Page]:
        """Show a file ``width`` pixels wide for the time of a block, with its scripts on or off.

        Raises:
            AssertionError: at the end, a script or console error was seen, something beside the file itself
                was asked for, or the page scrolls sideways.

        """
        page = self._browser.new_page(viewport={"width": width, "height": HEIGHT}, java_script_enabled=script)
        errors: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        try:
            page.goto(path.as_uri(), wait_until="networkidle")
            yield page
            local = (path.as_uri(), "data:", "blob:")
            assert errors == []
            assert [url for url in requests if not url.startswith(local)] == []
            assert page.evaluate(OVERHANG) <= 0, f"the page is wider than {width} px"
        finally:
            page.close()
