"""The typed config: every fault names its key, and nothing that may not change is left out of the identity."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.jobs import job_config, job_tree
from pydantic import ValidationError

from routellm_batch.config.identity import changed_endpoint, identity, lasting, without_models
from routellm_batch.config.job import check_config, load_config
from routellm_batch.core.errors import ConfigError

HERE = Path("/work-folder")
EXACT = {"kind": "exact", "reference": "right"}
SIMULATED = {"kind": "simulated", "model": "m", "price": {"input": 1, "output": 1}}


def _problem(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_config(job_tree(HERE, **changes), source="job.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def _write(folder: Path, tree: Any) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(tree, default=float))))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"retries": {}}, "job.yaml: retries: unknown key; did you mean retry?"),
        ({"retry__attemps": 3}, "retry.attemps: unknown key; did you mean attempts?"),
        ({"endpoints__strong__pricing": {}}, "endpoints.strong.pricing: unknown key; did you mean price?"),
        ({"budget__zzz": 1}, "budget.zzz: unknown key; there are: strong_share, usd"),
        ({"input__columns__promt": "p"}, "input.columns.promt: unknown key; did you mean prompt?"),
        ({"endpoints__weak__price__batch": 1}, "endpoints.weak.price.batch: unknown key"),
        ({"run": None}, "run: is missing"),
        ({"run__id": None}, "run.id: is missing"),
        ({"endpoints__weak": None}, "endpoints.weak: is missing"),
        ({"endpoints__strong__model": None}, "endpoints.strong.model: is missing"),
        ({"endpoints__strong__price": None}, "endpoints.strong.price: is missing"),
        ({"endpoints__strong__price__output": None}, "endpoints.strong.price.output: is missing"),
        ({"endpoints__strong__price__input": -1}, "endpoints.strong.price.input: must be USD per million"),
        ({"endpoints__strong__price__input": Decimal("1e-10")}, "endpoints.strong.price.input: must be USD"),
        ({"endpoints__strong__price__output": 20_000_000}, "10,000 at most"),
        ({"endpoints__strong__price__input": float("inf")}, "endpoints.strong.price.input"),
        ({"endpoints__strong__price__cached_input": -1}, "endpoints.strong.price.cached_input: must be USD"),
        ({"budget": {}}, "budget: exactly one of strong_share, usd and recover is needed; none is given"),
        ({"budget__usd": 5}, "exactly one of strong_share, usd and recover is needed; strong_share and usd"),
        ({"pilot": {"usd": 5}}, "pilot.grader: is missing"),
        ({"pilot": {"grader": EXACT}}, "pilot.usd: is missing"),
        ({"pilot": {"usd": 5, "grader": EXACT, "row": 9}}, "pilot.row: unknown key; did you mean rows?"),
        ({"pilot": {"usd": 5, "grader": {}}}, "pilot.grader.kind: is missing"),
        ({"grade": {"kind": "exacct"}}, "grade.kind: must be one of exact, numeric"),
        ({"grade": {"kind": "judge"}}, "labels; it is 'judge'"),
        ({"grade": {"kind": "exact"}}, "grade.reference: is missing"),
        (
            {"grade": {**EXACT, "kind": "numeric", "tolerence": 1}},
            "grade.tolerence: unknown key; did you mean tolerance?",
        ),
        ({"grade": {**EXACT, "kind": "regex", "pattern": "(?=a)(b)"}}, "grade.pattern: can't be used"),
        ({"grade": {**EXACT, "kind": "regex", "pattern": "a"}}, "grade.pattern: can't be used"),
        ({"grade": {**EXACT, "kind": "regex", "pattern": "(a)(b)"}}, "grade.pattern: must have one group"),
        ({"grade": {**EXACT, "kind": "choice", "letters": "ABBA"}}, "grade.letters: must be two or more"),
        (
            {"pilot": {"usd": 5, "grader": {"kind": "judge"}}},
            "endpoints.judge is missing: pilot.grader needs",
        ),
        (
            {"endpoints__weak": {**SIMULATED, "simulate": {"replies": {"[[A]]": 0}}}},
            "endpoints.weak.simulate: replies need a weight above 0",
        ),
        ({"judge": {}}, "endpoints.judge is missing: judge needs its model and price"),
        (
            {"judge": {}, "endpoints__judge": SIMULATED},
            "endpoints.judge.params.max_completion_tokens is needed",
        ),
        ({"judge": {"template": "{question} {answer_a}"}}, "judge: template lacks {answer_b}"),
        (
            {"judge": {"mode": "single", "template": "{question} {answer} {answer_a}"}},
            "judge: template has {answer_a}, which mode single does not fill in",
        ),
        (
            {"judge": {"mode": "single", "template": "{question} {answer} {reference}"}},
            "judge: a template that holds {reference} needs reference: COLUMN, and the other way round",
        ),
        ({"budget__confidence": Decimal("0.9")}, "budget: confidence is that of recover, which is not given"),
        ({"budget__order": "gain_per_dollar"}, "budget: strong_share sends the rows with the highest scores"),
        ({"budget__order": "cost"}, "budget.order: "),
        ({"budget": {"recover": 0.9}}, "budget.recover needs a pilot that measures"),
        (
            {"budget": {"usd": 5, "order": "gain_per_dollar"}},
            "budget.order=gain_per_dollar needs a pilot that measures",
        ),
        ({"budget__strong_share": Decimal("1.01")}, "budget.strong_share: "),
        ({"budget__strong_share": Decimal("-0.01")}, "budget.strong_share: "),
        ({"budget__strong_share": "26%"}, "budget.strong_share: "),
        ({"budget__strong_share": float("nan")}, "budget.strong_share: "),
        ({"budget": {"usd": 0}}, "budget.usd: "),
        ({"budget": {"usd": Decimal(-1)}}, "budget.usd: "),
        ({"budget": {"usd": Decimal("1e-10")}}, "budget.usd: "),
        ({"budget__hard_cap_usd": 0}, "budget.hard_cap_usd: "),
        ({"budget__hard_cap_usd": Decimal("0.0000000001")}, "budget.hard_cap_usd: "),
        ({"budget__hard_cap_usd": float("inf")}, "budget.hard_cap_usd: "),
        ({"budget__on_overrun": "ignore"}, "budget.on_overrun: "),
        (
            {"budget__hard_cap_usd": 1, "endpoints__weak__params": None},
            "endpoints.weak.params.max_completion_tokens is needed",
        ),
        ({"endpoints__strong__base_url": None}, "endpoints.strong: base_url is missing"),
        ({"endpoints__strong__base_url": "example.com/v1"}, "endpoints.strong.base_url: must be a URL"),
        (
            {"endpoints__strong__base_url": "http://example.com/v1"},
            "endpoints.strong: base_url must be https",
        ),
        (
            {"endpoints__strong__base_url": "https://u:p@example.com"},
            "endpoints.strong.base_url: must hold no user",
        ),
        ({"endpoints__strong__base_url": "https://example.com/v1#part"}, "base_url: must hold no user"),
        ({"endpoints__strong__base_url": "https://example.com/v1?v=1#"}, "base_url: must hold no user"),
        (
            {"endpoints__strong__base_url": "https://example.com/?v=1&api-key=canary"},
            "base_url: must hold no secret, and 'api-key' in its query",
        ),
        (
            {"endpoints__strong__base_url": "https://example.com/?%73ig=canary"},
            "must hold no secret, and 'sig'",
        ),
        ({"endpoints__strong__base_url": "https://example.com/?x=sk-canary"}, "must hold no secret, and 'x'"),
        ({"endpoints__strong__base_url": "https://example.com/?v=100%"}, "must have a percent sign only in"),
        (
            {
                "endpoints__strong__base_url": "https://example.com/v1?api%2Dversion=1",
                "endpoints__strong__query": {"api-version": "2"},
            },
            "endpoints.strong: query.api-version is in base_url too",
        ),
        ({"endpoints__strong__base_url": "https://@example.com/v1"}, "base_url: must hold no user"),
        ({"endpoints__strong__base_url": "https://example.com:99999/v1"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": "https://example.com:0/v1"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": "https://[::1/v1"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": "https://a..example/v1"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": f"https://{'a' * 64}.example"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": "https://example.com\\@other.example"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": "https://example.com/a b"}, "base_url: must be a URL"),
        ({"endpoints__strong__base_url": "https://example.com/v1\n"}, "base_url: must be a URL"),
        (
            {"endpoints__strong__base_url": "https://example.com/100%/v1"},
            "base_url: must have a percent sign",
        ),
        ({"endpoints__strong__base_url": "https://ex%61mple.com/v1"}, "base_url: must have a percent sign"),
        (
            {"endpoints__strong__base_url": "https://example.com/a/%2e%2e/v1"},
            "base_url: must have no . or ..",
        ),
        ({"endpoints__strong__kind": "azure"}, "endpoints.strong.kind"),
        ({"endpoints__strong__params__stream": True}, "params.stream is set by the job"),
        ({"endpoints__strong__params__model": "x"}, "params.model is set by the job"),
        ({"endpoints__strong__params__n": 2}, "params.n is set by the job"),
        ({"endpoints__strong__timeout_s": 0}, "endpoints.strong.timeout_s"),
        ({"endpoints__strong__limits": {"concurrency": 0}}, "endpoints.strong.limits.concurrency"),
        ({"endpoints__strong__limits": {"rpm": 0}}, "endpoints.strong.limits.rpm"),
        (
            {"endpoints__weak": {**SIMULATED, "base_url": "http://localhost/v1"}},
            "not allowed with kind simulated",
        ),
        ({"endpoints__weak": {**SIMULATED, "api_key": "env:X"}}, "not allowed with kind simulated"),
        ({"endpoints__weak": {**SIMULATED, "kind": "replay"}}, "replay is missing"),
        (
            {"endpoints__weak": {**SIMULATED, "replay": {"uri": "a", "answer": "b"}}},
            "replay is not allowed with kind",
        ),
        ({"endpoints__weak": {**SIMULATED, "simulate": {"faults": {"hang": 2}}}}, "simulate.faults.hang"),
        ({"input__columns": {"id": "id"}}, "input.columns: name exactly one of prompt and messages"),
        ({"input__columns__messages": "m"}, "input.columns: name exactly one of prompt and messages"),
        ({"input__shard_rows": 0}, "input.shard_rows"),
        ({"run__id": "../escape"}, "run.id: may hold letters"),
        ({"run__id": "a..b"}, "run.id: may hold letters"),
        ({"run__id": "x" * 65}, "run.id: may hold letters"),
        ({"run__id": ""}, "run.id: may hold letters"),
        ({"run__id": "job\n"}, "run.id: may hold letters"),
        ({"run__date": "23.11.2026"}, "run.date"),
        ({"run__deadline_s": 0}, "run.deadline_s"),
        ({"retry__attempts": 0}, "retry.attempts"),
        ({"retry__max_error_rate": 2}, "retry.max_error_rate"),
        ({"label": {"column": "label"}}, "label: give exactly one of values and schema"),
        ({"label": {"values": ["a"], "schema": {}}}, "label: give exactly one of values and schema"),
        ({"label": {"schema": {"type": 5}}}, "label.schema: is not a valid JSON schema: at $.type"),
        ({"cluster": {"kind": "address"}}, "cluster: address is required with kind address"),
        (
            {"cluster": {"kind": "local", "address": "tcp://127.0.0.1:1"}},
            "cluster: address is required with kind address",
        ),
        ({"cluster": {"kind": "yarn"}}, "cluster.kind"),
        ({"cluster": {"kind": "address", "address": "tcp://10.0.0.5:8786"}}, "use tls://… with cluster.tls"),
        (
            {"cluster": {"kind": "address", "address": "tcp://scheduler:8786"}},
            "cluster.address: tcp://scheduler",
        ),
        ({"cluster": {"kind": "address", "address": "ws://127.0.0.1:1"}}, "cluster.address: must be tls://"),
        (
            {"cluster": {"kind": "address", "address": "tls://h:1"}},
            "cluster: tls: {ca, cert, key} is required",
        ),
        ({"run__id": "a/{date}"}, "run.id: may hold letters"),
        ({"run__id": "{date}" + "x" * 55}, "run.id: may hold letters"),
        ({"run__root": "sftp://user:secret@host/x"}, "run.root: must hold no password"),
        ({"input__storage_options": {"key": "k"}}, "input.storage_options: unknown key"),
        ({"run__storage_options": {"key": "k"}}, "run.storage_options: unknown key"),
        (
            {"endpoints__strong__headers": {"Authorization": "Token abc"}},
            "headers: 'Authorization' must be a ref",
        ),
        ({"endpoints__strong__headers": {"x-api-key": "abc"}}, "headers: 'x-api-key' must be a reference"),
        ({"endpoints__strong__headers": {"Cookie": "a=b"}}, "headers: 'Cookie' must be a reference"),
        (
            {"endpoints__strong__headers": {"X-Team": "sk-abcdefghijkl"}},
            "headers: 'X-Team' must be a reference",
        ),
        ({"endpoints__strong__headers": {"X-Team": "env:"}}, "headers: 'X-Team' must name what it refers to"),
        ({"endpoints__strong__headers": {"host": "x"}}, "headers: 'host' is set by the job"),
        (
            {"endpoints__strong__headers": {"Content-Length": "5"}},
            "headers: 'Content-Length' is set by the job",
        ),
        (
            {"endpoints__strong__headers": {"X-Request-Key": "x"}},
            "headers: 'X-Request-Key' is set by the job",
        ),
        ({"endpoints__strong__headers": {"x-attempt": "1"}}, "headers: 'x-attempt' is set by the job"),
        ({"endpoints__strong__headers": {"X-A": "b\r\nX-B: c"}}, "headers: 'X-A' has a line break"),
        (
            {"endpoints__strong__headers": {"X-A": "日本"}},
            "headers: 'X-A' has a line break, a control character or",
        ),
        ({"endpoints__strong__headers": {"X-A": " "}}, "headers: 'X-A' is empty"),
        ({"endpoints__strong__headers": {"X A": "b"}}, "headers: 'X A' is not a name"),
        ({"endpoints__strong__headers": {"X-A": "b", "x-a": "c"}}, "headers: 'X-A' is given twice"),
        (
            {
                "endpoints__strong__headers": {"authorization": "env:K"},
                "endpoints__strong__api_key": "env:K",
            },
            "endpoints.strong: headers.Authorization is what api_key sends",
        ),
        ({"endpoints__strong__query": {"api-key": "abc"}}, "query: 'api-key' must be a reference"),
        ({"endpoints__strong__query": {"sig": "abc"}}, "query: 'sig' must be a reference"),
        ({"endpoints__strong__query": {"a": "b\nc"}}, "query: 'a' has a line break"),
        (
            {"endpoints__weak": {**SIMULATED, "query": {"a": "b"}}},
            "headers, query, ca_file and allow_http are",
        ),
        ({"endpoints__strong__base_url": "https://169.254.169.254/v1"}, "must not be a link-local address"),
        ({"endpoints__strong__base_url": "https://[fe80::1]/v1"}, "must not be a link-local address"),
        ({"endpoints__strong__base_url": "https://[::ffff:169.254.169.254]/v1"}, "must not be a link-local"),
        ({"endpoints__strong__base_url": "https://metadata.google.internal./v1"}, "must not be a link-local"),
    ],
)
def test_bad_keys_are_named(changes: dict[str, Any], words: str) -> None:
    """The error names the source, the key and what to do."""
    text = _problem(**changes)
    assert text.startswith("job.yaml: ")
    assert words in text


@pytest.mark.parametrize("key", ["sk-canary-0123456789", "env:", "file:", "", "Bearer canary-0123456789"])
def test_a_literal_key_is_refused_and_not_repeated(key: str) -> None:
    """Only references are taken, and the error does not hold what might be a key."""
    text = _problem(endpoints__strong__api_key=key)
    assert "endpoints.strong.api_key: must be a reference, env:NAME or file:/path" in text
    assert "canary" not in text


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786"])
def test_loopback_needs_no_certificates(address: str) -> None:
    """A plain address is fine on this machine."""
    config = check_config(job_tree(HERE, cluster={"kind": "address", "address": address}), source="j")
    assert address == config.cluster.address


def test_all_problems_are_told_at_once() -> None:
    """Two faults make two lines, each with its key."""
    text = _problem(retry__attempts=0, budget__usd=1)
    assert ["retry.attempts" in text, "exactly one of" in text, len(text.splitlines())] == [True, True, 2]


def test_a_config_is_frozen() -> None:
    """Nobody changes a config once it is checked."""
    config = job_config(HERE)
    with pytest.raises(ValidationError):
        config.run.seed = 3  # type: ignore[misc]


def test_a_share_is_the_decimal_in_the_file(tmp_path: Path) -> None:
    """0.29 of the YAML is 0.29, not the float next to it."""
    path = tmp_path / "job.yaml"
    path.write_text(
        _write(tmp_path, job_tree(tmp_path)).read_text().replace("strong_share: 0.25", "strong_share: 0.29")
    )
    assert Decimal("0.29") == load_config(path).budget.strong_share


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("budget.strong_share=0.5", Decimal("0.5")),
        ("run.id=other", "other"),
        ("run.seed=7", 7),
        ("endpoints.strong.limits.rpm=60", 60),
        ("input.keep=[a, b]", ("a", "b")),
        ("retry.deadline_s=1e2", 100.0),
        ("endpoints.weak.price.input=0.2", Decimal("0.2")),
        ("router.checkpoint=a=b", "a=b"),
    ],
)
def test_overrides_set_keys(tmp_path: Path, override: str, value: Any) -> None:
    """``key.path=value`` sets a key, made where it was absent, with its value read as YAML."""
    found: Any = load_config(_write(tmp_path, job_tree(tmp_path)), [override])
    for part in override.partition("=")[0].split("."):
        found = getattr(found, part)
    assert value == found


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("budget.strong_share", "an override is written key.path=value"),
        ("=1", "an override is written key.path=value"),
        ("run.id.x=1", "id is not a mapping"),
        ("run.idd=1", "run.idd: unknown key; did you mean id?"),
        ("run.seed=[1", "not valid YAML"),
        ("budget.usd=1", "exactly one of"),
    ],
)
def test_bad_overrides_are_refused(tmp_path: Path, override: str, words: str) -> None:
    """An override that can't be applied says why."""
    with pytest.raises(ConfigError) as caught:
        load_config(_write(tmp_path, job_tree(tmp_path)), [override])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such config file"),
        (b"\xff\xfe\x00", "can't be read"),
        (b"- a\n- b\n", "must be a mapping"),
        (b"", "must be a mapping"),
        (b"run: {id: [", "not valid YAML"),
        (b"run: {id: a}\nrun: {id: b}\n", "run: is written twice"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """What is no config file at all is a ConfigError with the path."""
    path = tmp_path / "job.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [True, True] == [words in str(caught.value), str(path) in str(caught.value)]


def test_a_folder_is_no_config_file(tmp_path: Path) -> None:
    """A folder in place of the file is refused by name."""
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(tmp_path)


OPERATIONAL: list[dict[str, Any]] = [
    {"cluster": {"kind": "local", "workers": 3}},
    {"retry": {"attempts": 9, "max_error_rate": 1}},
    {"endpoints__strong__limits": {"rpm": 5, "concurrency": 3}},
    {"endpoints__weak__timeout_s": 7},
    {"endpoints__strong__api_key": "env:K"},
    {"run__deadline_s": 60},
    {"budget__hard_cap_usd": 3},
    {"budget__on_overrun": "stop"},
]


@pytest.mark.parametrize("changes", OPERATIONAL)
def test_operational_keys_are_no_part_of_a_run(changes: dict[str, Any]) -> None:
    """The operational keys may change between a run and its resume."""
    assert identity(job_config(HERE)) == identity(job_config(HERE, **changes))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"run__seed": 1}, "run.seed"),
        ({"input__shard_rows": 9}, "input.shard_rows"),
        ({"input__keep": ["x"]}, "input.keep"),
        ({"budget__strong_share": Decimal("0.3")}, "budget.strong_share"),
        ({"endpoints__strong__model": "x"}, "endpoints.strong.model"),
        ({"endpoints__weak__price__input": 9}, "endpoints.weak.price.input"),
        (
            {"endpoints__strong__params": {"max_completion_tokens": 33}},
            "endpoints.strong.params.max_completion_tokens",
        ),
        ({"endpoints__strong__base_url": "http://localhost:1/v1"}, "endpoints.strong.base_url"),
        ({"router__name": "random"}, "router.name"),
        ({"label": {"values": ["a"]}}, "label.values"),
    ],
)
def test_all_other_keys_are(changes: dict[str, Any], key: str) -> None:
    """Any other change shows in the identity under its own dotted name."""
    before, after = identity(job_config(HERE)), identity(job_config(HERE, **changes))
    assert key in {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_identity_holds_no_key_of_an_endpoint() -> None:
    """What says which run a config is of says nothing of keys, not even where they lie."""
    names = identity(job_config(HERE, endpoints__strong__api_key="env:K"))
    assert not [name for name in names if name.startswith("endpoints.") and "key" in name]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("endpoints.strong.model", "strong"),
        ("endpoints.weak.base_url", "weak"),
        ("endpoints.judge.params.max_completion_tokens", "judge"),
        ("endpoints.judge.params", "judge"),
        ("endpoints.strong.model_family", None),
        ("endpoints.strong.price.input", None),
        ("endpoints.strong.kind", None),
        ("router.model", None),
    ],
)
def test_an_endpoint_may_be_another_before_it_answers(key: str, name: str | None) -> None:
    """URL, model and params belong to their endpoint and take no part in finding a run; any other key does."""
    assert name == changed_endpoint(key)
    assert ({} if name else {key: 1}) == without_models({key: 1})


