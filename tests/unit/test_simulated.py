"""The simulated model without sockets: what it answers, how long, how often right, which faults it meets."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest

from routellm_batch.core.types import Usage
from routellm_batch.endpoints.simulator.chat import (
    BadRequestError,
    ChatRequest,
    Decision,
    completion_json,
    parse_chat,
    text_tokens,
)
from routellm_batch.endpoints.simulator.faults import to_wire
from routellm_batch.endpoints.simulator.limits import Arrivals, RequestLimit
from routellm_batch.endpoints.simulator.model import Reference, SimulatedModel, chance_right
from routellm_batch.endpoints.simulator.spec import FAULT_NAMES, Faults, ReferenceSpec, SimulateSpec
from routellm_batch.endpoints.simulator.tables import load_references
from routellm_batch.endpoints.simulator.text import answer_text, filler, wrong_answer


def _ask(prompt: str, max_tokens: int | None = None, model: str = "small") -> ChatRequest:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    if max_tokens is not None:
        body["max_completion_tokens"] = max_tokens
    return parse_chat(json.dumps(body).encode())


def test_answers_do_not_depend_on_order() -> None:
    """The same requests in another order, on a fresh model, get the same decisions, faults included."""
    spec = SimulateSpec(seed=3, faults=Faults(rate_limit=0.2, server_error=0.2, hang=0.1, truncated=0.1))
    calls = [(f"key-{n}", attempt) for n in range(60) for attempt in range(3)]
    shuffled = Random(0).sample(calls, len(calls))
    decided = []
    for order in (calls, shuffled):
        model = SimulatedModel(spec)
        decided.append({call: model.decide(_ask(f"Say {call[0]}"), call[0], 0, call[1]) for call in order})
    assert decided[0] == decided[1]
    assert {d.fault for d in decided[0].values()} == {"", "rate_limit", "server_error", "hang", "truncated"}


def test_seed_and_model_change_the_answers() -> None:
    """Another seed, or another model's name, gives other lengths to the same prompts."""
    prompts = [f"Prompt {n}" for n in range(20)]
    lengths = [
        [SimulatedModel(SimulateSpec(seed=seed)).decide(_ask(p, model=name), p, 0, 0).usage for p in prompts]
        for seed, name in ((0, "a"), (1, "a"), (0, "b"))
    ]
    assert lengths[0] != lengths[1]
    assert lengths[0] != lengths[2]


def test_faults_come_as_often_as_asked() -> None:
    """Over 10,000 first attempts each fault's share is within one percentage point of its chance."""
    model = SimulatedModel(SimulateSpec(faults=Faults(rate_limit=0.1, html=0.05)))
    request = _ask("x")
    found = Counter(model.decide(request, str(n), n, 0).fault for n in range(10_000))
    assert found["rate_limit"] / 10_000 == pytest.approx(0.1, abs=0.01)
    assert found["html"] / 10_000 == pytest.approx(0.05, abs=0.01)


def test_mean_length_is_the_one_asked_for() -> None:
    """Filler answers have the configured mean length, to within a few percent, and spread around it."""
    model = SimulatedModel(SimulateSpec(output_tokens=120))
    lengths = [model.decide(_ask(f"Prompt {n}"), str(n), n, 0).usage.output_tokens for n in range(4000)]
    assert sum(lengths) / len(lengths) == pytest.approx(120, rel=0.04)
    assert (min(lengths) < 60, max(lengths) > 240) == (True, True)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 5, 16, 64, 300])
@pytest.mark.parametrize("reasoning", [0.0, 0.7])
def test_answers_never_exceed_the_maximum(max_tokens: int, reasoning: float) -> None:
    """No answer, with or without a reference, has more tokens than allowed, reasoning included."""
    references = {f"Known {n}": Reference("x" * n, 0.5) for n in range(1, 60)}
    model = SimulatedModel(SimulateSpec(output_tokens=200, reasoning_share=reasoning), references)
    for prompt in [*references, *(f"Unknown {n}" for n in range(60))]:
        decision = model.decide(_ask(prompt, max_tokens), prompt, 0, 0)
        assert decision.usage.output_tokens <= max_tokens
        visible = decision.usage.output_tokens - decision.usage.reasoning_tokens
        assert visible == text_tokens(decision.answer)


def test_cut_answers_finish_by_length() -> None:
    """A filler answer that the maximum cuts says ``length``, one that fits says ``stop``."""
    model = SimulatedModel(SimulateSpec(output_tokens=200))
    finish = {limit: model.decide(_ask("A prompt", limit), "k", 0, 0).finish_reason for limit in (5, 4000)}
    assert finish == {5: "length", 4000: "stop"}


def test_right_answer_is_the_last_line() -> None:
    """A model that is surely right ends with ``Answer: …``, after text without a digit."""
    model = SimulatedModel(SimulateSpec(skill=1.0), {"How many?": Reference("1234", 0.0)})
    answer = model.decide(_ask("How many?", 200), "k", 0, 0).answer
    body, _, last = answer.rpartition("\n")
    assert last == "Answer: 1234"
    assert body
    assert not any(letter.isdigit() for letter in body)


