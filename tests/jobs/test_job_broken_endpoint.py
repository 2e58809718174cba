"""When an endpoint is broken, and when it is one row: refusals, endpoints that fail all rows, what may be changed then."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Finished, job_config, prompts, run_job, write_prompts
from helpers.stub import Answer, Call, Script, Stub, answering, interrupting, stub_server

from routellm_batch.core.errors import EndpointStopError, RunMismatchError
from routellm_batch.storage.run import open_existing

ROWS, STRONG_ROWS = 24, 2
WEAK_ONLY: dict[str, Any] = {"budget__strong_share": Decimal(0)}
SOME_STRONG: dict[str, Any] = {"budget__strong_share": Decimal("0.1")}
FIXED = {"max_completion_tokens": 32, "reasoning_effort": "low"}


def error(status: int, code: str | None = None) -> Answer:
    """Return a provider's error."""
    body = {"error": {"message": "no", "type": "no", "param": None, "code": code}}
    return Answer(status=status, body=json.dumps(body).encode())


def flagging(rows: range | set[int], refusal: Answer) -> Script:
    """Return a script that refuses some prompts and answers the others."""
    return lambda call: refusal if int(call.prompt.split()[1][:-1]) in rows else Answer()


def strong_fails(answer: Answer) -> Script:
    """Return a script of a strong model that does not know the params that it is sent, and of a weak one that answers."""

    def reply(call: Call) -> Answer:
        broken = call.body["model"] == "strong-model" and "reasoning_effort" not in call.body
        return answer if broken else Answer()

    return reply


def play(folder: Path, stub: Stub, *, retry_failed: bool = False, **settings: Any) -> Finished:
    """Run the job, or resume it."""
    if not (folder / "in.parquet").exists():
        write_prompts(folder / "in.parquet", prompts(ROWS))
    given = {"strong": stub.base_url, "weak": stub.base_url, "retry": {"attempts": 1, "budget": 1}}
    return run_job(job_config(folder, **given | settings), retry_failed=retry_failed)


def asked(stub: Stub, since: int = 0) -> Counter[str]:
    """Return model → requests."""
    return Counter(call.body["model"] for call in stub.calls[since:])


# One row


@pytest.mark.parametrize(
    ("refusal", "row", "at_once"),
    [
        (error(403), 0, 1),
        (error(403), 0, 8),
        (error(403), 12, 8),
        (error(403), ROWS - 1, 1),
        (error(403, "content_flagged"), 3, 8),
        (error(404), 0, 8),
        (error(404, "model_not_found"), ROWS - 1, 8),
        (error(451), 0, 8),
    ],
)
def test_a_refusal_of_one_row_fails_that_row(tmp_path: Path, refusal: Answer, row: int, at_once: int) -> None:
    """Whichever row it is, the others are answered, and the run ends with 3 though it is run or retried again."""
    limits = {"endpoints__weak__limits": {"concurrency": at_once}}
    with stub_server(flagging({row}, refusal)) as stub:
        first = play(tmp_path, stub, **WEAK_ONLY, **limits)
        sent = len(stub.calls)
        again = play(tmp_path, stub, **WEAK_ONLY, **limits)
        called = len(stub.calls)
        retried = play(tmp_path, stub, retry_failed=True, **WEAK_ONLY, **limits)
    assert (3, 3, 3) == (first.exit_code, again.exit_code, retried.exit_code)
    assert (ROWS, ROWS, ROWS + 1) == (sent, called, len(stub.calls))
    assert {f"r{row:04d}": "bad_request"} == {
        one["id"]: one["error_kind"] for one in retried.rows if one["status"] == "failed"
    }


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
@pytest.mark.parametrize("status", [400, 403])
def test_a_filter_that_names_itself_is_known_at_once(tmp_path: Path, status: int, code: str) -> None:
    """A refusal whose code says that the content was filtered is the row's, with the kind of a filtered row."""
    with stub_server(flagging({0}, error(status, code))) as stub:
        result = play(tmp_path, stub, **WEAK_ONLY)
    assert (3, "content_filter") == (result.exit_code, result.by_id["r0000"]["error_kind"])


