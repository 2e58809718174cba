"""Specs and the settings file: what is taken, and how a mistake is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routellm_batch.budget.pricing import Price
from routellm_batch.core.errors import ConfigError, DataError
from routellm_batch.endpoints.simulator.model import Reference
from routellm_batch.endpoints.simulator.settings import simulate_spec, spec_from_json
from routellm_batch.endpoints.simulator.spec import Faults, ReferenceSpec, ReplaySpec, SimulateSpec
from routellm_batch.endpoints.simulator.tables import load_references


def _written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("text", ['{"rate_limit": 0.02, "hang": 0}', "rate_limit: 0.02\nhang: 0\n"])
def test_chances_alone_are_a_settings_file(tmp_path: Path, text: str) -> None:
    """A file of chances, as JSON or as YAML, sets the faults and nothing else."""
    spec = simulate_spec(_written(tmp_path / "faults", text))
    assert spec == SimulateSpec(faults=Faults(rate_limit=0.02))


def test_full_settings_file(tmp_path: Path) -> None:
    """A file may set everything that a spec holds, prices and reference by their own names."""
    text = """
    faults: {server_error: 0.5}
    script: {0: [server_error, {answer: ham}], "*": [ok]}
    price: {input: 2.50, output: 10, cached_input: 1.25}
    reference: {uri: answers.parquet, answer: gold, difficulty: null}
    skill: 0.9
    seed: 7
    output_tokens: 60
    rpm: 600
    """
    expected = SimulateSpec(
        faults=Faults(server_error=0.5),
        script={"0": ("server_error", {"answer": "ham"}), "*": ("ok",)},
        price_input="2.50",
        price_output="10",
        price_cached="1.25",
        reference=ReferenceSpec("answers.parquet", answer="gold", difficulty=None),
        skill=0.9,
        seed=7,
        output_tokens=60,
        rpm=600,
        latency_ms=5.0,
    )
    spec = simulate_spec(_written(tmp_path / "all.yaml", text), latency_ms=5.0, log=None)
    assert spec == expected
    assert spec.price == Price(2_500_000_000, 1_250_000_000, 10_000_000_000)


def test_no_file_is_a_spec_of_defaults() -> None:
    """Without a file the overrides alone make the spec, and None overrides nothing."""
    assert simulate_spec(None, port=8101, log=None) == SimulateSpec(port=8101)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rate_limit: 0.1\nratelimit: 0.2", "faults.ratelimit"),
        ("skil: 0.5", "skil"),
        ("faults: {hang: 1.5}", "faults.hang"),
        ("faults: {hang: often}", "faults.hang"),
        ("faults: {hang: true}", "faults.hang"),
        ("faults: [hang]", "faults"),
        ("faults: {hang: 0.6, html: 0.6}", "faults"),
        ("skill: 2", "skill"),
        ("skill: high", "skill"),
        ("output_tokens: 0", "output_tokens"),
        ("output_tokens: 1.5", "output_tokens"),
        ("rpm: 0", "rpm"),
        ("seed: seven", "seed"),
        ("port: 70000", "port"),
        ("price: {input: -1}", "price.input"),
        ("price: {input: cheap}", "price.input"),
        ("price: {in: 1}", "price.in"),
        ("script: {0: [explode]}", "script.0"),
        ("script: {0: hang}", "script.0"),
        ("script: {0: [{text: x}]}", "script.0"),
        ("reference: {url: x}", "reference.url"),
        ("[1, 2]", ""),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, key: str) -> None:
    """An unknown key, a wrong type or a value out of range is refused, naming the key and the file."""
    path = _written(tmp_path / "faults.yaml", text)
    with pytest.raises(ConfigError) as caught:
        simulate_spec(path)
    assert (caught.value.key, caught.value.source) == (key, path)


def test_missing_settings_file_is_named(tmp_path: Path) -> None:
    """A settings file that is not there is a config error with its path."""
    path = str(tmp_path / "none.yaml")
    with pytest.raises(ConfigError) as caught:
        simulate_spec(path)
    assert caught.value.source == path


@pytest.mark.parametrize(
    "spec",
    [
        SimulateSpec(
            faults=Faults(hang=0.1), script={"a": ("ok", {"answer": "x"})}, reference=ReferenceSpec(), rpm=6
        ),
        ReplaySpec(uri="a.parquet", answer="strong_response", price_cached="0.5", log="x.jsonl"),
    ],
)
def test_specs_survive_json(spec: SimulateSpec | ReplaySpec) -> None:
    """A spec that travels as JSON to another process is the same spec there."""
    assert spec_from_json(type(spec), json.loads(json.dumps(asdict(spec)))) == spec


def test_replay_needs_a_file() -> None:
    """A replay spec without a file is refused."""
    with pytest.raises(ConfigError) as caught:
        ReplaySpec()
    assert caught.value.key == "uri"


def _table(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_references_are_read_once_per_prompt(tmp_path: Path) -> None:
    """Rows without prompt or answer are left out, the first of equal prompts holds, nulls get the middle."""
    path = _table(
        tmp_path / "gold.parquet",
        q=["a", "a", "b", None, "c"],
        gold=["1", "2", None, "4", "5"],
        hard=[0.1, 0.2, 0.3, 0.4, None],
    )
    found = load_references(ReferenceSpec(path, "q", "gold", "hard"))
    assert found == {"a": Reference("1", 0.1), "c": Reference("5", 0.5)}


def test_references_by_uri_without_difficulty(tmp_path: Path) -> None:
    """A file:// URI goes through fsspec, and without a difficulty column every prompt is of difficulty 0.5."""
    path = _table(tmp_path / "gold.parquet", prompt=["a"], reference=["1"], category=["maths"])
    found = load_references(ReferenceSpec(f"file://{path}", difficulty=None))
    assert found == {"a": Reference("1", 0.5, "maths")}


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"prompt": ["a"], "reference": ["1"]}, "difficulty"),
        ({"prompt": ["a"], "difficulty": [0.5]}, "reference"),
        ({"prompt": [1], "reference": ["1"], "difficulty": [0.5]}, "prompt"),
        ({"prompt": ["a"], "reference": ["1"], "difficulty": ["hard"]}, "difficulty"),
    ],
)
def test_bad_reference_columns_are_named(tmp_path: Path, columns: dict[str, Any], column: str) -> None:
    """A column that is missing or of a wrong type is an error that names file and column."""
    path = _table(tmp_path / "gold.parquet", **columns)
    with pytest.raises(DataError) as caught:
        load_references(ReferenceSpec(path))
    assert (caught.value.file, caught.value.column) == (path, column)


def test_files_that_are_no_parquet_are_named(tmp_path: Path) -> None:
    """A missing file and a file of something else are errors that name it."""
    text = _written(tmp_path / "text.parquet", "not parquet")
    for path in (text, str(tmp_path / "none.parquet"), f"file://{tmp_path}/none.parquet"):
        with pytest.raises(DataError) as caught:
            load_references(ReferenceSpec(path))
        assert caught.value.file == path