def test_replies_close_answers_as_often_as_asked() -> None:
    """A simulated judge ends with one of its verdicts, alone in the last line, in proportion to the weights."""
    model = SimulatedModel(SimulateSpec(replies={"[[A]]": 3, "[[B]]": 1, "never": 0}))
    told = [model.decide(_ask(f"Prompt {n}", 200), str(n), n, 0).answer for n in range(4000)]
    found = Counter(answer.splitlines()[-1] for answer in told)
    assert {"[[A]]", "[[B]]"} == set(found)
    assert found["[[A]]"] / 4000 == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [(1, ("1234", True)), (2, ("123456", True)), (3, ("123456", True)), (4, ("Answer: 123456", True))],
)
def test_small_maximum_keeps_the_answer(max_tokens: int, expected: tuple[str, bool]) -> None:
    """Where the maximum is tiny the filler goes first, then the mark; the answer stays while it fits."""
    answer = "1234" if max_tokens == 1 else "123456"
    assert answer_text(answer, 50, max_tokens, 0) == expected


def test_answer_longer_than_the_maximum_is_cut() -> None:
    """An answer that does not fit at all is cut and reported as not whole."""
    assert answer_text("123456789", 50, 2, 0) == ("12345678", False)


def test_strong_model_is_right_more_often() -> None:
    """On the bundled references skill 0.9 beats skill 0.5 clearly, and both do worse on harder prompts."""
    references = load_references(ReferenceSpec())
    easy = [p for p, r in references.items() if r.difficulty < 0.4]
    hard = [p for p, r in references.items() if r.difficulty >= 0.6]
    rates = {}
    for name, skill in (("strong", 0.9), ("weak", 0.5)):
        model = SimulatedModel(SimulateSpec(skill=skill), references)
        for level, prompts in (("easy", easy), ("hard", hard)):
            right = [model.is_right(name, prompt) for prompt in prompts]
            rates[name, level] = right.count(True) / len(right)
    assert rates["strong", "easy"] > rates["strong", "hard"] > rates["weak", "hard"] + 0.2
    assert rates["strong", "easy"] > rates["weak", "easy"] > rates["weak", "hard"] + 0.2


def test_wrong_answers_are_given_where_the_model_is_wrong() -> None:
    """The reply holds the reference exactly where ``is_right`` says so."""
    references = load_references(ReferenceSpec())
    model = SimulatedModel(SimulateSpec(skill=0.5), references)
    for prompt, reference in references.items():
        last = model.decide(_ask(prompt), prompt, 0, 0).answer.rpartition("\n")[2]
        assert (last == f"Answer: {reference.answer}") == model.is_right("small", prompt)


def test_chance_follows_skill_and_difficulty() -> None:
    """The chance of a right answer rises with skill and falls with difficulty."""
    grid = [[chance_right(skill, level) for level in (0.1, 0.5, 0.9)] for skill in (0.2, 0.5, 0.9)]
    assert all(row == sorted(row, reverse=True) for row in grid)
    assert all(list(column) == sorted(column) for column in zip(*grid, strict=True))
    assert (grid[2][0] > 0.99, grid[1][2] < 0.25) == (True, True)


@pytest.mark.parametrize("draw", range(8))
def test_wrong_numbers_are_near_and_formatted_alike(draw: int) -> None:
    """A wrong number differs, keeps thousands separators and decimals, and does not change sign."""
    assert wrong_answer("7", [], "", draw) != "7"
    assert int(wrong_answer("0", [], "", draw)) > 0
    assert "," in wrong_answer("12,345", [], "", draw)
    assert wrong_answer("2.50", [], "", draw).endswith(".50")


def test_wrong_label_is_one_that_the_prompt_names() -> None:
    """Among the other answers those that the prompt names are taken."""
    others = ["spam", "ham", "lundi"]
    assert {wrong_answer("spam", others, "Is it spam or ham?", draw) for draw in range(9)} == {"ham"}
    assert wrong_answer("spam", ["spam"], "Is it spam?", 0) == "I am not sure"


@pytest.mark.parametrize("chars", [1, 4, 9, 80, 5000, 200_000])
def test_filler_fits(chars: int) -> None:
    """Filler is never longer than asked for, nearly as long, and holds no digit."""
    for draw in range(12):
        text = filler(chars, draw)
        assert max(1, chars - 16) <= len(text) <= chars
        assert not any(letter.isdigit() for letter in text)


