"""The figures of docs/benchmarks.md, one table a benchmark.

python -m benchmarks [NAME …] [--quick]
"""

from __future__ import annotations

import argparse
from importlib import import_module

from benchmarks.table import machine

NAMES = (
    "start",
    "static_scoring",
    "transformer_embedder",
    "sw_ranking",
    "bert",
    "causal_llm",
    "gpu_routers",
    "planning",
    "whole_job",
    "rate",
    "fan_out",
    "graders",
    "commercial",
    "coverage",
    "gain_per_dollar",
    "backtest",
    "resume",
    "memory",
)


def main() -> None:
    """Run the benchmarks that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Print the project's figures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one run each: does it work at all?")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    print(f"{machine()}\n", flush=True)
    for name in given.names or NAMES:
        table = import_module(f"benchmarks.{name}").run(quick=given.quick)
        print(f"{table}\n", flush=True)


if __name__ == "__main__":
    main()
