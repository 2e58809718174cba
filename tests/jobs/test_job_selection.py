"""Whole jobs on every shape of input: each valid row answered once, and exactly floor(N·share) by the strong model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.jobs import Finished, job_config, prompts, run_job, write_prompts
from helpers.stub import Call, Stub, answering, stub_server

from routellm_batch.storage.prompts import tie_hash


@pytest.fixture
def stub() -> Iterator[Stub]:
    """Both models; tells them apart by the model's name in the body."""
    with stub_server() as server:
        yield server


def finish(folder: Path, stub: Stub, **settings: Any) -> Finished:
    """Run a job whose routes both call the stub, to exit code 0."""
    result = run_job(job_config(folder, strong=stub.base_url, weak=stub.base_url, **settings))
    assert result.exit_code == 0
    return result


def strong_by_sorting(result: Finished, share: Decimal, seed: int = 0) -> list[Any]:
    """Return the ids that should go strong: a full sort by (score, keyed hash of the id)."""
    rows = result.rows
    count = int((share * len(rows)).to_integral_value(ROUND_FLOOR))
    ranked = sorted(rows, key=lambda row: (np.float32(row["score"]), tie_hash(row["id"], seed)), reverse=True)
    return sorted(row["id"] for row in ranked[:count])


def called(stub: Stub, model: str) -> list[str]:
    """Return the prompts that a model got, sorted."""
    return sorted(call.prompt for call in stub.calls if call.body["model"] == model)


