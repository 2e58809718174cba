"""Backtests: whole jobs over recorded answers, their pilot first; what each plan predicted beside what came of it.

python -m benchmarks backtest; PILOT_SEED=1 draws other pilots
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.pilots import PAIRS, PRICES
from benchmarks.prompts import REPO, shared_data
from benchmarks.table import Table
from routellm_batch.budget.pricing import nano_to_usd, usd_to_nano
from routellm_batch.core.types import ROUTES
from routellm_batch.reporting.quality_words import grade, grades, part, span
from routellm_batch.reporting.text import count, percent, usd

LONGEST = 4096
"""Tokens; no recorded answer is longer."""
UNSET = ("budget.recover=null", "budget.confidence=null")


@dataclass(frozen=True, slots=True)
class Case:
    """A data set, the pilot that is drawn from it, and the dollars of its second budget."""

    name: str
    """As ``PAIRS`` has it."""
    pilot: int
    usd: str


CASES = (Case("GSM8K", 300, "1.5"), Case("GSM8K, GPT-4o", 300, "2"), Case("MMLU-Pro", 500, "10"))
HEADINGS = (
    "set",
    "budget",
    "strong",
    "grade predicted",
    "achieved",
    "PGR predicted",
    "achieved",
    "…on other rows",
    "cost predicted",
    "came to",
    "random",
)


@dataclass(frozen=True, slots=True)
class Backtest:
    """One set on disk: its input, its labels, and what its commands left behind."""

    case: Case
    folder: Path
    rows: int

    def command(self, verb: str, *words: str) -> int:
        """Run ``routellm-batch``; return its exit code."""
        line = [sys.executable, "-m", "routellm_batch.cli", verb, *words]
        done = subprocess.run(line, cwd=REPO, capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if done.returncode not in {0, 2, 4}:
            raise SystemExit(f"{verb} of {self.case.name} ended with {done.returncode}: {done.stderr}")
        if done.returncode:
            sys.stderr.write(done.stderr)
        return done.returncode

    def job(self, run_id: str, *overrides: str) -> bool:
        """Plan and run a budget and write its report anew; False where the plan was refused."""
        config = str(self.folder / "job.yaml")
        words = (config, f"run.id={run_id}", *overrides)
        if self.command("plan", *words):
            return False
        for code in (self.command("run", *words), self.command("report", str(self.folder / "runs" / run_id))):
            if code:
                raise SystemExit(f"the run {run_id} of {self.case.name} ended with {code}")
        return True

    def read(self, path: str) -> dict[str, Any]:
        """Read a JSON file below the run root."""
        return dict(json.loads((self.folder / path).read_text()))

    def came_to(self, run_id: str) -> int:
        """Return what all answers of a run cost, in nano-dollars: its own, and at their price those of its pilot."""
        answers = pq.read_table(
            self.folder / "runs" / run_id / "responses", columns=["id", "route", "attempts", "cost_usd"]
        )
        names = ["prompt_id", *(f"{route}_cost_usd" for route in ROUTES)]
        pilot = pq.read_table(self.folder / "pilots" / "recover" / "outcomes.parquet", columns=names)
        taken = answers.filter(pc.equal(answers["attempts"], 0)).join(pilot, "id", "prompt_id")
        saved = pc.if_else(pc.equal(taken["route"], "strong"), *(taken[name] for name in names[1:]))
        dollars = [pc.sum(column).as_py() or Decimal(0) for column in (answers["cost_usd"], saved)]
        return usd_to_nano(sum(dollars, Decimal(0)))


def prepare(case: Case, folder: Path, rows: int | None) -> Backtest:
    """Write the input and the config of a set: each prompt once, as an endpoint has one answer to it."""
    outcomes = shared_data() / f"outcomes_{PAIRS[case.name]}.parquet"
    seen: set[str] = set()
    kept: list[dict[str, Any]] = []
    for row in pq.read_table(outcomes).to_pylist():
        if not row.get("contaminated") and row["prompt"] not in seen:
            seen.add(row["prompt"])
            kept.append({name: row[name] for name in ("prompt_id", "prompt", "strong_score", "weak_score")})
    labels = pa.Table.from_pylist(kept[:rows])
    pq.write_table(labels, folder / "in.parquet")
    (folder / "job.yaml").write_text(json.dumps(_config(case, folder, labels.num_rows)))  # JSON is YAML
    return Backtest(case, folder, labels.num_rows)


def _config(case: Case, folder: Path, rows: int) -> dict[str, Any]:
    recorded = str(shared_data() / f"responses_{PAIRS[case.name]}.parquet")
    table = str(folder / "in.parquet")
    labels = {"kind": "labels", "uri": table, "id": "prompt_id"}
    ends = {
        route: {
            "kind": "replay",
            "model": route,
            "price": {
                "input": float(nano_to_usd(PRICES[route].price.input_nano)),
                "output": float(nano_to_usd(PRICES[route].price.output_nano)),
            },
            "params": {"max_completion_tokens": LONGEST},
            "estimate": {"output_tokens": 150},
            "replay": {"uri": recorded, "prompt": "prompt", "answer": f"{route}_response"},
        }
        for route in ROUTES
    }
    return {
        "run": {"id": "recover", "root": str(folder)},
        "input": {"uri": table, "columns": {"id": "prompt_id", "prompt": "prompt"}},
        "pilot": {
            "rows": min(case.pilot, rows // 2),
            "usd": 20,
            "grader": labels,
            "seed": int(os.environ.get("PILOT_SEED", "0")),
        },
        "grade": labels,
        "budget": {"recover": 0.9, "confidence": 0.9},
        "endpoints": ends,
        "cluster": {"kind": "serial"},
    }


def run(*, quick: bool) -> Table:
    """Play each set over, with a budget to recover nine tenths and one in dollars."""
    lines: list[Sequence[str]] = []
    for case in CASES[:1] if quick else CASES:
        folder = Path(tempfile.mkdtemp(prefix="routellm-backtest-"))
        try:
            lines += _lines(prepare(case, folder, 200 if quick else None))
        finally:
            shutil.rmtree(folder)
    notes = [
        "Foretold with 90 % intervals, the cost with P10–P90; achieved by the recorded scores, by the run's own report.",
        "…on other rows: without the pilot's rows, whose labels the router has seen. Cost: the pilot's answers that the run",
        "took over are counted at their price. Random: the part of the gap that as many dollars buy at random rows.",
        "Prices per million tokens $10/$30 strong, $0.24/$0.24 weak, for every pair. Each prompt once.",
    ]
    return Table("Backtests", HEADINGS, lines, notes)


def _lines(test: Backtest) -> list[Sequence[str]]:
    if test.command("pilot", str(test.folder / "job.yaml")):
        raise SystemExit(f"the pilot of {test.case.name} was refused")
    pilot = test.read("pilots/recover/_SUCCESS")
    name = f"{test.case.name}: pilot {pilot['labelled']} of {count(test.rows)}, {pilot['chosen']}"
    found: list[Sequence[str]] = []
    for run_id, budget, overrides in (
        ("recover", "recover 90 %", ()),
        ("dollars", f"${test.case.usd}", (*UNSET, f"budget.usd={test.case.usd}")),
    ):
        done = test.job(run_id, *overrides)
        found.append(
            [name, budget, *(_figures(test, run_id) if done else ["refused", *["–"] * (len(HEADINGS) - 3)])]
        )
    return found


def _figures(test: Backtest, run_id: str) -> list[str]:
    cost, plan = (test.read(f"runs/{run_id}/{file}") for file in ("report/cost.json", "plan.json"))
    quality: Mapping[str, Any] = cost["quality"]
    forecast, planned = quality["predicted"], plan["planned_nano"]
    weak, strong = plan["all_weak_nano"], plan["all_strong_nano"]
    band = " – ".join(usd(usd_to_nano(Decimal(cost[f"planned_{side}_usd"]))) for side in ("p10", "p90"))
    return [
        percent(round(cost["share"]["achieved"], 3)),
        f"{grade(forecast['mean'])} ({grades(forecast['lo'], forecast['hi'])})",
        grade(quality["achieved"]["mean"]),
        f"{part(forecast['pgr'])} ({span(forecast['pgr_lo'], forecast['pgr_hi'])})",
        str(part(quality["pgr"])),
        str(part(quality["unseen_pgr"])),
        f"{usd(planned)} ({band})",
        usd(test.came_to(run_id)),
        str(part((planned - weak) / (strong - weak))),
    ]
