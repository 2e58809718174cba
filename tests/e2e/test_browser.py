"""The reports as a person sees them: in a real browser, at desktop and phone width."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from helpers.report_facts import ENDPOINTS, plan, plan_with_pilot

from routellm_batch.budget.pricing import usd_to_nano
from routellm_batch.config.job import load_config
from routellm_batch.reporting.plan.html import PlanFacts, render_plan
from routellm_batch.reporting.quality_words import grade, grades
from routellm_batch.reporting.text import usd

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


def _written(path: Path, *, quality: bool) -> Path:
    """Write the page of a plan of 1,000 rows, 260 of them strong, as a pilot sees it or without one."""
    made = plan_with_pilot() if quality else plan()
    html = render_plan(PlanFacts("nightly", "out/runs/nightly", made, "outcome", ENDPOINTS, {}))
    path.write_text(html, encoding="utf-8")
    return path


def _read(shown: Any) -> dict[str, str]:
    """Return what the slider's readings say, and where its ring is."""
    fields = shown.locator("#reader [data-reads]").all()
    found = {field.get_attribute("data-reads"): field.text_content() for field in fields}
    return {**found, "at": shown.locator(".cursor circle").get_attribute("cx")}


def test_slider_reads_budgets_off(strict_page: Open, tmp_path: Path) -> None:
    """The slider starts at the plan; each key press moves it a budget on, and cost, share, quality and line follow."""
    with strict_page(_written(tmp_path / "plan.html", quality=True)) as shown:
        slider = shown.get_by_label("Slide through the budgets")
        assert _read(shown)["planned"] == "$0.356"
        assert slider.get_attribute("aria-valuetext").startswith("26% strong, $0.356, grade 0.736")
        slider.focus()
        shown.keyboard.press("End")
        last = _read(shown)
        assert (last["planned"], last["share"], last["strong"]) == ("$1.25", "100%", "1,000")
        assert (last["grade"], last["gain"]) == ("0.900 (0.850 – 0.950)", "100% (90% – 110%)")
        assert (last["line"], last["other"]) == (
            "budget.strong_share=1",
            "budget.strong_share=null budget.usd=1.250",
        )
        shown.keyboard.press("Home")
        shown.keyboard.press("ArrowRight")
        second = _read(shown)
        assert (second["share"], second["line"]) == ("2.04%", "budget.strong_share=0.0204")
        assert float(second["at"].rstrip("%")) < float(last["at"].rstrip("%"))
        assert slider.get_attribute("aria-valuetext").startswith("2.04% strong")


def test_slider_follows_the_pointer(strict_page: Open, tmp_path: Path) -> None:
    """A click on the middle of the slider reads off the budget there, and shows no line that isn't there."""
    with strict_page(_written(tmp_path / "plan.html", quality=False)) as shown:
        assert shown.locator("[data-reads=other]").is_hidden()
        shown.get_by_label("Slide through the budgets").click()
        read = _read(shown)
        assert 0.4 < float(read["share"].rstrip("%")) / 100 < 0.6
        assert shown.locator("[data-reads=other]").is_visible()
        assert "grade" not in read


def test_plan_page_is_whole_without_a_script(chromium: Any, tmp_path: Path) -> None:
    """Where scripts are off, the slider isn't shown, and every budget is in the table."""
    with chromium.open(_written(tmp_path / "plan.html", quality=True), 1280, script=False) as shown:
        assert shown.get_by_label("Slide through the budgets").is_hidden()
        assert shown.locator(".cursor").is_hidden()
        assert shown.locator("#budgets tbody tr").count() == 51
        shown.locator("summary").click()
        assert shown.locator("#budgets tbody tr").last.is_visible()


def test_a_foreign_script_does_not_run(strict_page: Open, tmp_path: Path) -> None:
    """Markup that got into the page all the same can't run: its policy names one script."""
    path = _written(tmp_path / "plan.html", quality=True)
    html = path.read_text(encoding="utf-8")
    path.write_text(
        html.replace("</footer>", "</footer><script>document.title = 'mine'</script>"), encoding="utf-8"
    )
    titles: list[str] = []
    with pytest.raises(AssertionError), strict_page(path) as shown:  # the browser reports that it was refused
        titles.append(shown.title())
    assert titles == ["nightly: plan"]


