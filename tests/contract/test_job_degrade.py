"""A run that turns out dearer than planned: marginal strong rows go weak, every row is answered, the cap holds."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import Finished, job_config, prompts, run_job, write_prompts
from helpers.models import bills, two_models
from helpers.stub import Answer, Call, answering, interrupting, stub_server

from routellm_batch.budget.plan import Degrade
from routellm_batch.budget.pricing import nano_to_usd
from routellm_batch.stages.call.degrade import load_degrades

CAP = 3_400_000
CHEAP = {
    f"endpoints__{route}__{key}": value
    for route in ("strong", "weak")
    for key, value in (("estimate", {"output_tokens": 8}), ("limits", {"concurrency": 4}))
}
"""Plans that expect a third of what the models answer."""
TIGHT: dict[str, Any] = {**CHEAP, "budget__hard_cap_usd": nano_to_usd(CAP)}


def further(result: Finished) -> list[Degrade]:
    """Return the further plans, checked: each moves rows, and each cut is higher than the one before."""
    found = load_degrades(result.run)
    cuts = [(one.cut.key, one.cut.tie) for one in found]
    assert cuts == sorted(set(cuts))
    assert all(one.moved > 0 for one in found)
    return found


def check_ranking(result: Finished) -> None:
    """Check that what went weak of the planned strong rows ranks below what a later cut kept."""
    last = further(result)[-1].cut.threshold
    strong = {row["id"] for row in result.rows if row["route"] == "strong"}
    above = {row["id"] for row in result.rows if last is not None and row["score"] >= last}
    assert above <= strong


@pytest.mark.parametrize("cluster", ["serial", "local"])
@pytest.mark.parametrize("longer", [16, 24])
def test_every_row_is_answered_within_the_cap(tmp_path: Path, cluster: str, longer: int) -> None:
    """Answers two and three times as long as expected: exit 0, no bill above the cap, the marginal strong rows weak."""
    write_prompts(tmp_path / "in.parquet", prompts(100))
    planned_strong = {f"r{n:04d}" for n in range(75, 100)}
    cap = 5_000_000
    settings = {**CHEAP, "budget__hard_cap_usd": nano_to_usd(cap), "cluster": {"kind": cluster, "workers": 1}}
    if cluster == "serial":
        settings["cluster"] = {"kind": "serial"}
    with two_models(tmp_path, output_tokens=longer) as urls:
        result = run_job(job_config(tmp_path, **urls, **settings))
    assert (0, 100, 0) == (result.exit_code, result.cost["rows"]["ok"], result.cost["rows"]["unfunded"])
    assert max(accumulate(line["nano"] for line in bills(tmp_path))) <= cap
    strong, moved = set(result.strong_ids()), sum(one.moved for one in further(result))
    assert (True, 25 - len(strong), True) == (strong <= planned_strong, moved, moved > 0)
    check_ranking(result)
    assert 3 >= len(further(result))


def test_the_report_says_what_was_moved(tmp_path: Path) -> None:
    """The terminal, cost.json and the page name the rows moved, why and when."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    with two_models(tmp_path) as urls:
        result = run_job(job_config(tmp_path, **urls, **TIGHT), page=True)
    moved = sum(one.moved for one in further(result))
    told = result.cost["degraded_running"]
    assert (moved, True) == (
        sum(one["rows"] for one in told),
        all(one["at"] and one["reason"] for one in told),
    )
    page = result.run.store.read("report/report.html").decode()
    for text in (" ".join(result.lines), page, " ".join(result.notices)):
        assert "went weak" in text or "go weak" in text
    estimates = result.cost["endpoints"]["weak"]["estimates"]
    assert estimates["output_p10"] <= estimates["output_p50"] <= estimates["output_p90"]
    assert estimates["tokens_per_char"] > 0


