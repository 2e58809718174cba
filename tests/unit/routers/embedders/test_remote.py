"""The remote embedder: what it sends, how it reads replies, what it retries, and what it books."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.embeddings import (
    PRICE,
    WIDTH,
    embedder_config,
    embeddings_reply,
    embeddings_stub,
    quick_retries,
)
from helpers.jobs import billing
from helpers.stub import simulated

from routellm_batch.budget.spend.embeddings import EmbeddingUse, worst_nano, worst_tokens
from routellm_batch.core.errors import BudgetError, BudgetStopError, ConfigError, EndpointStopError
from routellm_batch.core.types import Shard
from routellm_batch.endpoints.meter import Meter, metered
from routellm_batch.endpoints.simulator.embeddings import vector_of
from routellm_batch.endpoints.simulator.spec import SimulateSpec
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.embedders.remote import RemoteEmbedder, cut_text
from routellm_batch.stages.score.allowance import EmbeddingBudget

SECRET = "a prompt that nobody may read"
SPEC = SimulateSpec(price_input=str(PRICE), retry_after_ms=5)


def echo(body: dict[str, Any], _number: int) -> tuple[int, dict[str, str], Any]:
    """Give each text the vector (its length, 1, 0, …), in reverse order."""
    vectors = [[len(text), 1] + [0] * (WIDTH - 2) for text in body["input"]]
    return 200, {}, embeddings_reply(vectors, tokens=len(vectors), order=range(len(vectors) - 1, -1, -1))


def expected(texts: list[str]) -> np.ndarray:
    raw = np.array([[len(text), 1] + [0] * (WIDTH - 2) for text in texts], dtype=np.float64)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def test_texts_travel_in_batches_and_come_back_in_order() -> None:
    """Texts go out ``batch_texts`` at a time, equal ones once, and replies are put in order by their index."""
    texts = ["x" * (n % 30 + 1) for n in range(50)]
    with embeddings_stub(echo) as (url, seen):
        actual = RemoteEmbedder(embedder_config(url, batch_texts=8)).embed(texts)
    np.testing.assert_allclose(actual, expected(texts), atol=1e-6)
    sent = sorted(len(body["input"]) for body in seen)
    assert (sent, np.dtype(np.float32)) == ([6, 8, 8, 8], actual.dtype)
    assert {(body["model"], body["dimensions"]) for body in seen} == {("embedding-model", WIDTH)}


def test_a_request_is_bounded_in_bytes() -> None:
    """A request holds at most 250,000 bytes, however many texts it might take."""
    texts = [f"{n:03d}" + "y" * 7000 for n in range(80)]
    with embeddings_stub(echo) as (url, seen):
        RemoteEmbedder(embedder_config(url)).embed(texts)
    assert max(sum(map(len, body["input"])) for body in seen) <= 250_000
    assert sorted(text for body in seen for text in body["input"]) == texts


def test_what_no_endpoint_takes_is_not_sent() -> None:
    """Empty texts are zeros and are not sent; long ones are cut by bytes, and lone surrogates replaced."""
    texts = ["", " \n", "é" * 100, "a\ud800b"]
    with embeddings_stub(echo) as (url, seen):
        actual = RemoteEmbedder(embedder_config(url, max_tokens=21)).embed(texts)
    assert [["é" * 10, "a?b"]] == [body["input"] for body in seen]
    assert [0, 0, 1, 1] == np.linalg.norm(actual, axis=1).round(6).tolist()


def test_nothing_to_embed_sends_nothing() -> None:
    """No text, or only empty ones, costs no request."""
    with embeddings_stub(echo) as (url, seen):
        embedder = RemoteEmbedder(embedder_config(url))
        shapes = [embedder.embed([]).shape, embedder.embed([""]).shape]
    assert ([(0, WIDTH), (1, WIDTH)], []) == (shapes, seen)


def test_a_cut_keeps_whole_characters() -> None:
    """A cut in the middle of a character drops it."""
    assert ("aé", "a", "👋") == (cut_text("aéx", 3), cut_text("aéx", 2), cut_text("👋👋", 7))


def test_width_is_learned_by_one_paid_request() -> None:
    """Without ``dimensions`` one tiny request tells the width, and it is booked like any other."""
    with embeddings_stub(echo) as (url, seen), metered() as meter:
        embedder = RemoteEmbedder(embedder_config(url, dimensions=None))
    assert (WIDTH, [["x"]], 1) == (embedder.width, [body["input"] for body in seen], meter.use.requests)
    assert "dimensions" not in seen[0]


def test_fingerprint_names_model_and_width() -> None:
    """The fingerprint is that of model and dimensions, wherever they are served."""
    one, other = embedder_config("http://127.0.0.1:9/v1"), embedder_config("http://127.0.0.1:8/v1")
    wider = one.model_copy(update={"dimensions": 2 * WIDTH})
    prints = [RemoteEmbedder(config).fingerprint for config in (one, other, wider)]
    assert (True, False) == (prints[0] == prints[1], prints[0] == prints[2])


@pytest.mark.parametrize(
    ("status", "headers", "sends"),
    [
        (429, {"retry-after-ms": "30"}, 2),
        (500, {}, 2),
        (503, {"Retry-After": "0"}, 2),
        (408, {}, 2),
    ],
)
def test_passing_failures_are_tried_again(status: int, headers: dict[str, str], sends: int) -> None:
    """A 429, a 5xx or a timeout is tried again after the wait it asks for, and then counts once as answered."""

    def reply(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], Any]:
        return (status, headers, {"error": {"message": SECRET}}) if number == 0 else echo(body, number)

    begun = time.monotonic()
    with embeddings_stub(reply) as (url, seen), metered() as meter:
        RemoteEmbedder(embedder_config(url)).embed(["abc"])
    worst = worst_nano(20_000_000, [worst_tokens(3)])
    booked = (meter.use.requests, meter.use.attempts, meter.use.presumed_nano)
    assert (sends, (1, sends, worst if status >= 500 or status == 408 else 0)) == (len(seen), booked)
    assert status != 429 or time.monotonic() - begun >= 0.03


BROKEN: dict[str, Any] = {
    "html": b"<!doctype html>",
    "missing": embeddings_reply([]),
    "wrong index": {"data": [{"index": 3, "embedding": [1.0] * WIDTH}], "usage": {"prompt_tokens": 1}},
    "nan": b'{"data": [{"index": 0, "embedding": [NaN, 1]}], "usage": {"prompt_tokens": 1}}',
    "too large": b'{"data": [{"index": 0, "embedding": [1e300, 1]}], "usage": {"prompt_tokens": 1}}',
    "no vector": {"data": [{"index": 0, "embedding": []}], "usage": {"prompt_tokens": 1}},
    "no base64": {"data": [{"index": 0, "embedding": "!"}], "usage": {"prompt_tokens": 1}},
    "list": [1],
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=list(BROKEN))
def test_replies_that_are_no_embeddings_stop_the_run(content: Any) -> None:
    """A 200 without these embeddings, all of them finite, is tried ``attempts`` times, presumed paid, then exit 5."""
    with embeddings_stub(lambda _body, _number: (200, {}, content)) as (url, seen), metered() as meter:
        embedder = RemoteEmbedder(embedder_config(url, attempts=2))
        with pytest.raises(EndpointStopError, match="after 2 attempts: bad_reply") as caught:
            embedder.embed([SECRET])
    assert (2, 2, True, 0) == (
        len(seen),
        meter.use.attempts,
        meter.use.presumed_nano > 0,
        meter.use.spent_nano,
    )
    assert (5, False) == (caught.value.exit_code, SECRET in str(caught.value))


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "invalid_api_key", "auth .HTTP 401.; check router.embedder.api_key"),
        (429, "insufficient_quota", "quota .HTTP 429.; no credit"),
        (404, "model_not_found", "not_found .HTTP 404.; check router.embedder.model"),
        (400, "context_length_exceeded", "context_length .HTTP 400.; lower router.embedder.max_tokens"),
        (307, None, "redirect"),
    ],
)
def test_final_failures_are_not_tried_again(
    status: int, code: str | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad key, no credit, no such model or a refused request stops at once, and tells neither text nor key."""
    caplog.set_level(logging.DEBUG, logger="routellm_batch")
    error = {"error": {"message": SECRET, "code": code, "type": "x", "param": None}}
    headers = {"Location": "http://redirected.invalid/"} if status == 307 else {}
    with (
        embeddings_stub(lambda _body, _number: (status, headers, error)) as (url, seen),
        metered() as meter,
        pytest.raises(EndpointStopError, match=words) as caught,
    ):
        RemoteEmbedder(embedder_config(url)).embed([SECRET])
    assert (1, 0, 5) == (len(seen), meter.use.paid_nano, caught.value.exit_code)
    assert SECRET not in str(caught.value) + caplog.text
    assert f"It said {code or 'x'}." in str(caught.value)