@pytest.mark.parametrize("share", ["0", "0.26", "0.29", "0.999", "1"])
@pytest.mark.parametrize(
    ("router", "texts"),
    [
        ("length", prompts(50)),
        ("length", ["same length " + chr(97 + n % 26) + chr(97 + n // 26) for n in range(50)]),
        ("length", ["x" * (n % 3 + 1) + f" {n:02d}" for n in range(50)]),
        ("random", prompts(50)),
    ],
    ids=["distinct", "all-tied", "three-scores", "random"],
)
def test_the_share_is_exact(tmp_path: Path, stub: Stub, router: str, texts: list[str], share: str) -> None:
    """However scores tie, exactly floor(N·share) rows go strong, and they are the highest by (score, hash)."""
    write_prompts(tmp_path / "in.parquet", texts)
    wanted = Decimal(share)
    result = finish(tmp_path, stub, router={"name": router}, budget={"strong_share": wanted}, run__seed=5)
    assert strong_by_sorting(result, wanted, seed=5) == result.strong_ids()
    count = int((wanted * 50).to_integral_value(ROUND_FLOOR))
    assert (count, 50 - count) == (len(called(stub, "strong-model")), len(called(stub, "weak-model")))
    cost = result.cost
    assert (count, count / 50, float(share)) == (
        cost["rows"]["strong"],
        cost["share"]["achieved"],
        cost["share"]["asked"],
    )


def test_invalid_rows_do_not_count(tmp_path: Path, stub: Stub) -> None:
    """The share is of the valid rows: 7 of 10 valid, so floor(7·0.5) = 3 go strong."""
    texts = ["a", None, "bb", "ccc", " ", "dddd", "eeeee", "ffffff", "", "ggggggg"]
    write_prompts(tmp_path / "in.parquet", texts)
    result = finish(tmp_path, stub, budget={"strong_share": Decimal("0.5")})
    assert (7, 3) == (len(result.rows), len(result.strong_ids()))


@pytest.mark.parametrize(
    ("shard_rows", "group_rows"), [(1, 7), (7, 3), (10, 4), (8, 100), (100, 8), (37, 37)]
)
def test_shards_split_and_merge_row_groups(
    tmp_path: Path, stub: Stub, shard_rows: int, group_rows: int
) -> None:
    """Shards cut the rows as configured, whatever the row groups; every id comes out once, with its own columns."""
    write_prompts(tmp_path / "in.parquet", prompts(37), row_group_size=group_rows, n=list(range(37)))
    result = finish(tmp_path, stub, input__shard_rows=shard_rows, input__keep=["n"])
    tables = [
        pq.read_table(pa.BufferReader(result.run.store.read(name)))
        for name in result.objects()
        if "responses/" in name
    ]
    whole, rest = divmod(37, shard_rows)
    assert [*[shard_rows] * whole, *([rest] if rest else [])] == [table.num_rows for table in tables]
    assert [(f"r{n:04d}", n) for n in range(37)] == [(row["id"], row["n"]) for row in result.rows]
    assert sorted(prompts(37)) == sorted(stub.prompts())


def test_the_routing_does_not_depend_on_the_shards(tmp_path: Path, stub: Stub) -> None:
    """The same rows, cut otherwise and spread over files, go the same ways with the same answers."""
    texts, ids = prompts(20), [f"r{n:04d}" for n in range(20)]
    write_prompts(tmp_path / "one" / "in.parquet", texts)
    for part in range(4):
        rows = slice(5 * part, 5 * part + 5)
        write_prompts(tmp_path / "four" / f"p{part}.parquet", texts[rows], ids=ids[rows], row_group_size=2)
    results = [
        finish(tmp_path, stub, source=name, run__id=name, input__shard_rows=rows, router={"name": "random"})
        for name, rows in (("one", 20), ("four", 3))
    ]
    assert [True, True] == [
        results[0].strong_ids() == results[1].strong_ids(),
        {row["request_key"] for row in results[0].rows} == {row["request_key"] for row in results[1].rows},
    ]


def test_folders_skip_hidden_names(tmp_path: Path, stub: Stub) -> None:
    """In a folder, at any depth, names that begin with ``_`` or ``.`` are no input; all others are, in order."""
    for n, name in enumerate(
        ["b.parquet", "deep/er/a.parquet", "_tmp.parquet", ".hid.parquet", "_x/c.parquet", "d/.y/e.parquet"]
    ):
        write_prompts(tmp_path / "in" / name, [f"from file {n}"], ids=[f"id{n}"])
    (tmp_path / "in" / "_SUCCESS").write_text("x")
    result = finish(tmp_path, stub, source="in")
    assert ["id0", "id1"] == [row["id"] for row in result.rows]


@pytest.mark.parametrize("uri", ["in/", "in", "in/part-*.parquet", "in/**/*.parquet", "i?/part-[01].parquet"])
def test_folders_and_globs(tmp_path: Path, stub: Stub, uri: str) -> None:
    """A folder with or without a slash and every kind of glob find the same two files."""
    for n in range(2):
        write_prompts(tmp_path / "in" / f"part-{n}.parquet", [f"from file {n}"], ids=[f"id{n}"])
    assert ["id0", "id1"] == [
        row["id"] for row in finish(tmp_path, stub, input__uri=f"{tmp_path}/{uri}").rows
    ]


def test_a_bare_path_is_relative_to_the_working_folder(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative input and root lie below the current directory."""
    monkeypatch.chdir(tmp_path)
    write_prompts(tmp_path / "data" / "in.parquet", prompts(3))
    finish(tmp_path, stub, input__uri="data/in.parquet", run__root="out")
    assert (tmp_path / "out" / "runs" / "job" / "_SUCCESS").exists()


@pytest.mark.parametrize(
    "name", ["with space", "ümläut", "a#b%20c", "brack[et]s", "que?ry&x=1", "per%cent+plus"]
)
def test_odd_names(tmp_path: Path, stub: Stub, name: str) -> None:
    """Any character of a folder or file name is taken as it is."""
    write_prompts(tmp_path / name / f"{name}.parquet", prompts(5))
    result = finish(
        tmp_path,
        stub,
        source=f"{name}/{name}.parquet",
        run__root=str(tmp_path / f"{name} root"),
        input__shard_rows=2,
    )
    assert 5 == len(result.rows)


CHAT: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "Hello."}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße 👋"}],
    [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ],
]


def as_struct(chats: list[Any]) -> pa.Array:
    return pa.array(chats, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))


def as_json(chats: list[Any]) -> pa.Array:
    return pa.array([json.dumps(chat) for chat in chats])


def _opened(chat: list[Any], system: str | None) -> list[Any]:
    """Return a chat as it goes out with a row's system text."""
    if system is None:
        return chat
    own = chat[0]["role"] == "system"
    text = "\n\n".join([system, *([chat[0]["content"]] if own else [])])
    return [{"role": "system", "content": text}, *(chat[1:] if own else chat)]


@pytest.mark.parametrize("encode", [as_struct, as_json])
@pytest.mark.parametrize("system", [None, "Say yes."])
def test_chats_are_sent_turn_by_turn(tmp_path: Path, stub: Stub, encode: Any, system: str | None) -> None:
    """A chat goes out as it stands, as structs or as JSON text; the system column's text goes first, in one system turn."""
    columns = {"messages": "chat"} | ({"system": "sys"} if system else {})
    write_prompts(tmp_path / "in.parquet", ["-"] * 3, chat=encode(CHAT), sys=[system, system, None])
    finish(tmp_path, stub, input__columns=columns)
    expected = [_opened(chat, first) for chat, first in zip(CHAT, (system, system, None), strict=True)]
    sent = [call.body["messages"] for call in stub.calls]
    assert sorted(expected, key=json.dumps) == sorted(sent, key=json.dumps)


@pytest.mark.parametrize("encode", [as_struct, as_json])
def test_bad_chats_are_invalid_rows(tmp_path: Path, stub: Stub, encode: Any) -> None:
    """A chat that can't be sent is an invalid row, and the good one beside it is answered."""
    bad: list[tuple[Any, str]] = [
        ([], "empty_prompt"),
        ([{"role": "user", "content": " \n"}], "empty_prompt"),
        ([{"role": "system", "content": "Only a system turn."}], "empty_prompt"),
        ([{"role": "robot", "content": "x"}], "bad_messages"),
        ([{"role": "user", "content": None}], "bad_messages"),
        ([{"role": "user", "content": "x" * 300}], "oversized_prompt"),
    ]
    write_prompts(tmp_path / "in.parquet", ["-"] * 7, chat=encode([CHAT[0], *(chat for chat, _ in bad)]))
    result = finish(tmp_path, stub, input__columns={"messages": "chat"}, input__max_prompt_bytes=200)
    assert (["r0000"], [kind for _, kind in bad]) == (
        [row["id"] for row in result.rows],
        [row["kind"].partition(":")[0] for row in result.invalid],
    )
    assert {"bad_messages": 2, "empty_prompt": 3, "oversized_prompt": 1} == result.cost["invalid_rows"]
    assert any("6 invalid (3 empty_prompt, 2 bad_messages, 1 oversized" in line for line in result.lines)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"not JSON", "bad_messages"),
        (b'"text"', "bad_messages"),
        (b"{}", "bad_messages"),
        (b"[1]", "bad_messages"),
        (b"[" * 5000, "bad_messages"),
        (b'[{"role": "user"}]', "bad_messages"),
        (b'[{"role": "user", "content": "\\ud800"}]', "bad_utf8"),
        (b'[{"role": "user", "content": "x", "name": "\\ud800"}]', "bad_utf8"),
        (b'[{"role": "user", "content": "\xff"}]', "bad_utf8"),
        (None, "null_prompt"),
    ],
)
def test_bad_json_chats_are_invalid_rows(tmp_path: Path, stub: Stub, text: bytes | None, kind: str) -> None:
    """JSON text of another shape is an invalid row by kind, and stops nothing."""
    good = json.dumps(CHAT[0]).encode()
    write_prompts(tmp_path / "in.parquet", ["-"] * 2, chat=pa.array([text, good], pa.binary()))
    result = finish(tmp_path, stub, input__columns={"messages": "chat"})
    assert ([kind], ["r0001"]) == (
        [row["kind"].partition(":")[0] for row in result.invalid],
        [row["id"] for row in result.rows],
    )


def test_undecodable_text_inside_a_chat_is_an_invalid_row(tmp_path: Path, stub: Stub) -> None:
    """Bytes that are no UTF-8 deep inside a struct make one invalid row, not a failed run."""
    raw = pa.array([b"good", b"\xff\xfe"], pa.binary())
    content = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    turns = pa.StructArray.from_arrays([pa.array(["user", "user"]), content], ["role", "content"])
    chats = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), turns)
    write_prompts(tmp_path / "in.parquet", ["-"] * 2, chat=chats)
    result = finish(tmp_path, stub, input__columns={"messages": "chat"})
    assert (["r0000"], ["bad_utf8"]) == (
        [row["id"] for row in result.rows],
        [row["kind"] for row in result.invalid],
    )


