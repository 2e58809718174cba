"""Which processes may still call for a start that is over."""

from __future__ import annotations

import json

from helpers.sim.store import MemoryStore

from routellm_batch.storage.ledger.epoch import add_caller, earlier_callers, end
from routellm_batch.storage.ledger.liveness import myself


def test_processes_of_starts_that_did_not_end_may_still_call() -> None:
    """Not those of a start that ended or is to come, and none that is known to be dead."""
    store = MemoryStore("memory://run")
    for epoch, name in ((1, "aa"), (2, "bb"), (4, "cc")):
        add_caller(store, epoch, name)
    dead = json.dumps({**myself(), "started": -1.0}).encode()
    store.create("epoch/000002.pdd.json", dead)
    end(store, 1)
    assert {"bb": myself()} == earlier_callers(store, 3)