def test_stop_leaves_rows_out_and_resumes(tmp_path: Path) -> None:
    """With ``on_overrun: stop`` nothing is moved and the run ends with exit 4; a raised cap finishes it as planned."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    stop = {**CHEAP, "budget__on_overrun": "stop"}
    with two_models(tmp_path) as urls:
        first = run_job(job_config(tmp_path, **urls, **stop, budget__hard_cap_usd=nano_to_usd(CAP)))
        second = run_job(job_config(tmp_path, **urls, **stop, budget__hard_cap_usd=nano_to_usd(10 * CAP)))
    assert (4, True, []) == (first.exit_code, first.cost["rows"]["unfunded"] > 0, load_degrades(first.run))
    assert (0, 60, 15) == (second.exit_code, second.cost["rows"]["ok"], len(second.strong_ids()))


def test_degrade_finishes_what_stop_left(tmp_path: Path) -> None:
    """Stopped by the budget and run again with ``degrade``, what is left goes weak where weak can be paid."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    with two_models(tmp_path) as urls:
        cap = {**CHEAP, "budget__hard_cap_usd": nano_to_usd(CAP)}
        first = run_job(job_config(tmp_path, **urls, **cap, budget__on_overrun="stop"))
        again = run_job(job_config(tmp_path, **urls, **cap))
    billed = sum(line["nano"] for line in bills(tmp_path))
    assert (4, 0, 60, True) == (first.exit_code, again.exit_code, again.cost["rows"]["ok"], billed <= CAP)


def test_a_resume_follows_the_newest_cut(tmp_path: Path) -> None:
    """Interrupted after a degrade, the run goes on under the new cut, even with a higher cap; nothing is called twice."""
    write_prompts(tmp_path / "in.parquet", prompts(60))
    seen: list[int] = []

    def script(call: Call) -> Answer:
        if not seen and list(Path(tmp_path).glob("root/runs/job/plan.d1.json")):
            seen.append(call.number)
            return interrupting(lambda _: Answer(output_tokens=24), call.number)(call)
        return Answer(output_tokens=24)

    with stub_server(script) as stub:
        urls = {"strong": stub.base_url, "weak": stub.base_url}
        first = run_job(job_config(tmp_path, **urls, **TIGHT))
        cuts = [one.cut for one in further(first)]
        second = run_job(
            job_config(tmp_path, **urls, **{**TIGHT, "budget__hard_cap_usd": nano_to_usd(10 * CAP)})
        )
        keys = [call.key for call in stub.calls]
    assert (75, 0, 60) == (first.exit_code, second.exit_code, second.cost["rows"]["ok"])
    assert (cuts, len(keys)) == ([one.cut for one in further(second)], len(set(keys)))
    moved = sum(one.moved for one in further(second))
    assert (15 - moved, moved) == (len(second.strong_ids()), second.cost["degraded_running"][0]["rows"])


def test_a_strong_row_that_nothing_pays_for_goes_weak(tmp_path: Path) -> None:
    """A cap below a strong row's worst case, but not below a weak one's: the row goes weak, and the run is finished."""
    write_prompts(tmp_path / "in.parquet", ["a"])
    settings = {"budget__strong_share": 1, "budget__hard_cap_usd": nano_to_usd(500_000), **CHEAP}
    with stub_server(answering(output_tokens=8)) as stub:
        result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **settings))
    assert (0, ["weak"]) == (result.exit_code, [row["route"] for row in result.rows])
    assert [("worst_case", 1, 0)] == [(one.reason, one.moved, one.kept) for one in further(result)]


def test_copies_follow_the_row_that_pays(tmp_path: Path) -> None:
    """Identical prompts stay one answer after a degrade: each copy has the route and the answer of its owner."""
    texts = [prompts(60)[n // 2] for n in range(60)]
    write_prompts(tmp_path / "in.parquet", texts)
    with two_models(tmp_path) as urls:
        result = run_job(job_config(tmp_path, **urls, **CHEAP, budget__hard_cap_usd=nano_to_usd(CAP // 2)))
    assert (0, True) == (result.exit_code, bool(further(result)))
    rows = result.rows
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert one["answer"] == other["answer"] or one["route"] != other["route"]
    assert len(rows) > len(bills(tmp_path))
