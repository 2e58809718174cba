"""What every router of the table promises, checked on each."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from helpers.routers import router_settings

from routellm_batch.core.protocols import Router
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import ROUTERS, get_router, make_router

TEXTS = [
    "",
    "   ",
    "\n",
    "Hi",
    "How many primes are below 100? A. 24\nB. 25\nC. 26\nAnswer:",
    "Write a function that reverses a linked list.\n\n```python\ndef reverse(head): ...\n```",
    "Übersetze: „Guten Tag“ – naïve, café",
    "这道题怎么做？请一步一步解释。",
    "Какой сегодня день?",
    "ما هي عاصمة فرنسا؟",
    "😀😀👩‍👩‍👧 🏳️‍🌈",
    "\ud800 half a surrogate pair",
    "\x00\x01\x1f\x7f",
    "1,234.5 + 6.7e8 = ?" * 40,
    "word " * 200_000,
    "長" * (1 << 20),
]
IDS: list[str | int] = [f"row-{n}" if n % 2 else n for n in range(len(TEXTS))]
BATCH = PromptBatch(IDS, TEXTS)


@pytest.fixture(scope="module", params=[*sorted(ROUTERS), "outcome:pilot"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """Return each router's name in turn, with what it is made of."""
    name = request.param.partition(":")[0]
    return name, router_settings(request.param, tmp_path_factory.mktemp(name))


@pytest.fixture
def router(made: tuple[str, dict[str, Any]]) -> Router:
    """Return each router in turn."""
    name, settings = made
    return get_router(name, **settings)


def test_name_is_the_tables(made: tuple[str, dict[str, Any]], router: Router) -> None:
    """A router knows its own row."""
    assert made[0] == router.name


def test_scores_are_float32_in_range(router: Router) -> None:
    """There is one finite float32 in [0, 1] for each prompt, whatever it holds."""
    scores = router.score(BATCH)
    assert (scores.dtype, scores.shape) == (np.float32, (len(TEXTS),))
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_empty_batch_has_no_scores(router: Router) -> None:
    """No prompt, no score."""
    scores = router.score(PromptBatch([], []))
    assert (scores.dtype, scores.shape) == (np.float32, (0,))


def test_order_is_kept(router: Router) -> None:
    """Scores follow the rows: another order of rows is the same order of scores."""
    order = np.random.default_rng(0).permutation(len(TEXTS))
    shuffled = PromptBatch([IDS[n] for n in order], [TEXTS[n] for n in order])
    assert np.allclose(router.score(BATCH)[order], router.score(shuffled), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1, 3])
def test_batch_size_changes_nothing(router: Router, size: int) -> None:
    """In batches of any size a row has the same score to 1e-6."""
    parts = [
        router.score(PromptBatch(IDS[n : n + size], TEXTS[n : n + size])) for n in range(0, len(TEXTS), size)
    ]
    assert np.allclose(router.score(BATCH), np.concatenate(parts), atol=1e-6, rtol=0)


def test_scores_repeat(made: tuple[str, dict[str, Any]], router: Router) -> None:
    """A router made anew gives the same scores, bit for bit."""
    again = make_router(made[0], **made[1])
    assert np.array_equal(router.score(BATCH), again.score(BATCH))


def test_threads_share_a_router(router: Router) -> None:
    """Several threads scoring at once get what one thread gets."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(router.score, [BATCH] * 8))
    assert all(np.array_equal(router.score(BATCH), scores) for scores in found)


def test_scores_travel(router: Router) -> None:
    """Scores are plain arrays that another process can read."""
    scores = router.score(BATCH)
    assert np.array_equal(scores, pickle.loads(pickle.dumps(scores)))


def test_scores_tell_prompts_apart(router: Router) -> None:
    """Different prompts, in different rows, get more than a few distinct scores."""
    batch = PromptBatch(range(50), [f"Question {n}: " + "why " * n for n in range(50)])
    assert len(set(router.score(batch).tolist())) > 40
