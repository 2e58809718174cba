"""Micro-batches of tokenised texts: sorted by length, bounded in tokens, halved when memory runs out.

Padding is wasted work, so texts of similar length go through a model together, and the next texts are tokenised while the
model computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")

CHUNK_TEXTS = 512
"""Texts that are tokenised at once, while those before them are computed."""
BATCH_TOKENS = {"cpu": 512, "cuda": 65_536}
"""Kind of device → tokens in a micro-batch of an encoder, padding included, where the config does not say.

On a CPU the bound is small, so that the work stays in the processor's cache.
"""
SMALLEST = 1
"""Texts in a micro-batch that can't be halved any more."""


def token_batches(
    texts: Sequence[str], encode: Callable[[Sequence[str]], Sequence[Sequence[int]]], batch_tokens: int
) -> Iterator[tuple[list[int], list[Sequence[int]]]]:
    """Yield (indices, token ids) of micro-batches of B texts, roughly the longest first; each text is in one of them.

    Texts are sorted by their characters and tokenised chunk by chunk, one chunk ahead, so that a chunk packs as well as all
    texts together would; within a chunk they are sorted by their tokens.

    Args:
        texts: length B.
        encode: texts → token ids of each; called in a thread of its own.
        batch_tokens: bound on tokens of a micro-batch, padding included.

    """
    order = sorted(range(len(texts)), key=lambda n: (-len(texts[n]), n))
    chunks = [order[start : start + CHUNK_TEXTS] for start in range(0, len(order), CHUNK_TEXTS)]
    encoded = ahead(lambda chunk: encode([texts[n] for n in chunk]), chunks)
    for chunk, rows in zip(chunks, encoded, strict=True):
        for batch in by_length([len(row) for row in rows], batch_tokens):
            yield [chunk[n] for n in batch], [rows[n] for n in batch]


def by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield the indices of micro-batches, longest first, each with texts · longest ≤ ``batch_tokens``.

    A text longer than that is a micro-batch of its own. The longest go first, so that memory runs out at once or not at
    all.

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
    """Return ``compute(batch)`` [len(batch), …]; where the GPU's memory runs out, the joined results of its halves.

    Args:
        compute: indices → one row of results for each.
        batch: the indices.

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
    """Yield ``prepare(item)`` for each item, in order; a thread prepares the next one while this one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="routellm-tokenise") as thread:
        current = None
        for item in items:
            following = thread.submit(prepare, item)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()
