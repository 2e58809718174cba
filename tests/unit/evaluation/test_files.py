"""What evaluate writes: curves in Parquet that agree with the figures, and pictures of them."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.cli.app import main
from routellm_batch.core.errors import StoreError
from routellm_batch.evaluation import evaluate, files, to_json
from routellm_batch.evaluation.plot_svg import HEIGHT, WIDTH

SVG = "{http://www.w3.org/2000/svg}"
FILES = ["curve.png", "curve.svg", "curves.parquet", "result.json"]


@pytest.fixture
def outcomes(tmp_path: Path) -> str:
    """Return a file of forty outcomes with costs, where long prompts mostly need the strong model."""
    random = np.random.default_rng(0)
    table = {
        "prompt_id": [f"q{n}" for n in range(40)],
        "prompt": ["word " * (n + 1) for n in range(40)],
        "strong_score": np.ones(40),
        "weak_score": (random.random(40) > np.arange(40) / 40).astype(float),
        "strong_cost_usd": np.full(40, 0.02),
        "weak_cost_usd": np.full(40, 0.001),
    }
    pq.write_table(pa.table(table), tmp_path / "outcomes.parquet")
    return str(tmp_path / "outcomes.parquet")


def test_curves_agree_with_the_figures(outcomes: str, tmp_path: Path) -> None:
    """The Parquet has a curve of every contender whose area, ends and interval are those of the figures."""
    result = evaluate([outcomes], ["length"], replicates=200, out=str(tmp_path / "out"))
    assert FILES == sorted(path.name for path in (tmp_path / "out").iterdir())
    table = pq.read_table(tmp_path / "out" / "curves.parquet").to_pandas()
    kinds = table.groupby(["kind", "router"], sort=True).size()
    names = [("baseline", name) for name in ("knn", "length", "oracle", "random")]
    assert [*names, ("router", "length")] == list(kinds.index)
    mine = table[table["kind"] == "router"]
    assert result["apgr_full"] == pytest.approx(np.trapezoid(mine["pgr"], mine["strong_share"]))
    assert [result["weak"], result["strong"]] == pytest.approx(
        [mine["quality"].iloc[0], mine["quality"].iloc[-1]]
    )
    assert ["0.040000000", "0.800000000"] == [
        f"{usd:f}" for usd in (mine["usd"].iloc[0], mine["usd"].iloc[-1])
    ]
    inner = mine[(mine["strong_share"] > 0.1) & (mine["strong_share"] < 0.9)]
    assert (inner["pgr_lo"] < inner["pgr"]).all()
    assert (inner["pgr"] < inner["pgr_hi"]).all()


def test_result_is_the_json(outcomes: str, tmp_path: Path) -> None:
    """result.json holds what --json prints."""
    result = evaluate([outcomes], ["length"], replicates=20, out=str(tmp_path / "out"))
    assert json.loads(to_json(result)) == json.loads((tmp_path / "out" / "result.json").read_text())


def test_pictures_are_whole_and_the_same_again(outcomes: str, tmp_path: Path) -> None:
    """SVG and PNG are what they are called, and a second run replaces them by the same bytes."""
    found: list[dict[str, bytes]] = []
    for _ in range(2):
        evaluate([outcomes, outcomes], ["length"], replicates=20, out=str(tmp_path / "out"))
        found.append({name: (tmp_path / "out" / name).read_bytes() for name in FILES})
    assert found[0] == found[1]
    assert f"{SVG}svg" == ET.fromstring(found[0]["curve.svg"]).tag
    assert b"\x89PNG" == found[0]["curve.png"][:4]


def test_svg_shows_every_line_within_its_plot(outcomes: str, tmp_path: Path) -> None:
    """Each contender is drawn over shares and over dollars and named once below; a router has its interval."""
    evaluate([outcomes], ["length", "knn"], replicates=20, out=str(tmp_path))
    root = ET.fromstring((tmp_path / "curve.svg").read_bytes())
    shapes = {kind: root.findall(f".//{SVG}{kind}") for kind in ("polyline", "polygon")}
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert (2 * 4, 2 * 2) == (len(shapes["polyline"]), len(shapes["polygon"]))
    assert [1] * 4 == [texts.count(name) for name in ("length", "knn", "random", "oracle")]
    assert [2, 2] == [texts.count(text) for text in ("quality gap recovered", "outcomes.parquet, 40 prompts")]
    pairs = [pair.split(",") for shape in shapes["polyline"] for pair in shape.get("points", "").split()]
    corners = [(float(x), float(y)) for x, y in pairs]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in corners)


def test_without_a_gap_or_costs_the_svg_says_so(outcomes: str, tmp_path: Path) -> None:
    """Where there is nothing to draw, a sentence stands in its place."""
    table = pq.read_table(outcomes)
    names = {"strong_score": "weak_score", "weak_score": "strong_score"}
    swapped = table.drop_columns(["strong_cost_usd", "weak_cost_usd"])
    swapped = swapped.rename_columns([names.get(name, name) for name in swapped.column_names])
    pq.write_table(swapped, tmp_path / "swapped.parquet")
    evaluate(
        [outcomes, str(tmp_path / "swapped.parquet")], ["length"], replicates=20, out=str(tmp_path / "out")
    )
    text = (tmp_path / "out" / "curve.svg").read_text()
    assert [1, 1] == [text.count("no gap"), text.count("cost unknown")]


def test_without_matplotlib_there_is_no_png(
    outcomes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything else is written, and one warning says what to install, and that an older picture stays."""
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    evaluate([outcomes], ["length"], replicates=20, out=str(tmp_path / "out"))
    assert sorted({*FILES} - {"curve.png"}) == sorted(path.name for path in (tmp_path / "out").iterdir())
    (tmp_path / "out" / "curve.png").write_bytes(b"old")
    evaluate([outcomes], ["length"], replicates=20, out=str(tmp_path / "out"))
    stale = f"{files.NO_PNG}; the one in the folder is of an earlier evaluation"
    assert [files.NO_PNG, stale] == [record.getMessage() for record in caplog.records]


