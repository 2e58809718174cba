"""From rows to requests: what is sent, and what it is called."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.jobs import job_tree

from routellm_batch.config.endpoints import EndpointConfig
from routellm_batch.config.job import check_config
from routellm_batch.stages.call.requests import build_request, follow_up

CHAT = [{"role": "user", "content": "Grüße 👋"}]


def endpoint(tmp_path: Path, **params: object) -> EndpointConfig:
    tree = job_tree(tmp_path)
    tree["endpoints"]["strong"]["params"] = params
    return check_config(tree, source="job.yaml").endpoints.strong


def test_a_body_keeps_the_order_of_its_fields(tmp_path: Path) -> None:
    """A model answers in the order of an answer format's properties, so nothing is sorted."""
    schema = {"zebra": 1, "apple": {"z": 1, "a": 2}}
    end = endpoint(tmp_path, max_completion_tokens=8, response_format=schema)
    expected = {"model": end.model, "messages": CHAT, "max_completion_tokens": 8, "response_format": schema}
    assert (
        json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()
        == build_request(end, CHAT, 7).content
    )


def test_a_key_names_the_whole_body(tmp_path: Path) -> None:
    """The same body has the same key; another parameter has another."""
    ends = [endpoint(tmp_path, max_completion_tokens=number) for number in (8, 8, 9)]
    first, same, other = (build_request(end, CHAT, 7).key for end in ends)
    assert (True, False) == (first == same, first == other)


def test_a_follow_up_shows_the_answer_and_asks_again(tmp_path: Path) -> None:
    """The chat goes on with the unusable answer and the question, under a key of its own."""
    end = endpoint(tmp_path, max_completion_tokens=8)
    first = build_request(end, CHAT, 7)
    second = follow_up(end, first, "Hm ✓", "Which one?")
    turns = [{"role": "assistant", "content": "Hm ✓"}, {"role": "user", "content": "Which one?"}]
    assert [*CHAT, *turns] == json.loads(second.content)["messages"]
    assert first.key != second.key
