"""Model cards: what a checkpoint was made from and how, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

METHOD = """\
Two logistic heads (chance that the strong, and that the weak model answers well) on a static embedding and fourteen
surface features; score = (α · p_strong − p_weak + 1) / (1 + α). Each task has an intercept of its own while training.
Penalties and α were chosen among {candidates} candidates on {rows} rows held out, by the part of the gain recovered,
averaged over all strong shares: {quality:.3f} (random: .5)."""


def model_card(name: str, trained: Mapping[str, Any], *, sections: Sequence[str] = ()) -> str:
    """Return a model card.

    Args:
        name: of the checkpoint.
        trained: fields of a ``TrainReport``.
        sections: further sections, Markdown.

    """
    choice = trained["choice"]
    table = ["| file | rows trained on | rows held out | weight of a row |", "|---|---:|---:|---:|"]
    table += [
        f"| {s['file']} | {s['trained']:,} | {s['held_out']:,} | {s['weight']:g} |"
        for s in trained["sources"]
    ]
    chosen = {**choice["penalties"], "alpha": choice["alpha"], "seed": trained["seed"]}
    parts = [
        f"# {name}: weights of the `outcome` router",
        METHOD.format(**choice),
        "## Data\n\n" + "\n".join(table),
        "## Chosen\n\n```json\n" + json.dumps(chosen, indent=2) + "\n```",
        *sections,
    ]
    return "\n\n".join(parts) + "\n"