def test_pilot_curves_are_means(outcomes: str, tmp_path: Path) -> None:
    """With a pilot there is one curve a contender, the mean over the seeds."""
    result = evaluate([outcomes], ["length"], replicates=20, pilot=10, seeds=2, out=str(tmp_path / "out"))
    table = pq.read_table(tmp_path / "out" / "curves.parquet").to_pandas()
    mine = table[table["kind"] == "router"]
    assert 41 == len(mine)
    assert result["apgr_full"] == pytest.approx(np.trapezoid(mine["pgr"], mine["strong_share"]), abs=0.01)


def test_a_folder_that_cannot_be_written_is_named(outcomes: str) -> None:
    """The error names the folder."""
    with pytest.raises(StoreError, match="outcomes.parquet/out: can't be written"):
        evaluate([outcomes], ["length"], replicates=20, out=f"{outcomes}/out")


@pytest.mark.parametrize("program", [["-m", "routellm_batch.cli", "evaluate"], ["jobs/evaluate_router.py"]])
def test_command_line(outcomes: str, tmp_path: Path, repo: Path, program: list[str]) -> None:
    """Both commands take --out and print tables of 80 columns into a pipe, without colours."""
    command = [sys.executable, *program, outcomes, "--router", "length", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repo)
    assert 0 == done.returncode, done.stderr
    assert "\x1b" not in done.stdout
    assert 80 >= max(len(line) for line in done.stdout.splitlines() if str(tmp_path) not in line)
    assert FILES == sorted(path.name for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--price", "strong=1,1"], "--price: prices of both strong and weak are needed"),
        (["--where", "lang=en"], "column 'lang': no such column"),
        (["--pilot", "40"], "has 40 distinct prompts"),
    ],
)
def test_bad_input_exits_with_2(
    outcomes: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What can't be used is one line on stderr and exit code 2; stdout stays empty."""
    command = ["routellm-batch", "evaluate", outcomes, "--router", "length", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert (2, "") == (stopped.value.code, said.out)
    assert message in said.err
