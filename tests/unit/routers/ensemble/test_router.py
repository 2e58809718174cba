"""The ensemble and its trainer: what may be a member, how texts are read once, what training writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from routellm_batch.core.errors import CheckpointError, ConfigError
from routellm_batch.core.protocols import Embedder
from routellm_batch.core.types import PromptBatch
from routellm_batch.routers import make_router
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.ensemble.router import EnsembleRouter, Member, SharedEmbedder
from routellm_batch.routers.training import TrainRequest, train

LENGTH = {"router": "length", "mean": 0.0, "deviation": 1.0}
REMOTE = {"name": "remote", "model": "m", "base_url": "http://127.0.0.1:9/v1", "price": {"input": 0.02}}


class CountingEmbedder:
    """An ``Embedder`` that counts its calls."""

    name, width, fingerprint = "counting", 2, "0"

    def __init__(self) -> None:
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how long each text is, and 1."""
        self.calls += 1
        return np.array([[len(text), 1] for text in texts], dtype=np.float32).reshape(-1, 2)


@dataclass(frozen=True)
class FirstNumber:
    """A ``Router`` that scores by the first number of an embedding."""

    embedder: Embedder
    name = "first_number"

    def score(self, batch: PromptBatch) -> NDArray[np.float32]:
        """Return float32 [B]."""
        return self.embedder.embed(batch.texts)[:, 0]


def outcomes(path: Path, **columns: Any) -> str:
    """Write outcomes: the strong model gains where the prompt is long."""
    prompts = [f"Say {'very ' * n}good." for n in range(60)]
    table = {
        "prompt": prompts,
        "strong_score": [1.0] * 60,
        "weak_score": [1 - n / 60 for n in range(60)],
        **columns,
    }
    pq.write_table(pa.table(table), path)
    return str(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": []}, "members: is empty"),
        ({"members": [{**LENGTH, "router": "ensemble"}]}, "an ensemble can't be a member of an ensemble"),
        ({"members": [{**LENGTH, "router": "lenght"}]}, "router.options.members"),
        ({"members": [{"router": "length"}]}, r"members\.0\.mean: is missing"),
        ({"members": [{**LENGTH, "deviation": 0}]}, r"members\.0\.deviation: must be above 0"),
        ({"members": [{**LENGTH, "weight": float("nan")}]}, r"members\.0\.weight: .*finite"),
        ({"members": [{**LENGTH, "checkpoint": "builtin:knn-v1"}]}, "router 'length' has no weights"),
        ({"members": [{**LENGTH, "router": "knn", "options": {"k": 0}}]}, "k: must be 1 or more"),
        ({"members": [{**LENGTH, "embedder": REMOTE}]}, "member 'length' has a remote embedder of its own"),
        ({"weights": [1]}, "weights: is no option of router 'ensemble'; there are: members"),
    ],
    ids=[
        "empty",
        "recursion",
        "unknown",
        "mean",
        "deviation",
        "nan",
        "weights",
        "options",
        "paid",
        "option",
    ],
)
def test_bad_members_are_refused(options: dict[str, Any], message: str) -> None:
    """The error names the option and what is wrong with it."""
    with pytest.raises(ConfigError, match=message):
        make_router("ensemble", options=options)


