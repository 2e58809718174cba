"""Defects that systems of this kind have had, one test each: what breaks elsewhere does not break here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Finished, job_config, job_tree, prompts, run_job, write_prompts
from helpers.patience import patience
from helpers.sim.loop import LoneLoop
from helpers.stub import Answer, Call, Script, Stub, answering, in_turn, stub_server

from routellm_batch.budget.pricing import Price, cost_nano
from routellm_batch.config.job import check_config
from routellm_batch.core.errors import CallError, ConfigError
from routellm_batch.core.types import ErrorKind, Usage, Verdict
from routellm_batch.core.worker import Worker
from routellm_batch.endpoints.classify import failure_of
from routellm_batch.endpoints.pacing.gate import Gate
from routellm_batch.endpoints.pacing.pace import Limits
from routellm_batch.endpoints.wallet import Wallet
from routellm_batch.stages.call.requests import build_call
from routellm_batch.storage.prompts import decode_prompts
from routellm_batch.storage.store import FsStore

LIMITED = Answer(status=429, headers={"retry-after": "0"})


def play(
    folder: Path, script: Script, rows: int = 16, *, at_once: int = 8, **settings: Any
) -> tuple[Finished, Stub]:
    """Run a job of some rows, all of them weak, against a script."""
    write_prompts(folder / "in.parquet", prompts(rows))
    changes = {
        "budget__strong_share": Decimal(0),
        "endpoints__weak__limits": {"concurrency": at_once},
        **settings,
    }
    with stub_server(script) as stub:
        done = run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, **changes))
    return done, stub


def test_requests_run_side_by_side(tmp_path: Path) -> None:
    """Requests that nobody awaited together ran one after the other; here as many are open as are allowed."""
    done, stub = play(tmp_path, answering(delay_s=0.1), at_once=8)
    assert (0, 8) == (done.exit_code, stub.peak)


@pytest.mark.parametrize("status", [400, 404, 422, 503])
def test_a_refusal_is_no_answer_whatever_its_body(tmp_path: Path, status: int) -> None:
    """A body under a status other than 2xx was counted as a success; here the row fails."""
    whole = Answer("An answer.").content()
    done, _ = play(
        tmp_path, answering(status=status, body=whole), rows=2, retry={"attempts": 1, "max_error_rate": 1}
    )
    assert ([], 0) == ([row["answer"] for row in done.rows if row["answer"]], done.cost["rows"]["ok"])


def test_retries_go_along_with_the_rest(tmp_path: Path) -> None:
    """Failed rows were tried again only after a whole pass; here while the other rows are still under way."""
    first = in_turn(LIMITED, Answer(delay_s=0.02))

    def script(call: Call) -> Answer:
        return first(call) if call.prompt.startswith("Prompt 0:") else Answer(delay_s=0.02)

    done, stub = play(tmp_path, script, rows=240, at_once=4, input__shard_rows=240)
    again = next(call.number for call in stub.calls if call.attempt == 2)
    assert (0, True) == (done.exit_code, again < 180), again


@pytest.mark.parametrize(
    "changes", [{"base_url": "https://other.example.com/v1"}, {"model": "other"}, {"params": {"seed": 1}}]
)
def test_a_key_covers_the_endpoint(changes: dict[str, Any]) -> None:
    """Cached answers of another server or model were taken, as the key left them out; here it has all of them."""
    end = job_config(Path("/x")).endpoints.weak
    assert _key(end, "") != _key(end.model_copy(update=changes), "")


def test_a_key_covers_the_system_turn() -> None:
    """Two jobs with other instructions shared answers; here the system turn is part of the key."""
    end = job_config(Path("/x")).endpoints.weak
    assert _key(end, "Be brief.") != _key(end, "Be long.")


def _key(end: Any, system: str) -> str:
    import pyarrow as pa

    config = job_config(Path("/x"), input__columns={"id": "id", "prompt": "prompt", "system": "s"})
    table = pa.table({"id": ["a"], "prompt": ["Hi"], "s": [system]})
    prompt = decode_prompts(table, config.input, config.label)[0]
    return str(build_call(0, "weak", end, prompt).request.key)  # type: ignore[arg-type]


def test_prices_below_a_dollar_are_not_nothing() -> None:
    """Prices held as whole numbers rounded cents away; here a token of $0.15 per million costs 150 nano-dollars."""
    price = Price.from_usd(Decimal("0.15"), Decimal("0.60"), None)
    assert 150 + 600 == cost_nano(price, Usage(1, 0, 1))


def test_every_attempt_sends_the_same_bytes(tmp_path: Path) -> None:
    """A body that was changed between attempts asked something else the second time; here it stays the same."""
    done, stub = play(tmp_path, in_turn(LIMITED, LIMITED, Answer()), rows=4)
    bodies = {
        key: {call.raw for call in stub.calls if call.key == key} for key in {c.key for c in stub.calls}
    }
    assert (0, [1] * 4, 12) == (done.exit_code, [len(one) for one in bodies.values()], len(stub.calls))


def test_a_row_that_waits_leaves_its_slot(tmp_path: Path) -> None:
    """A row in back-off kept its slot, and everything stood; here the only slot goes to the next row meanwhile."""
    # 503 in place of 429: a 429 slows the whole endpoint down, and is meant to.
    waits = in_turn(Answer(status=503, headers={"retry-after": "1"}), Answer())

    def script(call: Call) -> Answer:
        return waits(call) if call.number == 0 or call.attempt > 1 else Answer()

    done, stub = play(tmp_path, script, rows=6, at_once=1)
    assert (0, True) == (done.exit_code, stub.calls[0].key != stub.calls[1].key)
    assert 1 < next(n for n, call in enumerate(stub.calls) if n and call.key == stub.calls[0].key)


@pytest.mark.parametrize("words", ["429", "rate limit reached", "insufficient_quota", "timeout"])
def test_words_in_an_error_mean_nothing(tmp_path: Path, words: str) -> None:
    """Errors were classed by words in their text, which may be the user's own; here by status and code alone."""
    body = f'{{"error": {{"message": "{words}", "type": "x", "code": null}}}}'.encode()
    done, stub = play(tmp_path, answering(status=400, body=body), rows=2, retry={"max_error_rate": 1})
    assert ({"bad_request"}, 2) == ({row["error_kind"] for row in done.rows}, len(stub.calls))
    assert (ErrorKind.BAD_REQUEST, Verdict.ROW) == failure_of(400, None)[:2]


