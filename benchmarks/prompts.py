"""The prompts that are benchmarked: MMLU where the shared data sets are, else the bundled ones over and over."""

from __future__ import annotations

import os
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

MMLU_ROWS = 14_042
REPO = Path(__file__).resolve().parents[1]


def shared_data() -> Path:
    """Return the folder of the shared data sets, which may be absent."""
    return Path(os.environ.get("ROUTELLM_SHARED") or REPO.parent / "shared") / "data"


def load_prompts(rows: int) -> tuple[list[str], str]:
    """Return that many distinct prompts, and words for what they are."""
    path = shared_data() / "outcomes_mmlu_gpt4-1106_vs_mixtral.parquet"
    if path.exists() and rows <= MMLU_ROWS:
        texts = pq.read_table(path, columns=["prompt"]).column("prompt").to_pylist()
        return texts[:rows], "MMLU prompts"
    data = (files("routellm_batch") / "examples" / "prompts.parquet").read_bytes()
    bundled = pq.ParquetFile(BytesIO(data)).read(["prompt"]).column("prompt").to_pylist()
    numbered = [f"{bundled[n % len(bundled)]}\n({n // len(bundled)})" for n in range(rows)]
    return numbered, "bundled prompts, numbered"