def test_a_failure_begins_no_further_request() -> None:
    """Once a request has failed for good, those that are open end and no other is begun."""
    refused = (401, {}, {"error": {"message": "no", "code": None}})
    with embeddings_stub(lambda _body, _number: refused) as (url, seen), pytest.raises(EndpointStopError):
        RemoteEmbedder(embedder_config(url, batch_texts=1)).embed([f"t{n}" for n in range(100)])
    assert len(seen) <= 8


def test_another_width_is_refused() -> None:
    """A vector of another width than ``dimensions`` stops the run, naming both."""
    with (
        embeddings_stub(lambda _body, _number: (200, {}, embeddings_reply([[1.0] * 5]))) as (url, _),
        pytest.raises(EndpointStopError, match=f"of 5 numbers, not of {WIDTH}"),
    ):
        RemoteEmbedder(embedder_config(url)).embed(["a"])


def test_nothing_listening_is_told_after_the_attempts() -> None:
    """An address where nothing listens ends in exit 5, and nothing is booked as paid."""
    with quick_retries(), metered() as meter, pytest.raises(EndpointStopError, match="after 2 attempts"):
        RemoteEmbedder(embedder_config("http://127.0.0.1:9/v1", attempts=2)).embed(["a"])
    assert (2, 0) == (meter.use.attempts, meter.use.paid_nano)


