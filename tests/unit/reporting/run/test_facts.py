"""The facts of a run, from its config and what it did."""

from __future__ import annotations

from decimal import Decimal

import pytest
from helpers.report_facts import calls, plan

from routellm_batch.config.job import check_config
from routellm_batch.reporting.run.facts import run_facts


def test_facts_of_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts come from the config without credentials; of a key they have the reference, so that reports can name it."""
    monkeypatch.setenv("SECRET_NAME", "a secret")
    ends = {
        name: {
            "kind": "openai",
            "base_url": "https://api.example.com/v1",
            "api_key": "env:SECRET_NAME",
            "model": f"{name}-model",
            "price": {"input": Decimal(1), "output": Decimal(2)},
        }
        for name in ("strong", "weak")
    }
    tree = {
        "run": {"id": "x", "root": "out"},
        "input": {"uri": "ftp://me@host/in.parquet", "columns": {"prompt": "prompt"}},
        "budget": {"strong_share": Decimal("0.5")},
        "endpoints": ends,
    }
    config = check_config(tree, source="test")
    made = run_facts(
        config, run_id="x", run_uri="out/runs/x", plan=plan(), calls=calls(), wall_s=1.0, state="finished"
    )
    assert made.endpoints["weak"].model == "weak-model"
    assert made.settings["Input"] == "ftp://host/in.parquet"
    assert "env:SECRET_NAME" == made.endpoints["weak"].api_key
    assert "a secret" not in repr(made)
