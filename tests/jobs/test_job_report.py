"""``report/cost.json`` to the letter of the contract, for every way a job can end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import PRICES, Finished, billing, job_config, nano, prompts, run_job, write_prompts
from helpers.stub import Answer, Script, Stub, answering, interrupting, simulated, stub_server

from routellm_batch.endpoints.simulator.spec import Faults, SimulateSpec
from routellm_batch.pipeline.jobs import report_job

SHAPE: dict[str, Any] = {
    "rows": {"valid": int, "invalid": int, "ok": int, "failed": int, "unfunded": int},
    "share": {"asked": float, "achieved": float},
    "endpoints": {
        route: {
            "calls": int,
            "attempts": int,
            "input_tokens": int,
            "cached_input_tokens": int,
            "output_tokens": int,
            "planned_usd": str,
            "spent_usd": str,
            "presumed_usd": str,
        }
        for route in ("strong", "weak")
    },
    "planned_usd": str,
    "spent_usd": str,
    "presumed_usd": str,
    "cap_usd": str,
    "counterfactual_usd": {"all_strong": str, "all_weak": str},
    "wall_s": float,
}


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Both models."""
    with stub_server() as server:
        yield server


def check_shape(found: Any, shape: Any, path: str = "") -> None:
    """Assert that each key of the contract is there with its type; sums are plain decimal strings."""
    if isinstance(shape, dict):
        assert shape.keys() <= found.keys(), path
        for key, inner in shape.items():
            check_shape(found[key], inner, f"{path}.{key}")
    elif found is not None or path not in {".cap_usd", ".share.asked", ".share.achieved"}:
        assert isinstance(found, shape), path
        if shape is str:
            assert Decimal(found) >= 0
            assert "E" not in found.upper()


def check_sums(cost: dict[str, Any]) -> None:
    """Assert that the parts add up to the wholes."""
    ends = cost["endpoints"].values()
    for key in ("planned_usd", "spent_usd", "presumed_usd"):
        assert nano(cost[key]) == sum(nano(end[key]) for end in ends)
    rows = cost["rows"]
    assert rows["ok"] + rows["failed"] + rows["unfunded"] + rows["pending"] == rows["valid"]


LIMITS = {f"endpoints__{route}__limits": {"concurrency": 2} for route in ("strong", "weak")}


def at(number: int, early: Script, late: Script) -> Script:
    return lambda call: early(call) if call.number < number else late(call)


ENDS: dict[str, tuple[int, Callable[[Stub], Script], dict[str, Any]]] = {
    "finished": (0, lambda _: answering(), {}),
    "failed": (3, lambda _: lambda call: Answer(status=400 if "Prompt 3:" in call.prompt else 200), {}),
    "budget": (
        4,
        lambda _: answering(output_tokens=32),
        {
            "budget__hard_cap_usd": Decimal("0.002"),
            "budget__on_overrun": "stop",
            "endpoints__strong__estimate": {"output_tokens": 1},
            "budget__strong_share": Decimal("0.75"),
        },
    ),
    "errors": (5, lambda _: at(20, answering(), answering(status=401)), {}),
    "interrupted": (75, lambda stub: interrupting(answering(delay_s=0.02), len(stub.calls) + 6), {}),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_end_writes_the_report(tmp_path: Path, stub: Stub, end: str) -> None:
    """However a job ends, cost.json has every key of the contract, its sums add up, and it says what was done."""
    write_prompts(tmp_path / "in.parquet", [*prompts(40), None, ""])
    code, script, settings = ENDS[end]
    stub.script = script(stub)
    config = job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **LIMITS | settings)
    result = run_job(config, page=True)
    cost = result.cost
    check_shape(cost, SHAPE)
    check_sums(cost)
    assert (code, code, (40, 2)) == (
        result.exit_code,
        cost["exit_code"],
        (cost["rows"]["valid"], cost["rows"]["invalid"]),
    )
    assert (code in {0, 3}, code == 4) == ("_SUCCESS" in result.objects(), cost["rows"]["unfunded"] > 0)
    assert cost["endpoints"]["strong"]["attempts"] == sum(
        call.body["model"] == "strong-model" for call in stub.calls
    )
    assert nano(cost["spent_usd"]) == sum(
        Decimal(10) * PRICES[route]["input"] * 1000 + tokens * PRICES[route]["output"] * 1000
        for call in stub.calls
        if call.prompt not in refused(stub, end)
        for route in [call.body["model"].removesuffix("-model")]
        for tokens in [32 if end == "budget" else 5]
    )
    assert result.run.store.exists("report/report.html")
    assert "report.html" in result.lines[-1]


def refused(stub: Stub, end: str) -> set[str]:
    """Prompts whose calls were refused and so are free."""
    if end == "errors":
        return {call.prompt for call in stub.calls if call.number >= 20}
    return {text for text in stub.prompts() if end == "failed" and "Prompt 3:" in text}


