"""Training the matrix factorisation: it learns, repeats, and saves what the router loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.mf.train import _gradients, _logits, choose_pair
from routellm_batch.routers.training import TrainRequest, train
from routellm_batch.routers.training.battles import join_rows

MATHS = [f"Compute the integral of x to the power of {n} from zero to one." for n in range(60)]
CHAT = [f"Say hello to my friend number {n}, please." for n in range(60)]
OPTIONS = {"dim": 16, "epochs": 20, "lr": 0.01, "noise": 0.02}


def battles(path: Path, **columns: Any) -> str:
    """Write battles: ``big`` beats ``small`` at maths and loses at chat."""
    prompts = [*MATHS, *CHAT]
    table = {
        "prompt": prompts,
        "model_a": ["big"] * len(prompts),
        "model_b": ["small"] * len(prompts),
        "winner": ["model_a"] * len(MATHS) + ["model_b"] * len(CHAT),
        **columns,
    }
    pq.write_table(pa.table(table), path)
    return str(path)


def test_it_learns_which_prompts_need_the_strong_model(tmp_path: Path) -> None:
    """The trained checkpoint is loaded by the router and ranks unseen prompts of both kinds right."""
    lines: list[str] = []
    options = {**OPTIONS, "strong_model": "big", "weak_model": "small"}
    request = TrainRequest(
        [battles(tmp_path / "b.parquet")], str(tmp_path / "out"), options=options, progress=lines.append
    )
    trained = train(request, router="mf")
    scores = make_router("mf", checkpoint=trained.out).score(
        PromptBatch(
            [0, 1], ["Compute the integral of sine x from zero to two.", "Say hello to my aunt, please."]
        )
    )
    assert scores[0] > 0.5 > scores[1]
    assert "held-out loss" in lines[0]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`b.parquet`" in card
    assert str(tmp_path) not in card


def test_training_repeats(tmp_path: Path) -> None:
    """The same data and seed give the same weights, another seed others."""
    file = battles(tmp_path / "b.parquet")
    for out, seed in (("one", 3), ("two", 3), ("three", 4)):
        train(TrainRequest([file], str(tmp_path / out), seed=seed, options=OPTIONS), router="mf")
    one, two, three = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_gradients_are_those_of_the_loss() -> None:
    """Each gradient agrees with finite differences of the mean cross-entropy."""
    rng = np.random.default_rng(0)
    shapes = {"P.weight": (5, 4), "text_proj.0.weight": (4, 6), "classifier.0.weight": (1, 4)}
    parameters = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    q, winner, loser = rng.standard_normal((7, 6)), rng.integers(0, 2, 7), rng.integers(2, 5, 7)

    def loss() -> float:
        return float(np.logaddexp(0, -_logits(parameters, q, winner, loser)).mean())

    actual = _gradients(parameters, q, winner, loser)
    for name, value in parameters.items():
        at = tuple(int(n) for n in rng.integers(0, value.shape))
        before, step = value[at], 1e-6
        value[at] = before + step
        above = loss()
        value[at] = before - step
        below = loss()
        value[at] = before
        assert actual[name][at] == pytest.approx((above - below) / (2 * step), abs=1e-6)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"winner": ["nobody"] * 120}, DataError, "column 'winner', row 0: is none of model_a"),
        ({"winner": ["tie"] * 120}, DataError, "too few battles with a winner"),
        ({"model_b": ["big"] * 120}, DataError, "no battle may be trained on"),
    ],
    ids=["winner", "ties", "self"],
)
def test_bad_battles_are_refused(
    tmp_path: Path, columns: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The error names the column and row, or what is missing."""
    file = battles(tmp_path / "b.parquet", **columns)
    with pytest.raises(error, match=message):
        train(TrainRequest([file], str(tmp_path / "out")), router="mf")


def test_a_model_without_battles_is_refused(tmp_path: Path) -> None:
    """The error lists the models there are."""
    request = TrainRequest(
        [battles(tmp_path / "b.parquet")], str(tmp_path / "out"), options={"strong_model": "huge"}
    )
    with pytest.raises(ConfigError, match="no battle of 'huge'; there are: big, small"):
        train(request, router="mf")


@pytest.mark.parametrize(
    ("strong", "weak", "expected"),
    [
        (None, None, ("m0", "m2")),
        (None, "ref", ("m0", "ref")),
        ("ref", None, ("ref", "m2")),
    ],
    ids=["neither", "weak", "strong"],
)
def test_a_pair_is_found_where_one_model_met_all_others(
    strong: str | None, weak: str | None, expected: tuple[str, str]
) -> None:
    """Models that are rare beside a common opponent still make the pair."""
    won = {"m0": 9, "m1": 5, "m2": 2, "m3": 1, "m4": 0}
    rows = [(f"prompt {n}", m, "ref", float(n < wins), False) for m, wins in won.items() for n in range(10)]
    assert choose_pair(join_rows(rows, "b.parquet"), strong, weak) == expected


def test_a_rare_model_is_not_routed_unless_it_is_named() -> None:
    """Two models that met often make the pair; a rare one that always won does not, but may be named."""
    rows = [(prompt, "big", "small", 1.0, False) for prompt in MATHS]
    rows += [(prompt, "rare", "small", 1.0, False) for prompt in MATHS[:5]]
    battles = join_rows(rows, "b.parquet")
    assert choose_pair(battles, None, None) == ("big", "small")
    assert choose_pair(battles, "rare", None) == ("rare", "small")


def test_a_pair_is_two_models() -> None:
    """The same model as strong and weak is refused."""
    rows = [(prompt, "big", "small", 1.0, False) for prompt in MATHS]
    with pytest.raises(ConfigError, match="weak_model: is 'big', as strong_model is"):
        choose_pair(join_rows(rows, "b.parquet"), "big", "big")
