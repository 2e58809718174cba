"""Write the prompts that come with the package: routellm_batch/examples/prompts.parquet and reviews.parquet.

    python tools/make_prompts.py [--out FILE] [--seed N]

The same seed gives the same rows, and with the same pyarrow the same bytes. Columns: id, prompt, category,
difficulty (0 to 1), reference (null where no answer is the one right answer), grader (numeric, exact, none).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
from prompts import classification, code, rewriting, translation, word_problems
from prompts.common import Prompt

OUT = Path(__file__).resolve().parents[1] / "routellm_batch" / "examples" / "prompts.parquet"
SENTIMENTS = frozenset({"positive", "negative", "neutral"})
CATEGORIES = (
    ("word", word_problems.make),
    ("class", classification.make),
    ("rewrite", rewriting.make),
    ("code", code.make),
    ("translate", translation.make),
)


def make_prompts(seed: int) -> dict[str, Prompt]:
    """Return id → prompt, the categories mixed as they would be in real traffic."""
    rows = [
        (f"{prefix}-{number:04d}", prompt)
        for prefix, make in CATEGORIES
        # A source of its own for each category, so that a change to one leaves the others as they were.
        for number, prompt in enumerate(make(Random(f"{prefix} {seed}")), start=1)
    ]
    if len({prompt.prompt for _, prompt in rows}) < len(rows):
        raise SystemExit(f"seed {seed} gives the same prompt twice; take another")
    Random(f"order {seed}").shuffle(rows)
    return dict(rows)


def to_table(rows: dict[str, Prompt]) -> pa.Table:
    """Return the rows as a table."""
    prompts = list(rows.values())
    return pa.table(
        {
            "id": pa.array(list(rows), pa.string()),
            "prompt": pa.array([p.prompt for p in prompts], pa.string()),
            "category": pa.array([p.category for p in prompts], pa.string()),
            "difficulty": pa.array([p.difficulty for p in prompts], pa.float64()),
            "reference": pa.array([p.reference for p in prompts], pa.string()),
            "grader": pa.array([p.grader for p in prompts], pa.string()),
        }
    )


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write the prompts that come with the package.")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = make_prompts(arguments.seed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(rows), arguments.out, compression="zstd", compression_level=19)
    reviews = {name: prompt for name, prompt in rows.items() if prompt.reference in SENTIMENTS}
    pq.write_table(to_table(reviews), arguments.out.with_name("reviews.parquet"), compression="zstd")
    print(f"{len(rows)} prompts → {arguments.out}, {len(reviews)} of them reviews for a label job beside it")


if __name__ == "__main__":
    main()