def test_a_system_column_opens_each_chat(tmp_path: Path, stub: Stub) -> None:
    """A text prompt gets its row's system turn; a null or blank one adds none."""
    write_prompts(tmp_path / "in.parquet", ["a", "b", "c"], sys=["Be brief.", None, "  "])
    finish(tmp_path, stub, input__columns__system="sys")
    by_prompt = {call.prompt: call.body["messages"] for call in stub.calls}
    opening = {"role": "system", "content": "Be brief."}
    assert [[opening], [], []] == [by_prompt[name][:-1] for name in "abc"]


def test_the_body_is_what_the_config_says(tmp_path: Path, stub: Stub) -> None:
    """Model, messages and params as they are, and nothing else."""
    write_prompts(tmp_path / "in.parquet", [" Hi \n"])
    params = {"max_completion_tokens": 7, "temperature": Decimal("0.5"), "response_format": {"type": "text"}}
    finish(tmp_path, stub, budget={"strong_share": 1}, endpoints__strong__params=params)
    message = {"role": "user", "content": " Hi \n"}
    assert {"model": "strong-model", "messages": [message], **params, "temperature": 0.5} == stub.calls[
        0
    ].body


KEPT = {
    "lang": (pa.array(["de", None, "fr", "de"]), ["de", None, "fr", "de"]),
    "coded": (pa.array(["x", "y", None, "x"]).dictionary_encode(), ["x", "y", None, "x"]),
    "when": (pa.array([1, 2, None, 4], pa.timestamp("us", "UTC")), None),
    "price": (pa.array([Decimal("1.10"), None, Decimal(2), Decimal(3)], pa.decimal128(9, 2)), None),
    "tags": (pa.array([["a"], [], None, ["b", "c"]]), [["a"], [], None, ["b", "c"]]),
    "meta": (pa.array([{"a": 1}, None, {"a": 3}, {"a": 4}]), None),
    "flag": (pa.array([True, False, None, True]), None),
}