def test_a_key_that_stands_for_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key reference without a key behind it is a config error that names the reference."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(
        ConfigError, match="router.embedder.api_key: environment variable NO_SUCH_KEY"
    ) as caught:
        get_embedder(embedder_config("http://127.0.0.1:9/v1", api_key="env:NO_SUCH_KEY", dimensions=None))
    assert 2 == caught.value.exit_code


def test_missing_usage_is_presumed_by_bytes() -> None:
    """Where a reply does not say its tokens, the upper bound by bytes is booked, as presumed."""

    def reply(body: dict[str, Any], number: int) -> tuple[int, dict[str, str], Any]:
        status, headers, content = echo(body, number)
        return status, headers, {"data": content["data"]}

    with embeddings_stub(reply) as (url, _), metered() as meter:
        RemoteEmbedder(embedder_config(url)).embed(["abcdef"])
    tokens = worst_tokens(6)
    assert meter.use == EmbeddingUse("embedding-model", 1, 1, tokens, 0, worst_nano(20_000_000, [tokens]))


def test_the_simulated_endpoint_bills_what_is_booked(tmp_path: Path) -> None:
    """Vectors of the simulated endpoint are a function of model and text; its bills are what the meter says."""
    texts = [f"Prompt {n} " + "word " * n for n in range(40)]
    spec = replace(SPEC, log=str(tmp_path / "log"), script={"*": ("rate_limit",)})
    with simulated(spec) as url, quick_retries(), metered() as meter:
        actual = RemoteEmbedder(embedder_config(url, batch_texts=9)).embed(texts)
    lines = billing(tmp_path / "log")
    np.testing.assert_allclose(actual[7], vector_of("embedding-model", texts[7], WIDTH), atol=1e-6)
    assert (len(lines), 5) == (meter.use.attempts, meter.use.requests)
    assert (sum(line["nano"] for line in lines), 0) == (meter.use.spent_nano, meter.use.presumed_nano)
    assert sum(line["input_tokens"] for line in lines) == meter.use.tokens > 0