def test_rows_that_one_endpoint_refuses_are_judged_by_its_own_answers(tmp_path: Path) -> None:
    """The weak model's answers say nothing of a strong one that refuses each of its rows."""
    with stub_server(strong_fails(error(403))) as stub:
        result = play(tmp_path, stub, **SOME_STRONG)
    assert (5, {"auth": STRONG_ROWS}) == (result.exit_code, result.cost["errors"])
    assert f"the strong endpoint failed all its {STRONG_ROWS} rows" in result.cost["stop_reason"]


def test_many_refusals_before_the_first_answer_end_once_others_are_asked(tmp_path: Path) -> None:
    """Where the first rows of a file are all flagged, a start stops; the next one asks the others first, and ends."""
    slow = {"endpoints__weak__limits": {"concurrency": 1}, "input__shard_rows": 64}
    for name in ("few", "many"):
        write_prompts(tmp_path / name / "in.parquet", prompts(40))
    with stub_server(flagging(range(19), error(403))) as stub:
        few = play(tmp_path / "few", stub, **WEAK_ONLY, **slow, retry={"max_error_rate": 1})
        stub.script = flagging(range(25), error(403))
        first = play(tmp_path / "many", stub, **WEAK_ONLY, **slow)
        second = play(tmp_path / "many", stub, **WEAK_ONLY, **slow)
    assert (3, 5, 3) == (few.exit_code, first.exit_code, second.exit_code)
    assert ({"ok": 15, "failed": 25}, 0) == (
        Counter(row["status"] for row in second.rows),
        first.cost["rows"]["failed"],
    )


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_refusal_in_a_shard_of_its_own_is_the_rows_too(tmp_path: Path, at_once: int) -> None:
    """Where shards have one row each, the first of which is refused, the others' answers decide afterwards."""
    settings = {**WEAK_ONLY, "input__shard_rows": 1, "endpoints__weak__limits": {"concurrency": at_once}}
    write_prompts(tmp_path / "in.parquet", prompts(6))
    with stub_server(flagging({0, 4}, error(403))) as stub:
        result = play(tmp_path, stub, **settings)
        sent = len(stub.calls)
        play(tmp_path, stub, **settings)
    assert (3, {"bad_request": 2}) == (result.exit_code, result.cost["errors"])
    assert (True, sent) == (sent <= 8, len(stub.calls))


def test_what_an_earlier_start_saw_answered_counts(tmp_path: Path) -> None:
    """The last row of a run that was stopped is refused in a start that asks nothing else: it is that row's own."""
    settings = {**WEAK_ONLY, "endpoints__weak__limits": {"concurrency": 1}}
    write_prompts(tmp_path / "in.parquet", prompts(8))
    script = flagging({7}, error(403))
    with stub_server(interrupting(lambda call: replace(script(call), delay_s=0.05), 4)) as stub:
        first = play(tmp_path, stub, **settings)
        stub.script = script
        second = play(tmp_path, stub, **settings)
    assert (75, 3, {"bad_request": 1}) == (first.exit_code, second.exit_code, second.cost["errors"])


# All rows


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (error(403), "an endpoint refused the key"),
        (error(404), "an endpoint knows no such URL or model"),
        (error(404, "model_not_found"), "an endpoint knows no such URL or model"),
    ],
)
@pytest.mark.parametrize("rows", [2, 300])
def test_an_endpoint_that_refuses_all_rows_stops_the_run(
    tmp_path: Path, rows: int, refusal: Answer, words: str
) -> None:
    """Twenty refusals and no answer, or fewer in a smaller run, end with 5, and the next start asks all rows."""
    write_prompts(tmp_path / "in.parquet", prompts(rows))
    limits = {"endpoints__weak__limits": {"concurrency": 2}}
    with stub_server(lambda _: refusal) as stub:
        stopped = play(tmp_path, stub, **WEAK_ONLY, **limits)
        sent = len(stub.calls)
        stub.script = answering()
        done = play(tmp_path, stub, **WEAK_ONLY, **limits)
    assert (5, 0, rows) == (stopped.exit_code, done.exit_code, done.cost["rows"]["ok"])
    assert (True, True) == (words in stopped.cost["stop_reason"], sent <= 24)