@pytest.mark.parametrize("groups", [1, 4])
def test_kept_columns_travel_along(tmp_path: Path, stub: Stub, groups: int) -> None:
    """Columns of any type stand beside the answers of their rows, with the type they had."""
    columns = {name: array for name, (array, _) in KEPT.items()}
    write_prompts(tmp_path / "in.parquet", ["a", "bb", "ccc", "dddd"], row_group_size=4 // groups, **columns)
    result = finish(tmp_path, stub, input__keep=[*KEPT, "prompt"], input__shard_rows=3)
    for name, (array, _) in KEPT.items():
        assert array.to_pylist() == [row[name] for row in result.rows]
    assert ["a", "bb", "ccc", "dddd"] == [row["prompt"] for row in result.rows]
    schema = pq.read_schema(pa.BufferReader(result.run.store.read("responses/000000.parquet")))
    assert [array.type for name, (array, _) in KEPT.items() if name != "coded"] == [
        schema.field(name).type for name in KEPT if name != "coded"
    ]


def test_prompts_are_on_the_store_only_where_keep_asks(tmp_path: Path, stub: Stub) -> None:
    """Without ``keep`` no object of the run holds a prompt."""
    write_prompts(tmp_path / "in.parquet", [f"canaryprompt {n}" for n in range(4)])
    result = finish(tmp_path, stub)
    tables = [name for name in result.objects() if name.endswith(".parquet")]
    texts = [str(pq.read_table(pa.BufferReader(result.run.store.read(name))).to_pylist()) for name in tables]
    plain = [result.run.store.read(name).decode() for name in result.objects() if name not in tables]
    assert not [text for text in [*texts, *plain] if "canaryprompt" in text]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([30, -5, 2**62, 0], pa.int64()),
        pa.array([3, 1, 2, 0], pa.int8()),
        pa.array([3, 1, 2, 0], pa.uint64()),
        pa.array(["b", "a", "", "ü"]),
        pa.array(["b", "a", "", "ü"], pa.large_string()),
        pa.array([b"b", b"a", b"", "ü".encode()], pa.binary()),
        pa.array(["b", "a", "c", "d"]).dictionary_encode(),
        pa.array([7, 8, 9, 10], pa.int32()).dictionary_encode(),
    ],
    ids=str,
)
def test_ids_come_back_as_they_were(tmp_path: Path, stub: Stub, ids: pa.Array) -> None:
    """Integer and text ids of any width or encoding identify the rows of the output."""
    write_prompts(tmp_path / "in.parquet", prompts(4), ids=ids)
    result = finish(tmp_path, stub, input__shard_rows=3)
    expected = [i.decode() if isinstance(i, bytes) else i for i in ids.to_pylist()]
    assert expected == [row["id"] for row in result.rows]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()], ids=str
)
def test_prompts_of_every_text_type(tmp_path: Path, stub: Stub, kind: pa.DataType) -> None:
    """A prompt column of any text type is read."""
    write_prompts(tmp_path / "in.parquet", pa.array(["Grüße", "b"]).cast(kind))
    finish(tmp_path, stub)
    assert {"Grüße", "b"} == set(stub.prompts())


