"""What a training says when it ends."""

from __future__ import annotations

import math
from typing import Any

import pytest

from routellm_batch.core.registry import resolve
from routellm_batch.routers.training.request import gain_text

REPORTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "knn": (
        "routellm_batch.routers.knn.train:KnnReport",
        {"out": "o", "rows": 1200, "held_out": 300, "k": 30, "prior": 1.0, "quality": 0.7},
        "1,200 rows; APGR 0.700 (random has 0.5) on 300 that it did not see, which chose k=30",
    ),
    "mf": (
        "routellm_batch.routers.mf.train:MfReport",
        {
            "out": "o",
            "battles": 900,
            "held_out": 50,
            "epoch": 3,
            "loss": 0.6,
            "accuracy": 0.7,
            "models": ["a", "b"],
            "pair": ("a", "b"),
        },
        "900 battles between 2 models; on 50 held out accuracy 0.700, loss 0.6000 (a coin toss has 0.5 and 0.693)",
    ),
    "sw_ranking": (
        "routellm_batch.routers.sw_ranking.train:SwReport",
        {
            "out": "o",
            "battles": 9,
            "prompts": 4,
            "tiers": {},
            "pair": ("a", "b"),
            "tested": 0,
            "accuracy": math.nan,
        },
        "9 battles on 4 prompts; none was held out",
    ),
    "ensemble": (
        "routellm_batch.routers.ensemble.train:EnsembleReport",
        {"out": "o", "members": [], "rows": 80, "quality": math.nan},
        "80 rows; no gain to recover on these rows, which chose its weights",
    ),
    "bert": (
        "routellm_batch.routers.bert.train:BertTraining",
        {"out": "o", "trained": 80, "held_out": 8, "loss": 0.5, "accuracy": 0.75, "commonest": 0.5},
        "80 rows; on 8 held out accuracy 0.750 (0.500 by always saying the commonest class)",
    ),
    "causal_llm": (
        "routellm_batch.routers.causal_llm.train:CausalTrained",
        {
            "out": "o",
            "trained": 80,
            "held_out": 8,
            "loss_before": 2.0,
            "loss": 1.5,
            "accuracy": 0.5,
            "apgr": 0.6,
            "apgr_ci": (0.5, 0.7),
        },
        "80 rows; on 8 held out loss 2.0000 → 1.5000, APGR 0.600 (random has 0.5)",
    ),
}


@pytest.mark.parametrize("router", REPORTS)
def test_a_report_says_its_rows_and_its_figure(router: str) -> None:
    """The clause has the rows that were trained on and the figure on rows that were not."""
    if router in {"bert", "causal_llm"}:
        pytest.importorskip("torch", reason="the [torch] extra is not installed")
    where, fields, text = REPORTS[router]
    assert text == resolve({router: where}, router, key="router")(**fields).summary


@pytest.mark.parametrize(
    ("apgr", "text"), [(0.7, "APGR 0.700 (random has 0.5)"), (math.nan, "no gain to recover")]
)
def test_gain_in_words(apgr: float, text: str) -> None:
    """No gain is said, and not shown as a number."""
    assert text == gain_text(apgr)