def test_a_key_that_is_withdrawn_on_the_way_fails_no_row(tmp_path: Path) -> None:
    """An endpoint that answers and then refuses every row stops the run; what it refused is asked again by the next."""
    write_prompts(tmp_path / "in.parquet", prompts(300))
    settings = {**WEAK_ONLY, "endpoints__weak__limits": {"concurrency": 4}, "input__shard_rows": 300}
    with stub_server(lambda call: Answer() if call.number < 100 else error(403)) as stub:
        stopped = play(tmp_path, stub, **settings)
        sent = len(stub.calls)
        stub.script = answering()
        done = play(tmp_path, stub, **settings)
    assert (5, 0, 100) == (stopped.exit_code, stopped.cost["rows"]["failed"], stopped.cost["rows"]["ok"])
    assert (True, 0, 300) == (sent <= 160, done.exit_code, done.cost["rows"]["ok"])


@pytest.mark.parametrize(
    "refusal",
    [
        error(401),
        error(402),
        error(403, "insufficient_quota"),
        error(403, "invalid_api_key"),
        Answer(status=307, headers={"Location": "http://127.0.0.1:1/v1"}),
    ],
    ids=["401", "402", "quota", "key", "redirect"],
)
def test_what_speaks_of_the_account_stops_at_once(tmp_path: Path, refusal: Answer) -> None:
    """A key that is not known, no credit and a redirect are about every row, though others were answered before."""
    settings = {**WEAK_ONLY, "endpoints__weak__limits": {"concurrency": 2}}
    with stub_server(lambda call: Answer() if call.number < 10 else refusal) as stub:
        stopped = play(tmp_path, stub, **settings)
        sent = len(stub.calls)
        stub.script = answering()
        done = play(tmp_path, stub, **settings)
    assert (5, 0, True, 0) == (
        stopped.exit_code,
        stopped.cost["rows"]["failed"],
        sent <= 13,
        done.exit_code,
    )


ALL_FAIL = {
    "400": error(400, "unsupported_parameter"),
    "404": error(404),
    "405": error(405),
    "422": error(422),
    "500": error(500),
    "context": error(400, "context_length_exceeded"),
    "filter": error(400, "content_filter"),
    "empty": Answer(""),
    "html": Answer(body=b"<p>Welcome", content_type="text/html"),
}


@pytest.mark.parametrize("kind", ALL_FAIL)
def test_an_endpoint_that_fails_all_its_rows_ends_with_5(tmp_path: Path, kind: str) -> None:
    """However small its share: the run is not finished, and the same command with other params asks those rows alone."""
    with stub_server(strong_fails(ALL_FAIL[kind])) as stub:
        broken = play(tmp_path, stub, **SOME_STRONG)
        again = play(tmp_path, stub, **SOME_STRONG)
        sent = len(stub.calls)
        done = play(tmp_path, stub, **SOME_STRONG, endpoints__strong__params=FIXED)
        called = len(stub.calls)
        last = play(tmp_path, stub, **SOME_STRONG, endpoints__strong__params=FIXED)
    assert (5, 5, 0, 0) == (broken.exit_code, again.exit_code, done.exit_code, last.exit_code)
    assert (ROWS - STRONG_ROWS, STRONG_ROWS) == (broken.cost["rows"]["ok"], broken.cost["rows"]["failed"])
    assert f"the strong endpoint failed all its {STRONG_ROWS} rows" in broken.cost["stop_reason"]
    assert "its base_url, model and params may still be changed" in " ".join(broken.lines)
    assert ({"strong-model": STRONG_ROWS}, called) == (asked(stub, sent), len(stub.calls))
    assert ("ok", True) == (done.by_id["r0023"]["status"], "_SUCCESS" in done.objects())


def test_permanent_failures_of_a_broken_endpoint_are_not_paid_for_again(tmp_path: Path) -> None:
    """Run again unchanged, a run whose strong model only ever said nothing sends nothing, and says what to do."""
    with stub_server(strong_fails(Answer(""))) as stub:
        play(tmp_path, stub, **SOME_STRONG)
        sent = len(stub.calls)
        again = play(tmp_path, stub, **SOME_STRONG)
        assert (5, sent) == (again.exit_code, len(stub.calls))
        stub.script = answering()
        done = play(tmp_path, stub, retry_failed=True, **SOME_STRONG)
    assert (0, {"strong-model": STRONG_ROWS}) == (done.exit_code, asked(stub, sent))


