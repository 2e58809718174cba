"""Which rows a pilot asks about."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from routellm_batch.pipeline.pilot.sample import STRATA, Drawn, Part, Sampler


def rows(count: int, *, prompts: int | None = None, scores: np.ndarray | None = None, shard: int = 0) -> Part:
    """Return some rows; every ``prompts`` of them the prompts repeat."""
    random = np.random.default_rng(count + shard)
    number = np.arange(count) % (prompts or count) + shard * 10**6
    return Part(
        shard,
        np.arange(count, dtype=np.int32),
        random.random(count, dtype=np.float32) if scores is None else scores.astype(np.float32),
        random.integers(0, 2**63, count, dtype=np.uint64),
        np.column_stack([number, number]).astype(np.uint64),
    )


def draw(parts: list[Part], count: int, seed: int = 0) -> list[Drawn]:
    sampler = Sampler(count, seed)
    for part in parts:
        sampler.count(part.score)
    for part in parts:
        sampler.add(part)
    return sampler.draw()


def places(drawn: list[Drawn]) -> set[tuple[int, int]]:
    return {(one.shard, one.row) for one in drawn}


def test_every_stratum_gives_its_part() -> None:
    """Of 10,000 rows 500 are drawn, 50 of each tenth of the scores, each standing for as many rows."""
    drawn = draw([rows(10_000)], 500)
    assert 500 == len(places(drawn))
    assert [50] * STRATA == [count for _, count in sorted(Counter(d.stratum for d in drawn).items())]
    assert all(0.95 < one.weight < 1.05 for one in drawn)
    edges = [max(d.score for d in drawn if d.stratum == s) for s in range(STRATA)]
    assert sorted(edges) == edges


def test_weights_sum_to_the_rows() -> None:
    """Where half of the rows have one score, their stratum is larger, and so are its rows' weights or its part."""
    scores = np.concatenate([np.full(5_000, 0.25), np.linspace(0.3, 0.9, 5_000)])
    drawn = draw([rows(10_000, scores=scores)], 200)
    of_ties = sum(one.weight for one in drawn if one.score == 0.25)
    assert 200 == pytest.approx(sum(one.weight for one in drawn))
    assert 100 == pytest.approx(of_ties, rel=0.1)


def test_a_prompt_is_asked_about_once() -> None:
    """Of 300 distinct prompts, each there ten times with other scores, at most 300 rows are drawn."""
    part = rows(3_000, prompts=300)
    drawn = draw([part], 500)
    assert 300 == len(drawn) == len({int(part.content[one.row, 0]) for one in drawn})


def test_the_sample_does_not_depend_on_how_rows_come() -> None:
    """One part or twenty, the same rows are drawn; another seed draws others."""
    whole = rows(2_000)
    cut = [
        Part(
            0,
            whole.row[a : a + 100],
            whole.score[a : a + 100],
            whole.tie[a : a + 100],
            whole.content[a : a + 100],
        )
        for a in range(0, 2_000, 100)
    ]
    assert places(draw([whole], 100)) == places(draw(cut, 100))
    assert len(places(draw([whole], 100)) & places(draw([whole], 100, seed=1))) < 30


def test_all_rows_where_there_are_no_more() -> None:
    """A pilot as large as the data takes it whole."""
    assert 40 == len(draw([rows(20), rows(20, shard=1)], 40)) == len(draw([rows(20), rows(20, shard=1)], 99))


def test_the_sample_is_of_all_rows_alike() -> None:
    """Over many seeds each row is drawn about as often as any other."""
    part, found = rows(200), Counter[int]()
    for seed in range(300):
        found.update(one.row for one in draw([part], 50, seed))
    expected = 300 * 50 / 200
    assert all(abs(found[row] - expected) < 6 * np.sqrt(expected) for row in range(200))


def test_rows_that_can_be_drawn_stand_for_their_whole_stratum() -> None:
    """Where only every fourth of the low scores can be drawn, the low rows weigh as much in all as they are many."""
    every = rows(4_000)
    low = every.score < 0.5
    kept = ~low | (np.arange(4_000) % 4 == 0)
    part = Part(0, every.row[kept], every.score[kept], every.tie[kept], every.content[kept])
    sampler = Sampler(400, 0)
    sampler.count(every.score)
    sampler.add(part)
    drawn = sampler.draw()
    assert {one.row for one in drawn} <= set(every.row[kept].tolist())
    assert 400 == len(drawn)
    assert 400 * low.mean() == pytest.approx(sum(d.weight for d in drawn if d.score < 0.5), rel=0.02)
