"""Fitting on a pilot: what it learns, what it falls back to, how it is kept, and input that it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pilots import pilot_of
from numpy.typing import NDArray
from safetensors.numpy import load, save
from sklearn.ensemble import ExtraTreesRegressor

from routellm_batch.core.errors import CheckpointError, ConfigError, DataError
from routellm_batch.core.metrics import Ranking
from routellm_batch.core.protocols import Router
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.checkpoint import load_tensors
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.models.builtin import sha256
from routellm_batch.routers.outcome.blend import fit as pilot_fit
from routellm_batch.routers.outcome.blend import members as pilot_members
from routellm_batch.routers.outcome.blend.evidence import PROMPTS, levelled, weigh
from routellm_batch.routers.outcome.blend.fit import PilotFit, PilotRows, fit_pilot, save_pilot_router
from routellm_batch.routers.outcome.blend.router import MEMBERS
from routellm_batch.routers.outcome.blend.weights import load_blend
from routellm_batch.routers.outcome.blend.wording import WORDING, wording

pytestmark = pytest.mark.timeout(400)

COLUMN = {name: number for number, name in enumerate(WORDING)}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow thirty trees in three folds, which do for prompts as plain as these."""
    monkeypatch.setattr(pilot_members, "TREES", 30)
    monkeypatch.setattr(pilot_fit, "MANY_FOLDS", 3)
    monkeypatch.setattr(pilot_fit, "PENALTIES", pilot_fit.PENALTIES[:2])


def fit(rows: PilotRows, *, prior: Router | None = None, seed: int = 0) -> PilotFit:
    """Fit with the static embedder."""
    return fit_pilot(rows, prior=prior, embedder="static", seed=seed)


def batch_of(rows: PilotRows) -> PromptBatch:
    """Return the prompts of a pilot as a router takes them."""
    return PromptBatch(range(len(rows.prompts)), rows.prompts)


def quality(scores: Any, rows: PilotRows) -> float:
    """Return the APGR over all shares."""
    return Ranking(scores).apgr_full(rows.strong - rows.weak)


def test_a_pilot_is_learned_from() -> None:
    """Prompts that the fit never saw are ranked far better than by length, and the reason gives the figures."""
    fitted, other = fit(pilot_of(120)), pilot_of(200, seed=7)
    assert fitted.chosen == "fitted"
    assert quality(fitted.router.score(batch_of(other)), other) > 0.66
    assert "APGR" in fitted.reason
    assert "length" in fitted.reason


def test_out_of_fold_scores_are_not_those_of_the_final_router() -> None:
    """On grades that no prompt explains, scores of rows not seen recover nothing; the final router knows its rows."""
    rows = pilot_of(150, noise=0.3, shuffled=True)
    fitted = fit(rows)
    assert abs(quality(fitted.out_of_fold, rows) - 0.5) < 0.15
    assert (fitted.out_of_fold.shape, fitted.out_of_fold.dtype) == ((150,), np.float64)


def test_levelled_scores_foretell_what_the_final_model_brings() -> None:
    """Scores pooled over folds foretell an APGR that is too low by .04; of levelled ones three quarters of that is gone."""
    off = np.array([_foretold_too_much(seed) for seed in range(200)]).mean(axis=0)
    assert off[0] < -0.035
    assert abs(off[1]) < 0.015


def _foretold_too_much(seed: int, rows: int = 200) -> list[float]:
    """Return the APGR foretold by pooled and by levelled scores, each less that of the final model on fresh rows."""
    random = np.random.default_rng(seed)
    X = np.column_stack([np.ones(rows + 4000), random.normal(size=rows + 4000)])
    gain = (random.random(len(X)) < 0.3 + 0.03 * X[:, 1]).astype(np.float64)
    fold, pooled = np.arange(rows) % 10, np.empty(rows)
    for number in range(10):
        seen = np.flatnonzero(fold != number)
        held = fold == number
        pooled[held] = X[:rows][held] @ np.linalg.lstsq(X[seen], gain[seen], rcond=None)[0]
    final = X[rows:] @ np.linalg.lstsq(X[:rows], gain[:rows], rcond=None)[0]
    true = Ranking(final).apgr_full(gain[rows:])
    ways = pooled, levelled(pooled[None], fold)[0]
    return [Ranking(scores).apgr_full(gain[:rows]) - true for scores in ways]