def test_an_older_identity_is_read_without_what_may_change_now() -> None:
    """An identity that was stored with the reference of a key equals today's, which has none."""
    now = identity(job_config(HERE))
    assert now == lasting({**now, "endpoints.strong.api_key": None, "endpoints.weak.limits.rpm": 3})


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ({"params": {"max_completion_tokens": 100}}, (100, 50)),
        ({"params": {"max_tokens": 100}}, (100, 50)),
        ({"params": {}}, (None, 256)),
        ({"params": {"max_completion_tokens": 100}, "estimate": {"output_tokens": 80}}, (100, 80)),
        ({"params": {"max_completion_tokens": 100}, "estimate": {"output_tokens": 800}}, (100, 100)),
        ({"params": {"max_completion_tokens": 1}}, (1, 1)),
        ({"params": {"max_completion_tokens": 10, "max_tokens": 100}}, (100, 50)),
        ({"params": {"max_completion_tokens": 100, "max_tokens": None}}, (100, 50)),
    ],
)
def test_expected_answer_lengths(end: dict[str, Any], expected: tuple[int | None, int]) -> None:
    """Planning expects what is configured, else half the maximum, never more than the maximum."""
    found = job_config(
        HERE, **{f"endpoints__strong__{key}": value for key, value in end.items()}
    ).endpoints.strong
    assert expected == (found.max_output_tokens, found.expected_output_tokens)


def test_a_simulated_end_is_expected_to_answer_at_its_mean() -> None:
    """For a made-up model the mean is known."""
    config = job_config(HERE, endpoints__weak={**SIMULATED, "simulate": {"output_tokens": 77}})
    assert config.endpoints.weak.expected_output_tokens == 77


@pytest.mark.parametrize("value", [0, -1, True, "many"])
def test_a_maximum_must_be_a_whole_number(value: Any) -> None:
    """A maximum that no endpoint would honour can't bound a cost, so it is refused under a cap."""
    text = _problem(budget__hard_cap_usd=1, endpoints__strong__params={"max_completion_tokens": value})
    assert "max_completion_tokens" in text


def test_a_label_schema_is_plain_json() -> None:
    """Fractions of the YAML are JSON numbers in a schema, which goes to the model as text."""
    config = job_config(HERE, label={"schema": {"type": "number", "multipleOf": Decimal("0.5")}})
    assert config.label is not None
    assert json.dumps(config.label.schema_) == '{"type": "number", "multipleOf": 0.5}'