def test_sums_agree_with_the_bills_under_faults(tmp_path: Path) -> None:
    """Under every kind of fault, spent ≤ billed ≤ spent + presumed, for each endpoint."""
    write_prompts(tmp_path / "in.parquet", prompts(80))
    faults = Faults(rate_limit=0.1, server_error=0.1, truncated=0.05, html=0.05, no_usage=0.05, empty=0.05)
    specs = {
        route: SimulateSpec(
            model=f"{route}-model",
            latency_ms=0,
            faults=faults,
            log=str(tmp_path / f"{route}.log"),
            retry_after_ms=1,
            price_input=str(PRICES[route]["input"]),
            price_output=str(PRICES[route]["output"]),
        )
        for route in ("strong", "weak")
    }
    with simulated(specs["strong"]) as strong, simulated(specs["weak"]) as weak:
        result = run_job(job_config(tmp_path, strong=strong, weak=weak, retry={"attempts": 4, "budget": 1}))
    check_sums(result.cost)
    assert 3 == result.exit_code
    for route, end in result.cost["endpoints"].items():
        lines = billing(tmp_path / f"{route}.log")
        billed, spent = sum(line["nano"] for line in lines), nano(end["spent_usd"])
        assert spent <= billed <= spent + nano(end["presumed_usd"])
        assert (len(lines), len({line["request_key"] for line in lines})) == (end["attempts"], end["calls"])


def test_counterfactuals_bracket_what_was_spent(tmp_path: Path, stub: Stub) -> None:
    """All weak costs less, all strong more, and the price of both is as for the calls that were made."""
    write_prompts(tmp_path / "in.parquet", prompts(40))
    cost = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url)).cost
    one = {route: 10 * price["input"] * 1000 + 5 * price["output"] * 1000 for route, price in PRICES.items()}
    assert [40 * one["strong"], 40 * one["weak"]] == [
        nano(cost["counterfactual_usd"][name]) for name in ("all_strong", "all_weak")
    ]
    assert 10 * one["strong"] + 30 * one["weak"] == nano(cost["spent_usd"])


def test_success_says_how_it_ended(tmp_path: Path, stub: Stub) -> None:
    """``_SUCCESS`` is JSON with the exit code and the rows, written after everything else."""
    write_prompts(tmp_path / "in.parquet", prompts(8))
    result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url))
    success = json.loads(result.run.store.read("_SUCCESS"))
    assert (0, 8) == (success["exit_code"], success["rows"]["ok"])
    root = tmp_path / "root" / "runs" / "job"
    newest = max(
        (path for path in root.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )
    assert "_SUCCESS" == newest.name


def test_the_layout_is_the_contracts(tmp_path: Path, stub: Stub) -> None:
    """The run folder has the objects of the contract under their fixed names, and no temporary file."""
    write_prompts(tmp_path / "in.parquet", [*prompts(10), None])
    result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url))
    expected = {"run.json", "plan.json", "_SUCCESS"}
    expected |= {f"report/{name}" for name in ("cost.json", "report.html", "plan.html")}
    for shard in ("000000", "000001"):
        expected |= {f"score/{shard}.parquet", f"responses/{shard}.parquet"}
        expected |= {f"commit/score/{shard}.json", f"commit/call/{shard}.json"}
    expected |= {"failed/000001.parquet", "epoch/000001.json", "epoch/000001.end"}
    names = {name for name in result.objects() if not name.startswith("call/")}
    assert expected == names
    root = tmp_path / "root" / "runs" / "job"
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert set(result.objects()) == files
    assert {"000000", "000001"} == {path.name for path in (root / "call").iterdir()}


def test_the_manifest_pins_config_and_input(tmp_path: Path, stub: Stub) -> None:
    """run.json has the config's digest, and each file by URI, size and sha256."""
    path = write_prompts(tmp_path / "in.parquet", prompts(4))
    result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url))
    manifest = json.loads(result.run.store.read("run.json"))
    file = manifest["files"][0]
    assert (64, f"file://{path}", path.stat().st_size, "sha256:") == (
        len(manifest["digest"]),
        file["uri"],
        file["size"],
        file["pin"][:7],
    )


@pytest.mark.parametrize("end", ["finished", "budget", "interrupted"])
def test_a_report_is_written_anew_from_storage_alone(tmp_path: Path, stub: Stub, end: str) -> None:
    """``report RUN_URI`` needs neither input nor endpoints, and says the same as before."""
    path = write_prompts(tmp_path / "in.parquet", prompts(40))
    _, script, settings = ENDS[end]
    stub.script = script(stub)
    result = run_job(job_config(tmp_path, strong=stub.base_url, weak=stub.base_url, **LIMITS | settings))
    path.unlink()
    result.run.store.replace("report/report.html", b"old")
    again = report_job(result.run_uri)
    cost = Finished(0, result.run_uri, []).cost
    assert (result.cost, True) == (cost, result.run.store.read("report/report.html") != b"old")
    assert result.exit_code == cost["exit_code"]
    assert again.outputs.lines[-1] == result.lines[-1]


def test_the_run_starts_and_stops_simulated_models(tmp_path: Path) -> None:
    """``kind: simulated`` needs no URL and no key: the run serves both models itself, and their bills agree."""
    write_prompts(tmp_path / "in.parquet", prompts(24))
    ends = {
        f"endpoints__{route}": {
            "kind": "simulated",
            "model": f"{route}-model",
            "price": PRICES[route],
            "simulate": {"latency_ms": 0, "log": str(tmp_path / f"{route}.log")},
        }
        for route in ("strong", "weak")
    }
    result = run_job(job_config(tmp_path, **ends))
    assert (0, 24, 6) == (result.exit_code, result.cost["rows"]["ok"], result.cost["rows"]["strong"])
    for route, end in result.cost["endpoints"].items():
        assert sum(line["nano"] for line in billing(tmp_path / f"{route}.log")) == nano(end["spent_usd"])
