"""Battles as RouteLLM and the Arena publish them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.core.errors import DataError
from routellm_batch.routers.training.battles import read_battles, read_pairs
from routellm_batch.routers.training.formats import read_training_table
from routellm_batch.routers.training.rows import Source, read_sources

FIRST = ["Why is the sky so blue?", "What is the square of 12?", "Name the moons of Mars, please."]
MODELS = {"model_a": ["gpt-4", "small", "gpt-4"], "model_b": ["small", "gpt-4", "mid"]}
SUPPORT = [1.0, 0.0, 0.5]


def talk(text: Any) -> list[dict[str, Any]]:
    """Return a conversation of two rounds that opens with a text."""
    rest = ["An answer.", "And then?"] if isinstance(text, str) else [parts("An answer."), parts("And then?")]
    return [
        {"role": "user", "content": text},
        {"role": "assistant", "content": rest[0]},
        {"role": "user", "content": rest[1]},
    ]


def parts(text: str) -> list[dict[str, Any]]:
    """Return a text as a list of parts, with an image before it."""
    return [{"type": "image", "text": None}, {"type": "text", "text": text}]


VOTES = {"winner_model_a": [1, 0, 0], "winner_model_b": [0, 1, 0], "winner_tie": [0, 0, 1]}
FORMS: dict[str, dict[str, Any]] = {
    "ours": {"prompt": FIRST, "preference": SUPPORT},
    "a winner": {"prompt": FIRST, "winner": ["model_a", "model_b", "tie (bothbad)"]},
    "a winner, written otherwise": {"prompt": FIRST, "winner": ["Model_A", "model_b", "both_bad"]},
    "a winner's name": {"prompt": FIRST, "winner": ["gpt-4", "gpt-4", "tie"]},
    "RouteLLM": {"prompt": [json.dumps([text, "And then?"]) for text in FIRST], **VOTES},
    "RouteLLM without ties": {
        "prompt": [json.dumps([text]) for text in FIRST],
        **{name: VOTES[name] for name in ("winner_model_a", "winner_model_b")},
    },
    "votes as booleans": {
        "prompt": FIRST,
        **{name: [bool(v) for v in votes] for name, votes in VOTES.items()},
    },
    "prompts as lists": {"prompt": [[text, "And then?"] for text in FIRST], **VOTES},
    "conversations": {
        "conversation_a": [talk(text) for text in FIRST],
        "conversation_b": [talk(text) for text in FIRST],
        "winner": ["model_a", "model_b", "tie"],
    },
    "conversations as JSON text": {"conversation_a": [json.dumps(talk(text)) for text in FIRST], **VOTES},
    "conversations of parts": {"conversation_a": [talk(parts(text)) for text in FIRST], **VOTES},
    "a system turn first": {
        "conversation_a": [[{"role": "system", "content": "Be brief."}, *talk(text)] for text in FIRST],
        **VOTES,
    },
}


def write(folder: Path, columns: dict[str, Any]) -> str:
    """Write battles, and return the path."""
    path = folder / "battles.parquet"
    pq.write_table(pa.table({**MODELS, **columns}), path)
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_battles(tmp_path: Path, form: str) -> None:
    """All trainers read the user's first turn and the winner out of each form."""
    file = write(tmp_path, FORMS[form])
    for battles in (read_battles([file]), read_pairs([Source(file)], seed=0)):
        assert (FIRST, SUPPORT) == (battles.prompts, battles.support.tolist())
        assert ["gpt-4", "small", "gpt-4"] == [battles.models[n] for n in battles.model_a]
    rows = read_sources([Source(file)])
    assert (FIRST, [1.0, 1.0, 0.5]) == (rows.prompts, rows.strong.tolist())


def test_shares_of_votes_are_kept(tmp_path: Path) -> None:
    """Chances that share 1 give a support between 0 and 1, in which a tie counts half."""
    votes = {"winner_model_a": [0.5, 0.2, 0], "winner_model_b": [0.3, 0.8, 0], "winner_tie": [0.2, 0, 1.0]}
    assert [0.6, 0.2, 0.5] == pytest.approx(
        read_battles([write(tmp_path, {"prompt": FIRST, **votes})]).support
    )


@pytest.mark.parametrize(
    "prompt",
    [
        ["[1, 2, 3] is a list, and what is its sum?", *FIRST[1:]],
        ['["One prompt that is itself a list"]', *FIRST[1:]],
        ["[not JSON at all, although it begins so", *FIRST[1:]],
    ],
)
def test_a_prompt_that_looks_like_a_list_stays_as_it_is(tmp_path: Path, prompt: list[str]) -> None:
    """A column holds turns only if every prompt of it is a list."""
    assert prompt == read_battles([write(tmp_path, {"prompt": prompt, **VOTES})]).prompts


def test_rows_without_a_first_turn_are_left_out(tmp_path: Path) -> None:
    """A null turn, an empty list and a lone surrogate, which the Arena's files hold, stop nothing."""
    prompt = ["[null]", "[]", '["Half of an emoji: \\ud83d, and text"]']
    battles = read_battles([write(tmp_path, {"prompt": prompt, **VOTES})])
    assert (["Half of an emoji: ?, and text"], [0.5]) == (battles.prompts, battles.support.tolist())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prompt": FIRST, "winner": ["model_a", "nobody", "tie"]}, "'winner', row 1: is none of model_a"),
        (
            {"prompt": FIRST, **VOTES, "winner_tie": [0, 1, 1]},
            "'winner_model_a', row 1: winner_model_a, winner_model_b, winner_tie don't share 1 .* add up to 2",
        ),
        (
            {"prompt": FIRST, "winner_model_a": [1, 1, 0], "winner_model_b": [0, 1, 0]},
            "row 1: winner_model_a, winner_model_b don't share 1",
        ),
        ({"prompt": FIRST, **VOTES, "winner_tie": [0, 0, 0]}, "row 2: .* add up to 0"),
        ({"prompt": FIRST, **VOTES, "winner_model_a": [1, None, 0]}, "row 1: is null"),
        ({"prompt": FIRST}, "no column says who won; there may be preference, winner, or winner_model_a"),
        ({"winner": ["model_a", "model_b", "tie"]}, "column 'prompt': no such column"),
    ],
)
def test_battles_that_say_nothing_are_refused(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    """The error names the column and the row."""
    with pytest.raises(DataError, match=words):
        read_battles([write(tmp_path, columns)])


def test_other_tables_are_left_alone(tmp_path: Path) -> None:
    """Outcomes are no battles, whatever their prompts look like."""
    table = {"prompt": ['["a"]', '["b"]', '["c"]'], "strong_score": [1.0, 1, 1], "weak_score": [0.0, 0, 1]}
    found = read_training_table(write(tmp_path, table))
    assert table["prompt"] == found.column("prompt").to_pylist()
    assert np.all(np.array(read_sources([Source(write(tmp_path, table))]).prompts) == table["prompt"])
