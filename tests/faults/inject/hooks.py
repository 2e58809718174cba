"""How each fault of ``FAULTS`` is brought about; the environment says when and on what."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

MARK = "MARKED"
"""Text of the prompts that a fault is meant for."""


def _scoring() -> bool:
    """Say whether the run is not planned yet."""
    return not Path(os.environ["FAULT_PLAN"]).exists()


def slow_scores(rows: ModuleType) -> None:
    """Let each shard take some time to score."""
    decode = rows.decode_prompts

    def slowly(*args: Any) -> Any:
        if _scoring():
            time.sleep(float(os.environ["FAULT_SLOW_S"]))
        return decode(*args)

    rows.decode_prompts = slowly


def poison(rows: ModuleType) -> None:
    """Let a marked prompt end its process, as a fault in native code does."""
    decode = rows.decode_prompts

    def deadly(*args: Any) -> Any:
        prompts = decode(*args)
        phase = "score" if _scoring() else "call"
        if phase == os.environ["FAULT_PHASE"] and any(MARK in getattr(p, "text", "") for p in prompts):
            ctypes.string_at(0)
        return prompts

    rows.decode_prompts = deadly


def no_score(length: ModuleType) -> None:
    """Let the router return NaN for marked prompts."""
    score = length.LengthRouter.score

    def scored(self: Any, batch: Any) -> Any:
        found = score(self, batch)
        found[[MARK in text for text in batch.texts]] = float("nan")
        return found

    length.LengthRouter.score = scored


def out_of_memory(length: ModuleType) -> None:
    """Let more than four prompts, or a marked one alone, be too many for the memory."""
    score = length.LengthRouter.score

    def scored(self: Any, batch: Any) -> Any:
        if len(batch.texts) > 4 or any(MARK in text for text in batch.texts):
            raise MemoryError
        return score(self, batch)

    length.LengthRouter.score = scored


def storage(fsspec: ModuleType) -> None:
    """Make ``faulty://`` a protocol."""
    fsspec.register_implementation("faulty", "faulty_fs.FaultyFileSystem")


def clock(_threading: ModuleType) -> None:
    """Let the wall clock of this process be wrong."""
    now, now_ns, wrong_s = time.time, time.time_ns, int(os.environ["FAULT_CLOCK_S"])
    time.time = lambda: now() + wrong_s
    time.time_ns = lambda: now_ns() + wrong_s * 10**9