def test_packed_and_plain_numbers_are_the_same_vectors() -> None:
    """What a server sends as numbers and as base64 is read alike."""
    actual = []

    def reply(body: dict[str, Any], _number: int) -> tuple[int, dict[str, str], Any]:
        vector = vector_of("m", "t", WIDTH)
        return 200, {}, embeddings_reply([vector.tolist()] * len(body["input"]))

    with embeddings_stub(reply) as (url, _):
        actual.append(RemoteEmbedder(embedder_config(url, model="m")).embed(["t"]))
    with simulated(SPEC) as url:
        actual.append(RemoteEmbedder(embedder_config(url, model="m")).embed(["t"]))
    np.testing.assert_allclose(actual[0], actual[1], atol=1e-7)


def test_threads_book_on_their_own_meters() -> None:
    """Two threads that share an embedder each see what their own texts took."""
    used: dict[int, EmbeddingUse] = {}
    with embeddings_stub(echo) as (url, _):
        embedder = RemoteEmbedder(embedder_config(url, batch_texts=1))

        def work(count: int) -> None:
            with metered() as meter:
                embedder.embed([f"{count} {n}" for n in range(count)])
            used[count] = meter.use

        threads = [threading.Thread(target=work, args=(count,)) for count in (3, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert {3: (3, 3), 20: (20, 20)} == {n: (use.requests, use.tokens) for n, use in used.items()}


def test_an_allowance_is_never_passed() -> None:
    """A request whose worst cost is above what the allowance leaves is not sent."""
    worst = worst_nano(20_000_000, [worst_tokens(3)])
    with embeddings_stub(echo) as (url, seen):
        embedder = RemoteEmbedder(embedder_config(url))
        with metered(worst - 1), pytest.raises(BudgetStopError) as caught:
            embedder.embed(["abc"])
        with metered(worst):
            embedder.embed(["abc"])
    assert (4, 1) == (caught.value.exit_code, len(seen))


def test_a_meter_holds_reservations() -> None:
    """What is set aside counts until it is booked."""
    meter = Meter(10)
    meter.reserve(6)
    with pytest.raises(BudgetStopError):
        meter.reserve(5)
    meter.book(6, EmbeddingUse("m", 1, 1, 3, 2))
    meter.reserve(8)
    assert 2 == meter.use.paid_nano


def test_what_may_be_spent_is_declared_before_it_is() -> None:
    """At every moment what is declared covers what is paid and set aside; it takes few steps, and no allowance is passed."""
    declared: list[int] = []
    meter = Meter(1_000, declared.append)
    for paid in range(100):
        meter.reserve(10)
        assert sum(declared) >= 10 * (paid + 1)
        meter.book(10, EmbeddingUse("m", 1, 1, 1, 10))
    assert (1_000, True) == (sum(declared), len(declared) < 10)
    with pytest.raises(BudgetStopError):
        meter.reserve(1)


def shard(index: int) -> Shard:
    return Shard(index, 0, 0, 1)


def test_worst_cases_above_the_cap_are_refused_with_both_sums() -> None:
    """Before anything is sent, the worst case of all shards and what the cap leaves are compared."""
    with pytest.raises(BudgetError, match=r"up to 0\.000000030 USD.*leaves 0\.000000020 USD"):
        EmbeddingBudget(25, {7: 5}, {0: 10, 1: 20})


def test_allowances_add_up_to_the_cap_at_most() -> None:
    """Whatever is granted, paid and still waiting is within the cap."""
    budget = EmbeddingBudget(100, {1: 13, 7: 7}, {0: 10, 1: 20})
    (first, none), (second, known) = budget.grant([shard(0)]), budget.grant([shard(1)])
    assert (True, True, True) == (first >= 10, second >= 20, 20 + first + second <= 100)
    assert (0, 13) == (none, known)
    budget.settle([shard(0)], first)
    with pytest.raises(KeyError):
        budget.settle([shard(0)], 0)


def test_uses_add_and_survive_json() -> None:
    """Uses add field by field, with the names of different models joined."""
    total = EmbeddingUse("a", 1, 2, 3, 4, 5) + EmbeddingUse("b", 1, 1, 1, 1, 1) + EmbeddingUse("a")
    assert EmbeddingUse("a, b", 2, 3, 4, 5, 6) == EmbeddingUse(**json.loads(json.dumps(total.to_dict())))
