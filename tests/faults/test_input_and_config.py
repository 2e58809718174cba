"""Rows 21, 22, 23, 25 and 26 of the fault matrix: bad input, too little memory, lost weights, a changed config."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.lab import END_S, MARK, REPO, WORD, Lab, texts
from helpers.oracle import answers, check_accounted, check_every_row_once, check_same, invalid
from helpers.patience import wait_for
from helpers.programs import kill

Rows = list[dict[str, Any]]


def refused(lab: Lab, *words: str, **changes: Any) -> None:
    """Check that the job leaves with exit 2 and these words, without a call."""
    before = lab.settled_requests()
    said = lab.finish(2, **changes).said
    assert ([], False) == ([word for word in words if word not in said], "Traceback" in said)
    assert before == lab.requests()


def test_row_21_damaged_input(lab: Lab) -> None:
    """Damage inside a file is found while scoring and named with the file; nothing is called."""
    lab.serve()
    path = lab.folder / "in.parquet"
    data = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(0).column(1).data_page_offset
    data[start + 5 : start + 400] = bytes(395)
    path.write_bytes(data)
    refused(lab, "in.parquet", "damaged")


def test_row_21_missing_column(lab: Lab) -> None:
    """A column that is not there is named, with those that are."""
    lab.serve()
    pq.write_table(pa.table({"id": lab.ids, "text": texts()}), lab.folder / "in.parquet")
    refused(lab, "in.parquet", "prompt", "text")


def test_row_21_file_changed_after_the_start(lab: Lab) -> None:
    """A file that was rewritten since the run began is refused by name; put back, the run goes on."""
    lab.serve(latency_ms=60)
    job = lab.start()
    lab.wait_for_bills(20, job)
    job.close()
    before = (lab.folder / "in.parquet").read_bytes()
    lab.write_input([f"{text}!" for text in texts()])
    refused(lab, "in.parquet", "the input changed since the run began")
    (lab.folder / "in.parquet").write_bytes(before)
    lab.finish()
    check_every_row_once(lab.run, lab.ids)


def test_row_22_rows_that_are_no_prompts(lab: Lab) -> None:
    """Null, empty, oversized, undecodable and unscorable rows are counted by kind; the share is of the valid rows."""
    bad = {3: None, 5: b" \n", 8: b"x" * 10_000_000, 13: b"\xff\xfe\x00a", 21: f"{MARK} {WORD}".encode()}
    prompts = [bad.get(n, text.encode()) for n, text in enumerate(texts(100))]
    pq.write_table(
        pa.table({"id": [f"r{n:04d}" for n in range(100)], "prompt": pa.array(prompts, pa.binary())}),
        lab.folder / "in.parquet",
    )
    lab.env["FAULTS"] = "no_score"
    lab.serve(latency_ms=5)
    lab.finish()
    check_every_row_once(lab.run, [f"r{n:04d}" for n in range(100)])
    kinds = {"null_prompt", "empty_prompt", "oversized_prompt", "bad_utf8", "bad_score"}
    assert Counter(kinds) == Counter(row["kind"] for row in invalid(lab.run))
    assert 95 * 25 // 100 == sum(row["route"] == "strong" for row in answers(lab.run))


def test_row_22_duplicate_ids(lab: Lab) -> None:
    """Ids that occur twice stop the run before it spends, and are named."""
    lab.serve()
    lab.write_input(ids=[f"r{n % 238:04d}" for n in range(240)])
    refused(lab, "r0000", "r0001")


def test_row_23_out_of_memory(lab: Lab) -> None:
    """Batches that are too big are halved; a row that is too big alone goes to ``failed/``, the others are answered."""
    prompts = texts(100)
    prompts[17] = f"{MARK} {WORD}"
    lab.write_input(prompts)
    lab.env["FAULTS"] = "out_of_memory"
    lab.serve(latency_ms=5)
    lab.finish()
    check_every_row_once(lab.run, lab.ids)
    assert ["r0017"] == [row["id"] for row in invalid(lab.run)]


def test_row_25_weights_gone_when_a_worker_restarts(lab: Lab) -> None:
    """A worker that finds no weights scores nothing: the scores are the router's, or the run stops and names them."""
    weights = lab.folder / "weights"
    shutil.copytree(REPO / "routellm_batch" / "weights" / "outcome-v1", weights)
    lab.changes |= {
        "router": {"name": "outcome", "checkpoint": str(weights)},
        "cluster": {"kind": "local", "workers": 2},
    }
    lab.env |= {"FAULTS": "slow_scores", "FAULT_SLOW_S": "0.4"}
    lab.serve(latency_ms=5)
    job = lab.start()
    wait_for(lambda: lab.count("commit/score/*"), 40, "a scored shard")
    weights.rename(lab.folder / "elsewhere")
    kill(job.workers()[0])
    code = job.wait(END_S)
    assert "Traceback" not in job.said
    if code != 0:
        assert (2, True) == (code, "weights" in job.said)
        assert 0 == lab.requests()
        Path(lab.folder / "elsewhere").rename(weights)
        lab.changes["cluster"] = {"kind": "serial"}
        lab.finish()
    check_every_row_once(lab.run, lab.ids)
    check_accounted(lab.run, lab.log, most=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run__seed": 7}, ("run.seed", "was 0", "is 7")),
        ({"endpoints__weak__model": "other"}, ("endpoints.weak.model", "weak-model", "other")),
    ],
)
def test_row_26_config_changed(lab: Lab, undisturbed: Rows, change: dict[str, Any], words: Any) -> None:
    """A run goes on only with the config that it was begun with: the fields that differ are named."""
    lab.serve(latency_ms=60)
    job = lab.start()
    lab.wait_for_bills(20, job)
    job.close()
    refused(lab, *words, **change)
    lab.finish(
        retry={"attempts": 5, "budget": 1},
        budget__hard_cap_usd="2",
        cluster={"kind": "serial", "workers": 1},
        endpoints__weak__timeout_s=9,
    )
    check_every_row_once(lab.run, lab.ids)
    check_same(lab.run, undisturbed)