def test_a_run_that_no_rate_of_failures_stops_is_finished(tmp_path: Path) -> None:
    """With ``max_error_rate: 1`` an endpoint may fail all its rows, and the run ends with 3; other params ask them again."""
    settings = {**SOME_STRONG, "retry": {"attempts": 1, "max_error_rate": 1}}
    with stub_server(strong_fails(error(400))) as stub:
        first = play(tmp_path, stub, **settings)
        done = play(tmp_path, stub, **settings, endpoints__strong__params=FIXED)
    assert (3, 0) == (first.exit_code, done.exit_code)


# What may be changed


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints__strong__model": "strong-2"},
        {"endpoints__strong__params": {"max_tokens": 32}},
        {"endpoints__strong__params": FIXED, "endpoints__strong__model": "strong-2"},
        {"endpoints__strong__base_url": "OTHER"},
    ],
    ids=["model", "params", "both", "base_url"],
)
def test_an_endpoint_that_has_answered_nothing_may_be_another(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Model, params and URL may change, the weak answers stay, and what was answered by the new one is kept from then on."""
    with stub_server(strong_fails(error(400))) as stub, stub_server() as other:
        broken = play(tmp_path, stub, **SOME_STRONG)
        stub.script, sent = answering(), len(stub.calls)
        new = {key: other.base_url if value == "OTHER" else value for key, value in changes.items()}
        done = play(tmp_path, stub, **SOME_STRONG, **new)
        assert (5, 0, STRONG_ROWS) == (
            broken.exit_code,
            done.exit_code,
            len(stub.calls[sent:]) + len(other.calls),
        )
        with pytest.raises(RunMismatchError, match="The strong endpoint has answered already"):
            play(tmp_path, stub, **SOME_STRONG)
    manifest = open_existing(done.run_uri)[1]["job"]["endpoints"]["strong"]
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **SOME_STRONG, **new)
    now = config.endpoints.strong
    assert (now.model, now.base_url, now.params) == tuple(
        manifest[k] for k in ("model", "base_url", "params")
    )


def test_a_changed_endpoint_can_be_changed_again(tmp_path: Path) -> None:
    """A second attempt that is wrong too is followed by a third one, or by the first one again."""
    with stub_server(strong_fails(error(400))) as stub:
        codes = [
            play(tmp_path, stub, **SOME_STRONG, endpoints__strong__params=params).exit_code
            for params in ({"max_tokens": 9}, {"max_tokens": 8}, {"max_tokens": 9}, FIXED)
        ]
    assert [5, 5, 5, 0] == codes


def test_a_changed_endpoint_asks_its_rows_again_though_it_was_stopped(tmp_path: Path) -> None:
    """A start with other params that is stopped is resumed: the rows of the old params are still asked."""
    settings = {"budget__strong_share": Decimal("0.45"), "endpoints__strong__limits": {"concurrency": 1}}
    with stub_server(strong_fails(error(400))) as stub:
        broken = play(tmp_path, stub, **settings)
        stub.script = interrupting(answering(delay_s=0.02), len(stub.calls) + 5)
        stopped = play(tmp_path, stub, **settings, endpoints__strong__params=FIXED)
        stub.script = answering()
        done = play(tmp_path, stub, **settings, endpoints__strong__params=FIXED)
    answers = Counter(call.key for call in stub.calls if call.body.get("reasoning_effort"))
    assert (5, 75, 0) == (broken.exit_code, stopped.exit_code, done.exit_code)
    assert (10, {1}) == (len(answers), set(answers.values()))


def test_copies_follow_a_changed_endpoint(tmp_path: Path) -> None:
    """Rows that share a failed row's request, in other shards too, get the new endpoint's answer."""
    texts = prompts(ROWS)
    texts[0] = texts[23]
    write_prompts(tmp_path / "in.parquet", texts)
    with stub_server(strong_fails(error(400))) as stub:
        broken = play(tmp_path, stub, **SOME_STRONG)
        done = play(tmp_path, stub, **SOME_STRONG, endpoints__strong__params=FIXED)
    assert (5, 0, ROWS) == (broken.exit_code, done.exit_code, len(done.by_id))
    assert done.by_id["r0000"]["request_key"] == done.by_id["r0023"]["request_key"]


def test_an_answered_endpoint_stays(tmp_path: Path) -> None:
    """Of a run that was stopped half-way the weak model has answered: it must stay, and the strong one may be another."""
    with stub_server(strong_fails(error(400))) as stub:
        play(tmp_path, stub, **SOME_STRONG)
        with pytest.raises(RunMismatchError) as caught:
            play(tmp_path, stub, **SOME_STRONG, endpoints__weak__model="w2", endpoints__strong__model="s2")
    text = str(caught.value)
    assert ("endpoints.weak.model" in text, "endpoints.strong.model" in text) == (True, False)
    assert "The weak endpoint has answered already" in text


def test_another_price_needs_another_run(tmp_path: Path) -> None:
    """A model with another price is refused with words that say so, though its endpoint has answered nothing."""
    with stub_server(strong_fails(error(400))) as stub:
        play(tmp_path, stub, **SOME_STRONG)
        with pytest.raises(RunMismatchError, match=r"A price that differs needs a new run\.id"):
            play(tmp_path, stub, **SOME_STRONG, endpoints__strong__price={"input": 9, "output": 9})


def test_a_key_reference_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the key lies is no part of a run, whatever was answered with it."""
    monkeypatch.setenv("OTHER_KEY", "canary-key")
    with stub_server(interrupting(answering(delay_s=0.02), 6)) as stub:
        first = play(tmp_path, stub, **WEAK_ONLY, endpoints__weak__limits={"concurrency": 2})
        done = play(tmp_path, stub, **WEAK_ONLY, endpoints__weak__api_key="env:OTHER_KEY")
    assert (75, 0) == (first.exit_code, done.exit_code)
    assert "Bearer canary-key" == stub.calls[-1].headers["Authorization"]


def test_a_wrong_address_can_be_put_right(tmp_path: Path) -> None:
    """A URL where nobody listens ends with 5; with the right one the same run goes on."""
    write_prompts(tmp_path / "in.parquet", prompts(ROWS))
    with stub_server() as stub:
        with stub_server() as away:
            gone = away.base_url
        with pytest.raises(EndpointStopError):
            run_job(job_config(tmp_path, strong=gone, weak=stub.base_url))
        assert 0 == play(tmp_path, stub).exit_code


def test_the_night_run_of_a_template_is_found_by_its_changed_config(tmp_path: Path) -> None:
    """With ``{date}`` in the id, the next day's command with another model goes on with the broken run."""
    dated = {**SOME_STRONG, "run__id": "nightly-{date}"}
    with stub_server(strong_fails(error(400))) as stub:
        broken = play(tmp_path, stub, **dated)
        done = play(tmp_path, stub, **dated, endpoints__strong__params=FIXED)
        assert (5, 0, broken.run_uri) == (broken.exit_code, done.exit_code, done.run_uri)


# --retry-failed


@pytest.mark.parametrize("answer", [error(400), error(403), Answer(""), error(500)])
def test_retried_rows_that_fail_again_end_with_3(tmp_path: Path, answer: Answer) -> None:
    """However many of them fail, they were known to fail: a finished run stays finished."""
    write_prompts(tmp_path / "in.parquet", prompts(100))
    settings = {**WEAK_ONLY, "input__shard_rows": 100, "endpoints__weak__limits": {"concurrency": 4}}
    odd = set(range(1, 80, 2))
    with stub_server(flagging(odd, answer)) as stub:
        first = play(tmp_path, stub, **settings)
        sent = len(stub.calls)
        second = play(tmp_path, stub, retry_failed=True, **settings)
        assert (3, 3, True) == (first.exit_code, second.exit_code, sent < len(stub.calls) <= sent + 40)
        stub.script = answering()
        assert 0 == play(tmp_path, stub, retry_failed=True, **settings).exit_code


def test_a_refused_key_still_stops_a_retry(tmp_path: Path) -> None:
    """What no retry can help ends a retry with 5, and the run stays finished with 3."""
    with stub_server(flagging({3}, error(400))) as stub:
        first = play(tmp_path, stub, **WEAK_ONLY)
        stub.script = answering(status=401)
        retried = play(tmp_path, stub, retry_failed=True, **WEAK_ONLY)
        again = play(tmp_path, stub, **WEAK_ONLY)
    assert (3, 5, 3) == (first.exit_code, retried.exit_code, again.exit_code)