def test_every_429_is_seen_and_counted(tmp_path: Path) -> None:
    """A client library tried 429s again in secret, so nothing slowed down; here each is an attempt of our own."""
    done, stub = play(tmp_path, in_turn(LIMITED, LIMITED, Answer()), rows=4)
    sent = Counter(call.key for call in stub.calls)
    assert [3] * 4 == list(sent.values()) == [row["attempts"] for row in done.rows]
    assert {1, 2, 3} == {call.attempt for call in stub.calls}


def test_nobody_spends_what_another_has_set_aside() -> None:
    """Calls that looked at the budget and then spent overshot it together; here each sets its worst cost aside."""

    async def spend() -> tuple[int, list[bool]]:
        wallet, most = Wallet(300), 0

        async def one() -> bool:
            nonlocal most
            if not await wallet.reserve(100):
                return False
            most = max(most, wallet.settled_nano + wallet.reserved_nano)
            await asyncio.sleep(0.001)
            wallet.settle(100, 100)
            return True

        paid = await asyncio.gather(*(one() for _ in range(50)))
        return most, paid

    most, paid = asyncio.run(spend())
    assert (300, 3) == (most, sum(paid))


@pytest.mark.parametrize("name", ["input", "output"])
def test_an_unknown_price_is_an_error(name: str) -> None:
    """A model without a price was free, and no budget was ever reached; here the job does not start."""
    with pytest.raises(ConfigError, match=rf"endpoints\.weak\.price\.{name}: is missing"):
        check_config(job_tree(Path("/x"), **{f"endpoints__weak__price__{name}": None}), source="job.yaml")


def test_cached_tokens_have_their_own_price_once() -> None:
    """Rebates were multiplied with one another; here cached input costs its own price and nothing else changes."""
    price = Price.from_usd(Decimal(2), Decimal(8), Decimal("0.5"))
    assert 600 * 2_000 + 400 * 500 + 100 * 8_000 == cost_nano(price, Usage(1000, 400, 100, 60))


def test_after_a_burst_of_429s_it_is_fast_again(tmp_path: Path) -> None:
    """One burst halved the limit for each of its replies, down to one; here speed is back within seconds."""

    def script(call: Call) -> Answer:
        return LIMITED if call.number < 24 else Answer(delay_s=0.05)

    begun = time.monotonic()
    done, stub = play(tmp_path, script, rows=400, at_once=16, input__shard_rows=400)
    times = [call.begun_s for call in stub.calls]
    late = sum(one > times[-1] - 0.5 for one in times)
    assert (0, True) == (done.exit_code, time.monotonic() - begun < patience(20))
    assert late >= 40, f"{late} calls in the last half second, with 16 slots of 50 ms"


def test_who_gives_up_waiting_ends_nobody_elses_pause() -> None:
    """A cancelled waiter ended the pause that all shared; here the others wait until the endpoint's time is up."""
    lone = LoneLoop()

    async def wait() -> float:
        gate = Gate(Limits(4), Worker(clock=lone.clock))
        refused = await gate.enter(10)
        assert refused is not None
        begun_s = lone.now_s
        gate.leave(refused, CallError(ErrorKind.RATE_LIMITED, Verdict.WAIT, status=429, retry_after_s=0.4))
        first, second = (asyncio.create_task(gate.enter(10)) for _ in range(2))
        await asyncio.sleep(0.05)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert await second is not None
        return lone.now_s - begun_s

    assert pytest.approx(0.4) == lone.run(wait())


def test_a_pause_is_over_when_it_is_over(tmp_path: Path) -> None:
    """What the endpoint asked for is waited for, whole, before the row is sent again."""
    pause = Answer(status=429, headers={"retry-after": "1"})
    done, stub = play(tmp_path, lambda call: pause if call.number == 0 else Answer(), rows=4, at_once=1)
    gaps = [call.begun_s - stub.calls[0].begun_s for call in stub.calls if call.key == stub.calls[0].key][1:]
    assert (0, True) == (done.exit_code, min(gaps) >= 0.95)


def test_a_429_that_names_no_time_costs_seconds_at_most(tmp_path: Path) -> None:
    """Without a Retry-After an endpoint was left alone for five minutes; here it is tried again soon."""
    begun = time.monotonic()
    done, _ = play(tmp_path, in_turn(Answer(status=429), Answer()), rows=4)
    assert (0, True) == (done.exit_code, time.monotonic() - begun < patience(20))


@pytest.mark.parametrize("size", [1, 100])
def test_a_small_object_is_created_once(tmp_path: Path, size: int) -> None:
    """Small objects were written without the condition, so two writers both won; here one of eight does."""
    store, wall = FsStore(str(tmp_path)), threading.Barrier(8)

    def create(number: int) -> bool:
        wall.wait(patience(10))
        return store.create("run.json", bytes([65 + number]) * size)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert (1, bytes([65 + won.index(True)]) * size) == (sum(won), store.read("run.json"))