def test_input_tokens_follow_the_rule() -> None:
    """Input tokens are a quarter of the characters, rounded up, plus 4 for each message, plus 3."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": " you"}]},
        {"role": "assistant", "content": "Hello!"},
    ]
    request = parse_chat(json.dumps({"model": "m", "messages": messages, "max_tokens": 9}).encode())
    assert request == ChatRequest("m", "Hi you", 6 + 4 * 3 + 3, 9)


def test_smaller_of_two_maxima_holds() -> None:
    """With both ``max_tokens`` and ``max_completion_tokens`` the smaller one limits the answer."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    both = {**body, "max_tokens": 7, "max_completion_tokens": 5}
    assert [parse_chat(json.dumps(b).encode()).max_tokens for b in (both, body)] == [5, None]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"model": "m"}',
        b'{"model": "m", "messages": []}',
        b'{"model": "m", "messages": ["x"]}',
        b'{"model": "m", "messages": [{"role": "user", "content": 3}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": true}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 2}',
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}',
        b'{"messages": [{"role": "user", "content": "x"}]}',
    ],
)
def test_requests_that_no_model_could_answer_are_refused(body: bytes) -> None:
    """A body that is no chat request raises, so that the server replies 400."""
    with pytest.raises(BadRequestError):
        parse_chat(body)


def test_completion_is_valid_json_whatever_the_text() -> None:
    """Quotes, control characters, lone surrogates and forged keys in an answer stay inside its text."""
    text = 'a "b"\n\x00 ,"usage":{} \ud800 ß'
    for fault in ("", "no_usage", "no_choices"):
        wire = to_wire(_ask("x"), Decision(fault, text, usage=Usage(5, 1, 4, 2)), created=7, retry_after_s=0)
        reply = json.loads(wire.body)
        assert ("usage" in reply, len(reply["choices"])) == (fault != "no_usage", int(fault != "no_choices"))
    reply = json.loads(completion_json('m"', Decision("", text, usage=Usage(5, 1, 4, 2)), 7))
    assert (reply["choices"][0]["message"]["content"], reply["model"]) == (text, 'm"')
    assert reply["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 4,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }


def test_script_comes_before_chance() -> None:
    """A script by key, by index or for all requests decides the first attempts; then chance takes over."""
    script = {"abc": ("server_error", "ok"), "1": ({"answer": "ham"},), "*": ("empty",)}
    model = SimulatedModel(SimulateSpec(script=script, faults=Faults(html=1.0)))
    steps = [("abc", 0, 0), ("abc", 0, 1), ("abc", 0, 2), ("def", 1, 0), ("ghi", 2, 0)]
    decided = [model.decide(_ask("x"), key, index, attempt) for key, index, attempt in steps]
    assert [d.fault for d in decided] == ["server_error", "", "html", "", "empty"]
    assert (decided[3].answer, decided[4].answer, decided[4].usage.output_tokens) == ("ham", "", 0)


def test_scripted_answer_keeps_to_the_maximum() -> None:
    """A scripted answer is cut to the request's maximum like any other."""
    model = SimulatedModel(SimulateSpec(script={"*": ({"answer": "x" * 50},)}))
    decision = model.decide(_ask("x", 5), "k", 0, 0)
    assert (decision.answer, decision.finish_reason, decision.usage.output_tokens) == ("x" * 20, "length", 5)


def test_overrun_lies_about_the_maximum() -> None:
    """The fault ``overrun`` reports more output tokens than the request allowed."""
    model = SimulatedModel(SimulateSpec(faults=Faults(overrun=1.0)))
    decision = model.decide(_ask("x", 20), "k", 0, 0)
    assert decision.usage.output_tokens > 20
    assert text_tokens(decision.answer) == decision.usage.output_tokens


def test_cached_and_reasoning_shares_reach_usage() -> None:
    """Configured shares of cached input and of reasoning appear in usage."""
    model = SimulatedModel(SimulateSpec(cached_share=0.5, reasoning_share=0.5))
    usage = model.decide(_ask("x" * 400), "k", 0, 0).usage
    assert usage.cached_input_tokens == usage.input_tokens // 2
    assert usage.reasoning_tokens == (usage.output_tokens - usage.reasoning_tokens) // 2


def test_every_fault_has_a_form_on_the_wire() -> None:
    """No fault's name is without effect: each gives a reply unlike a plain answer's."""
    request = _ask("x", 50)
    plain = SimulatedModel(SimulateSpec()).decide(request, "k", 0, 0)
    ok = to_wire(request, plain, created=0, retry_after_s=0.1)
    for name in FAULT_NAMES:
        model = SimulatedModel(SimulateSpec(faults=Faults(**{name: 1.0})))
        wire = to_wire(request, model.decide(request, "k", 0, 0), created=0, retry_after_s=0.1)
        assert (wire.status, wire.body, wire.delivery) != (ok.status, ok.body, ok.delivery), name


def test_limit_lets_a_burst_through_then_one_each_interval() -> None:
    """A bucket of 120 a minute and 3 at once gives 3, then one each half second; it says how long to wait."""
    limit = RequestLimit(120, 3, now_s=0.0)
    waits = [limit.take(now_s) for now_s in (0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 0.5)]
    assert waits == pytest.approx([0, 0, 0, 0.5, 0.25, 0, 0.5])


def test_arrivals_number_requests_and_attempts() -> None:
    """Each new key gets the next index, and each further arrival of it the next attempt."""
    arrivals = Arrivals()
    assert [arrivals.note(key) for key in "abab"] == [(0, 0), (1, 0), (0, 1), (1, 1)]
