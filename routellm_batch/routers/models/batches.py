"""Micro-batches of tokenised texts: sorted by length, bounded in tokens, halved when memory runs out.

Padding is work for nothing, so texts of like length go together; the next micro-batch is tokenised and padded by the
caller's own thread while this one computes (``ahead``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")

SMALLEST = 1
"""Texts in a micro-batch that can't be halved any more."""


def by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of micro-batches, longest first, each with texts · longest ≤ ``batch_tokens``.

    A text longer than that is a micro-batch of its own. The longest go first, so that memory runs out at once or
    not at all.

    Args:
        lengths: tokens of each of B texts.
        batch_tokens: bound on tokens of a micro-batch, padding included.

    """
    batch: list[int] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda n: (-lengths[n], n)):
        longest = max(longest, lengths[index])
        if batch and longest * (len(batch) + 1) > batch_tokens:
            yield batch
            batch, longest = [], lengths[index]
        batch.append(index)
    if batch:
        yield batch


def halving(compute: Callable[[list[int]], torch.Tensor], batch: list[int]) -> torch.Tensor:
    """Return ``compute(batch)`` [len(batch), …]; where the GPU's memory runs out, that of its halves, joined.

    Raises:
        MemoryError: one text alone is too much.

    """
    try:
        return compute(batch)
    except torch.OutOfMemoryError:
        pass
    if len(batch) <= SMALLEST:
        raise MemoryError
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    return torch.cat([halving(compute, batch[:middle]), halving(compute, batch[middle:])])


def ahead(prepare: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Yield ``prepare(item)`` for each item, in order, the next one being prepared while this one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="routellm-tokenise") as thread:
        waiting = None
        for item in items:
            coming = thread.submit(prepare, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