def test_dictionary_encoded_prompts_over_row_groups(tmp_path: Path, stub: Stub) -> None:
    """Dictionaries that differ from row group to row group are read right."""
    parts = [
        pa.table({"id": [f"{n}"], "prompt": pa.array([f"text {n}"]).dictionary_encode()}) for n in range(5)
    ]
    with pq.ParquetWriter(tmp_path / "in.parquet", parts[0].schema) as writer:
        for part in parts:
            writer.write_table(part)
    finish(tmp_path, stub, input__shard_rows=3)
    assert [f"text {n}" for n in range(5)] == sorted(stub.prompts())


def test_other_columns_are_not_read(tmp_path: Path, stub: Stub) -> None:
    """A column that nobody asked for may be of any type, under any name."""
    write_prompts(tmp_path / "in.parquet", ["a"], answer=["x"], **{"a.b": [1], "score": [0.5]})
    assert ["An answer."] == [row["answer"] for row in finish(tmp_path, stub).rows]


def test_every_output_column_is_there(tmp_path: Path) -> None:
    """``responses/`` has the columns of the contract, in order, with money as decimal(18,9)."""
    write_prompts(tmp_path / "in.parquet", ["a"], lang=["de"])
    with stub_server(answering("Ja.", input_tokens=11, output_tokens=3)) as stub:
        result = finish(tmp_path, stub, input__keep=["lang"])
    schema = pq.read_schema(pa.BufferReader(result.run.store.read("responses/000000.parquet")))
    names = "id route score model answer finish_reason status error_kind attempts input_tokens cached_input_tokens"
    names += " output_tokens reasoning_tokens cost_usd latency_s request_key lang"
    assert (names.split(), pa.decimal128(18, 9)) == (schema.names, schema.field("cost_usd").type)
    row = result.rows[0]
    expected = {
        "id": "r0000", "route": "weak", "model": "stub-model", "answer": "Ja.", "finish_reason": "stop", "status": "ok",
        "error_kind": None, "attempts": 1, "input_tokens": 11, "cached_input_tokens": 0, "output_tokens": 3,
        "reasoning_tokens": 0, "cost_usd": Decimal("0.000002300"), "request_key": stub.calls[0].key, "lang": "de",
    }  # fmt: skip
    assert expected == {name: row[name] for name in expected}
    assert 0 < row["latency_s"] < 5


@pytest.mark.parametrize(
    "text", ["\u2028line\u2029separators", "nul\x00byte", "a\r\nb\x1e\x85c", "👩‍👩‍👧 ﷽", "x" * 100_000]
)
def test_answers_are_stored_as_they_came(tmp_path: Path, text: str) -> None:
    """No character of an answer is lost on its way through ledger and output."""
    write_prompts(tmp_path / "in.parquet", prompts(3))
    with stub_server(answering(text)) as stub:
        result = finish(tmp_path, stub)
    assert [text] * 3 == [row["answer"] for row in result.rows]


def test_request_keys_name_endpoint_and_body(tmp_path: Path) -> None:
    """The same prompt has another key under another URL, model, parameter or system turn, and the same key otherwise."""
    write_prompts(tmp_path / "in.parquet", ["a"], sys=["Be brief."])

    def key(name: str, **settings: Any) -> str:
        changed = {"budget": {"strong_share": 1}, "run__id": name, **settings}
        return str(finish(tmp_path, stub, **changed).rows[0]["request_key"])

    with stub_server() as stub, stub_server() as other:
        keys = [
            key("plain"),
            key("model", endpoints__strong__model="x"),
            key("params", endpoints__strong__params={"max_completion_tokens": 32, "seed": 1}),
            key("system", input__columns__system="sys"),
            key("url", endpoints__strong__base_url=other.base_url),
        ]
        again = key(
            "again", endpoints__strong__timeout_s=9, endpoints__strong__price={"input": 9, "output": 9}
        )
    assert (5, True) == (len(set(keys)), again == keys[0])


def test_the_reply_does_not_depend_on_the_order(tmp_path: Path) -> None:
    """Answers find their rows whatever order they come in."""
    write_prompts(tmp_path / "in.parquet", prompts(30))

    def late_first(call: Call) -> Any:
        return answering(call.prompt[::-1], delay_s=0.1 if call.number < 10 else 0)(call)

    with stub_server(late_first) as stub:
        result = finish(tmp_path, stub)
    assert [text[::-1] for text in prompts(30)] == [row["answer"] for row in result.rows]
