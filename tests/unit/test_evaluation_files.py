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
from routellm_batch.evaluation import evaluate, to_json

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
    assert "{http://www.w3.org/2000/svg}svg" == ET.fromstring(found[0]["curve.svg"]).tag
    assert b"\x89PNG" == found[0]["curve.png"][:4]


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


@pytest.mark.parametrize(
    "program", [["-m", "routellm_batch.cli.app", "evaluate"], ["jobs/evaluate_router.py"]]
)
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