def test_members_come_from_one_place(tmp_path: Path) -> None:
    """A checkpoint and members of the options at once are refused."""
    with pytest.raises(ConfigError, match=r"either a checkpoint or options\.members"):
        make_router("ensemble", checkpoint=str(tmp_path), options={"members": [LENGTH]})


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, r"holds no router\.json"),
        ("{", "is not the manifest of an ensemble"),
        ('{"format": 1, "router": "knn"}', "is no ensemble of format 1, but 'knn'"),
        ('{"format": 1, "router": "ensemble", "members": [{"router": "length"}]}', "is not the manifest"),
    ],
    ids=["none", "damaged", "another", "field"],
)
def test_a_bad_manifest_is_refused(tmp_path: Path, manifest: str | None, message: str) -> None:
    """The error names the folder and the file."""
    if manifest is not None:
        (tmp_path / "router.json").write_text(manifest)
    with pytest.raises(CheckpointError, match=message) as caught:
        make_router("ensemble", checkpoint=str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_manifest_chooses_no_paid_embedder(tmp_path: Path) -> None:
    """A downloaded manifest can't name an endpoint that texts and a key would be sent to."""
    manifest = {"format": 1, "router": "ensemble", "members": [{**LENGTH, "embedder": REMOTE}]}
    (tmp_path / "router.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="remote embedder of its own"):
        make_router("ensemble", checkpoint=str(tmp_path))


def test_members_share_what_is_read() -> None:
    """Members on one embedder read a batch once together, and the next batch anew."""
    inner = CountingEmbedder()
    shared = SharedEmbedder(inner)
    member = Member(router="first_number", mean=0, deviation=100)
    router = EnsembleRouter([(member, FirstNumber(shared)), (member, FirstNumber(shared))], [shared])
    batch = PromptBatch([0, 1], ["Hi", "Hello"])
    expected = 1 / (1 + np.exp(-np.array([0.04, 0.1])))
    assert np.abs(router.score(batch) - expected).max() < 1e-6
    assert inner.calls == 1
    router.score(batch)
    assert inner.calls == 2


def test_made_members_share_the_embedder() -> None:
    """The shipped ensemble's outcome and knn read through one shared embedder; length reads through none."""
    router = make_router("ensemble")
    assert isinstance(router, EnsembleRouter)
    readers = [getattr(one, "embedder", None) for _, one in router.members]
    assert readers == [router.embedders[0], router.embedders[0], None]
    assert router.embedders[0].fingerprint == get_embedder("static").fingerprint


def test_a_score_that_is_no_number_is_an_error() -> None:
    """A member that fails is not passed over."""

    class Broken:
        name = "broken"

        def score(self, batch: PromptBatch) -> NDArray[np.float32]:
            return np.full(len(batch.texts), np.nan, dtype=np.float32)

    router = EnsembleRouter([(Member(router="broken", mean=0, deviation=1), Broken())])
    with pytest.raises(CheckpointError, match="a score that is not a number; a member is unusable"):
        router.score(PromptBatch([0], ["Hi"]))


def test_training_measures_the_members(tmp_path: Path) -> None:
    """Means and deviations are those of the transformed scores on training rows, and the router loads them."""
    split = ["dev" if n % 3 == 0 else "train" for n in range(60)]
    request = TrainRequest(
        [outcomes(tmp_path / "o.parquet", split=split)],
        str(tmp_path / "out"),
        options={"members": [{"router": "length", "transform": "log"}, {"router": "knn"}]},
    )
    train(request, router="ensemble")
    members = json.loads((tmp_path / "out" / "router.json").read_text())["members"]
    logs = np.log([(len("Say good.") + 5 * n) / 2**21 for n in range(60) if n % 3])
    assert members[0]["mean"] == pytest.approx(logs.mean(), abs=1e-5)
    assert members[0]["deviation"] == pytest.approx(logs.std(), abs=1e-5)
    scores = make_router("ensemble", checkpoint=str(tmp_path / "out")).score(
        PromptBatch([0, 1], ["Say good.", "Say " + "very " * 50 + "good."])
    )
    assert scores[0] < scores[1]
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()


def test_weights_are_chosen_on_rows_held_out(tmp_path: Path) -> None:
    """A member that ranks the rows held out backwards gets nothing; training rows have no say."""
    split = ["dev" if n % 3 == 0 else "train" for n in range(60)]
    weak = [1 - n / 60 if n % 3 == 0 else n / 60 for n in range(60)]
    request = TrainRequest(
        [outcomes(tmp_path / "o.parquet", split=split, weak_score=weak)],
        str(tmp_path / "out"),
        options={"members": [{"router": "length"}, {"router": "random"}]},
    )
    train(request, router="ensemble")
    members = json.loads((tmp_path / "out" / "router.json").read_text())["members"]
    assert [m.get("weight", 1.0) for m in members] == [1.0, 0.0]


def test_given_weights_are_kept(tmp_path: Path) -> None:
    """Where every member has a weight, none is chosen."""
    given = [{"router": "length", "weight": 0.3}, {"router": "knn", "weight": 2.0}]
    request = TrainRequest(
        [outcomes(tmp_path / "o.parquet")], str(tmp_path / "out"), options={"members": given}
    )
    train(request, router="ensemble")
    members = json.loads((tmp_path / "out" / "router.json").read_text())["members"]
    assert [m["weight"] for m in members] == [0.3, 2.0]


@pytest.mark.parametrize(
    ("columns", "members", "message"),
    [
        ({}, [], "members: must hold at least 1 item"),
        ({}, [{"checkpoint": "builtin:knn-v1"}], "option members: a member has router"),
        ({}, [{"router": "ensemble"}], "an ensemble can't be a member"),
        ({"prompt": ["Same"] * 60}, [{"router": "length"}], "'length' gives every prompt the same score"),
    ],
    ids=["empty", "router", "recursion", "constant"],
)
def test_bad_training_is_refused(
    tmp_path: Path, columns: dict[str, Any], members: list[dict[str, Any]], message: str
) -> None:
    """The error names the option, or the member that tells no prompts apart."""
    file = outcomes(tmp_path / "o.parquet", **columns)
    with pytest.raises(ConfigError, match=message):
        train(TrainRequest([file], str(tmp_path / "out"), options={"members": members}), router="ensemble")