def test_plan_of_the_quick_start_is_clean(
    strict_page: Open, tmp_path_factory: pytest.TempPathFactory, command: Command, repo: Path
) -> None:
    """The page that ``plan`` writes shows a slider that works, with no error, request or overflow."""
    root = tmp_path_factory.mktemp("plan")
    done = command("plan", repo / "configs" / "quickstart.yaml", f"run.root={root}", cwd=repo)
    assert done.returncode == 0, done.stderr
    (path,) = root.rglob("report/plan.html")
    with strict_page(Path(path)) as shown:
        shown.get_by_label("Slide through the budgets").focus()
        shown.keyboard.press("Home")
        assert _read(shown)["share"] == "0%"
        assert "routellm-batch pilot CONFIG" in shown.locator("body").inner_text()


@pytest.fixture(scope="module")
def foretold_plan(tmp_path_factory: pytest.TempPathFactory, command: Command, repo: Path) -> Path:
    """Make a pilot and a plan of the config that comes with the package; return the plan's report folder."""
    root = tmp_path_factory.mktemp("pilot")
    for verb in ("pilot", "plan"):
        done = command(verb, repo / "configs" / "pilot.yaml", f"run.root={root}", cwd=repo)
        assert done.returncode == 0, done.stderr
    return root / "runs" / "pilot" / "report"


def test_plan_of_a_pilot_reads_what_the_frontier_holds(
    strict_page: Open, foretold_plan: Path, repo: Path
) -> None:
    """Sliding through a real pilot's plan reads off each budget's cost, share and quality, and a line that asks for it."""
    points = pq.read_table(foretold_plan / "frontier.parquet").to_pylist()
    last, second = points[-1], points[1]
    with strict_page(foretold_plan / "plan.html") as shown:
        slider, start = shown.get_by_label("Slide through the budgets"), _read(shown)
        assert start["line"] == "budget.recover=0.7"
        assert shown.locator("[data-reads=other]").is_hidden()
        slider.focus()
        for keys, point in ((["End"], last), (["Home", "ArrowRight"], second)):
            for key in keys:
                shown.keyboard.press(key)
            read = _read(shown)
            assert read["planned"] == usd(usd_to_nano(point["planned_usd"]))
            assert float(read["share"].rstrip("%")) / 100 == pytest.approx(point["share"], abs=6e-5)
            assert (
                read["grade"] == f"{grade(point['grade'])} ({grades(point['grade_lo'], point['grade_hi'])})"
            )
            by_share, by_usd = (
                load_config(repo / "configs" / "pilot.yaml", read[name].split()).budget
                for name in ("line", "other")
            )
            assert float(by_share.strong_share or 0) == pytest.approx(point["share"], abs=6e-5)
            assert by_usd.usd == pytest.approx(point["planned_usd"], rel=Decimal("0.001"))
        assert float(read["at"].rstrip("%")) < float(start["at"].rstrip("%"))
        assert shown.locator("#reader").bounding_box()["width"] <= shown.viewport_size["width"]


def test_stacked_budgets_name_their_figures(chromium: Any, foretold_plan: Path) -> None:
    """On a phone, where a budget's figures stand below each other, each says what it is, and none is cut off."""
    with chromium.open(foretold_plan / "plan.html", 390) as shown:
        cells = shown.locator("#budgets tbody tr.chosen td.wide")
        shown.locator("summary").click()
        named = [cell.evaluate("cell => getComputedStyle(cell, '::before').content") for cell in cells.all()]
        assert [" ".join(name.replace('"', "").split()) for name in named] == [
            "P10 – P90",
            "Mean grade",
            "Of the gain",
        ]
        overhang = "cell => cell.scrollWidth - cell.clientWidth"
        assert [cell.evaluate(overhang) for cell in cells.all()] == [0, 0, 0]