def test_the_fit_levels_its_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the heads say of rows that they did not see is the same on average in every fold."""
    monkeypatch.setattr(pilot_fit, "PROMPTS", replace(PROMPTS, candidates=({"heads": 1},)))
    rows = pilot_of(90)
    odds = np.log(1 / fit(rows).out_of_fold - 1)
    fold = np.empty(90, dtype=np.int64)
    fold[np.argsort(rows.prompts)] = np.random.default_rng(0).permutation(90) % 3
    assert np.bincount(fold, odds) / 30 == pytest.approx(np.full(3, odds.mean()))


def test_copies_of_a_prompt_do_not_leak() -> None:
    """A prompt that is there four times is never scored by a model that saw one of its copies."""
    rows = pilot_of(60, noise=0.3, shuffled=True)
    copies = PilotRows(
        list(rows.prompts) * 4, *(np.tile(v, 4) for v in (rows.strong, rows.weak, rows.weight))
    )
    fitted = fit(copies)
    assert quality(fitted.out_of_fold, copies) < 0.7


def test_the_same_seed_fits_the_same_router() -> None:
    """A fit is a pure function of pilot and seed."""
    rows = pilot_of(80)
    once, again, other = fit(rows), fit(rows), fit(rows, seed=1)
    assert np.array_equal(once.router.score(batch_of(rows)), again.router.score(batch_of(rows)))
    assert np.array_equal(once.out_of_fold, again.out_of_fold)
    assert not np.array_equal(once.out_of_fold, other.out_of_fold)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompts": ["one prompt"] * 100}, "has 1 distinct prompts, and 40 are the least"),
        ({"strong": np.full(100, 0.5), "weak": np.full(100, 0.5)}, "grades differ on 0 rows"),
        ({"strong": np.zeros(100)}, "the strong model is not better than the weak one"),
    ],
)
def test_without_evidence_the_prior_is_kept(changes: dict[str, Any], reason: str) -> None:
    """Too few prompts, equal grades or a strong model that is worse leave the shipped ranking, and say why."""
    rows = replace(pilot_of(100), **changes)
    shipped = make_router("outcome")
    fitted, other = fit(rows, prior=shipped), batch_of(pilot_of(50, seed=3))
    assert fitted.chosen == "prior"
    assert reason in fitted.reason
    assert np.array_equal(np.argsort(shipped.score(other)), np.argsort(fitted.router.score(other)))


def test_without_a_prior_length_is_kept() -> None:
    """Where nothing was known before, longer prompts go strong."""
    fitted = fit(pilot_of(20))
    texts = ["word " * n for n in (9, 3, 700, 40)]
    assert fitted.chosen == "length"
    assert np.argsort(fitted.router.score(PromptBatch(range(4), texts))).tolist() == [1, 0, 3, 2]


def test_a_clearly_better_baseline_wins() -> None:
    """Where length alone explains the grades and the fitted members know nothing, they are left out."""
    random = np.random.default_rng(0)
    gain = (np.arange(200) >= 120).astype(np.float64)
    raw = np.column_stack([random.normal(size=(200, 3)), np.arange(200.0), np.zeros(200)])
    actual = weigh(raw, gain, np.ones(200), PROMPTS.without("prior"), seed=0)
    assert actual.chosen == "length"
    assert actual.blend.weight[[0, 1, 2, 4]].tolist() == [0, 0, 0, 0]
    assert actual.quality["blend"] == pytest.approx(actual.quality["length"])


def test_weights_of_rows_count() -> None:
    """Rows of weight nought point one hardly count: the grades of the heavy rows decide the order."""
    rows, wrong = pilot_of(120, noise=0), pilot_of(120, noise=1, seed=5)
    both = PilotRows(
        [*rows.prompts, *(p + "?" for p in wrong.prompts)],
        np.concatenate([rows.strong, rows.strong]),
        np.concatenate([rows.weak, 1 - rows.weak]),
        np.repeat([1.9, 0.1], 120),
    )
    other = pilot_of(100, seed=9, noise=0)
    assert quality(fit(both).router.score(batch_of(other)), other) > 0.7


def test_grades_of_any_unit_will_do() -> None:
    """Grades from 1 to 10 rank prompts as grades from 0 to 1 do."""
    rows = pilot_of(80)
    tenfold = replace(rows, strong=1 + 9 * rows.strong, weak=1 + 9 * rows.weak)
    assert np.allclose(fit(rows).out_of_fold, fit(tenfold).out_of_fold)


def test_a_saved_router_scores_as_before(tmp_path: Path) -> None:
    """What is loaded as router outcome gives the same scores, and the folder holds arrays and text alone."""
    fitted, other = fit(pilot_of(80), prior=make_router("outcome")), batch_of(pilot_of(50, seed=3))
    save_pilot_router(str(tmp_path / "router"), fitted, "# card\n")
    loaded = make_router("outcome", checkpoint=str(tmp_path / "router"))
    assert np.array_equal(fitted.router.score(other), loaded.score(other))
    assert sorted(p.name for p in (tmp_path / "router").iterdir()) == [
        "README.md",
        "model.safetensors",
        "router.json",
    ]


class Letters:
    """An embedder that counts letters."""

    name, width, fingerprint = "letters", 26, "feedfeedfeedfeed"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors."""
        counts = np.array([[text.count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_another_embedder_is_read_beside_the_static_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads and trees look at the configured embedder's vectors too, and what is loaded scores as before."""
    known: dict[str, Any] = {"letters": Letters(), "static": get_embedder("static")}
    monkeypatch.setattr(pilot_fit, "get_embedder", known.__getitem__)
    fitted, other = fit_pilot(pilot_of(80), prior=None, embedder="letters", seed=0), pilot_of(50, seed=3)
    save_pilot_router(str(tmp_path / "router"), fitted, "# card\n")
    fields, tensors = load_tensors(str(tmp_path / "router"), "outcome", known["letters"])
    assert tensors["vectors.basis"].shape == (26, 26)
    loaded = load_blend(str(tmp_path / "router"), fields, tensors, known["letters"])
    assert np.array_equal(fitted.router.score(batch_of(other)), loaded.score(batch_of(other)))
    assert quality(loaded.score(batch_of(other)), other) > 0.66


def test_a_fallback_is_saved_too(tmp_path: Path) -> None:
    """A router that only knows length is kept without any learned part."""
    save_pilot_router(str(tmp_path / "router"), fit(pilot_of(20)), "# card\n")
    loaded = make_router("outcome", checkpoint=str(tmp_path / "router"))
    assert loaded.score(PromptBatch([0, 1], ["short", "rather longer"])).tolist()[0] < 0.5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("columns", ["log_chars"], "other columns or members"),
        ("static", {"name": "static"}, "another static embedder"),
        ("learned", {"alpha": None}, "no number alpha"),
        ("learned", {"alpha": 1.0, "depth": "deep"}, "leads nowhere"),
        ("learned", {"alpha": 1.0, "depth": 5, "k": 0, "prior": 1}, "no positive k and prior"),
        ("prior", {"alpha": 1.0, "lean": {"weight": 1}}, "the entry lean of its manifest is invalid"),
    ],
)
def test_damaged_manifests_are_refused(tmp_path: Path, key: str, value: object, message: str) -> None:
    """A manifest that does not fit says so when it is loaded, not in the scores."""
    folder = tmp_path / "router"
    save_pilot_router(str(folder), fit(pilot_of(60), prior=make_router("outcome")), "# card\n")
    fields = json.loads((folder / "router.json").read_text())
    (folder / "router.json").write_text(json.dumps({**fields, key: value}))
    with pytest.raises(CheckpointError, match=message):
        make_router("outcome", checkpoint=str(folder))


def test_a_forest_that_leads_outside_is_refused(tmp_path: Path) -> None:
    """A branch to a node that is not there is found when it is loaded."""
    folder = tmp_path / "router"
    save_pilot_router(str(folder), fit(pilot_of(60)), "# card\n")
    tensors = load((folder / "model.safetensors").read_bytes())
    tensors["forest.left"] = np.full_like(tensors["forest.left"], 1 << 20)
    data = save(tensors)
    (folder / "model.safetensors").write_bytes(data)
    fields = json.loads((folder / "router.json").read_text())
    fields["files"] = {"model.safetensors": sha256(data)}
    (folder / "router.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match="leads nowhere"):
        make_router("outcome", checkpoint=str(folder))


def test_a_flat_forest_says_what_the_trees_say() -> None:
    """Walking the arrays gives scikit-learn's own predictions, to what float32 holds."""
    random = np.random.default_rng(0)
    X, y = random.normal(size=(300, 6)).astype(np.float32), random.random((300, 2))
    grown = ExtraTreesRegressor(20, min_samples_leaf=3, random_state=0).fit(X, y)
    flat = pilot_members.flatten([tree.tree_ for tree in grown.estimators_])
    expected = grown.predict(X)
    assert np.allclose(expected[:, 0] - expected[:, 1], flat.predict(X.astype(np.float64)), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": []}, "the pilot has no rows"),
        ({"weak": np.ones(3)}, "column 'weak': has 3 values for 60 prompts"),
        ({"strong": np.where(np.arange(60) == 5, np.nan, 1.0)}, "column 'strong', row 5: is not a finite"),
        ({"weight": np.where(np.arange(60) == 9, 0.0, 1.0)}, "column 'weight', row 9: .* not positive"),
    ],
)
def test_rows_that_can_not_be_used_are_named(changes: dict[str, Any], message: str) -> None:
    """The error names column and row."""
    with pytest.raises(DataError, match=message):
        fit(replace(pilot_of(60), **changes))


def test_a_prior_of_another_kind_is_refused() -> None:
    """Only heads on the static embedder can be kept beside what was fitted."""
    with pytest.raises(ConfigError, match="must be an outcome router of heads"):
        fit(pilot_of(60), prior=make_router("length"))


def test_a_router_that_was_not_fitted_is_not_saved(tmp_path: Path) -> None:
    """Saving wants what fit_pilot made."""
    other = PilotFit(make_router("length"), np.zeros(1), "length", "", {})
    with pytest.raises(ConfigError, match="was not fitted on a pilot"):
        save_pilot_router(str(tmp_path / "router"), other, "")


def test_wording_of_a_question_with_options() -> None:
    """Options are measured apart from the question, and numbers by their size."""
    text = "Which of the following is 1,250.5 times 2?\nA. 2501\nB. 12\nC. none of them\nAnswer:"
    actual = wording([text])[0]
    assert actual[COLUMN["numeric_options"]] == pytest.approx(2 / 3)
    assert actual[COLUMN["log_longest_option"]] == pytest.approx(np.log1p(len("none of them")))
    assert actual[COLUMN["log_largest_number"]] == pytest.approx(np.log1p(1250))
    assert actual[COLUMN["says which of the following"]] == 1
    assert actual[COLUMN["has_decimal"]] == 1


def test_wording_is_finite_for_any_text() -> None:
    """Empty, odd and endless texts have finite columns."""
    texts = ["", "\n\nA. \nB. ", "9" * 400, "1.", "٣,٤", "A) x\nA) y", "\ud800"]
    assert np.isfinite(wording(texts)).all()
    assert wording([]).shape == (0, len(WORDING))


def test_members_have_a_weight_each() -> None:
    """The facts of a fit name the weight of every member."""
    assert list(fit(pilot_of(60)).facts["weights"]) == list(MEMBERS)
