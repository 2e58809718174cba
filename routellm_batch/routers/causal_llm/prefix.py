"""The prefix that every row of every batch begins with, computed once.

Its keys and values [1, heads, P, width], P tokens, are kept and never changed: each forward pass joins them, as views that
cost no memory, with those of its own tokens. (Prefix caching, as in vLLM and SGLang.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache, LlamaForCausalLM
from transformers.cache_utils import DynamicLayer


class PrefixLayer(DynamicLayer):  # type: ignore[misc]
    """One decoder layer's keys and values of the prefix.

    Args:
        keys: [1, heads, P, width].
        values: of the same shape.

    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: object, **_kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and values of the prefix and B rows' own tokens, [B, heads, P + T, width] each; store nothing."""
        return _joined(self.keys, key_states), _joined(self.values, value_states)


def _joined(prefix: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    return torch.cat([prefix.expand(own.shape[0], -1, -1, -1), own], dim=-2)


def prefix_cache(model: LlamaForCausalLM, ids: Sequence[int]) -> Cache:
    """Return a cache that holds the prefix and stores nothing else.

    Args:
        model: a Llama.
        ids: token ids of the prefix.

    """
    filled = DynamicCache(config=model.config)
    with torch.inference_mode():
        model.model(
            input_ids=torch.tensor([[*ids]], device=model.device), past_key_values=filled, use_cache=True
        )
    return Cache(layers=[PrefixLayer(layer.keys, layer.values) for layer in filled.layers])


def last_states(
    model: LlamaForCausalLM, rows: Sequence[Sequence[int]], prefix: Cache | None, prefix_ids: Sequence[int]
) -> torch.Tensor:
    """Return the hidden state of each row's last token, [B, D] of the model's dtype, from one forward pass.

    Rows are padded on the right. A token does not attend to what is right of it, so padding changes nothing before it, and
    all rows have the same mask: token t attends to the whole prefix and to its own row's tokens up to t.

    Args:
        model: a Llama.
        rows: token ids of each of B rows, without the prefix.
        prefix: the cache of the prefix; None: compute the prefix with each row.
        prefix_ids: token ids of the prefix.

    """
    device = model.device
    whole = rows if prefix is not None else [[*prefix_ids, *row] for row in rows]
    start = len(prefix_ids) if prefix is not None else 0
    longest = max(map(len, whole))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in whole]).to(device, non_blocking=True)
    last = torch.tensor([len(row) - 1 for row in whole]).to(device, non_blocking=True)
    seen = (
        torch.ones(longest, start + longest, dtype=torch.bool, device=device).tril(start) if start else None
    )
    states = model.model(
        input_ids=ids,
        attention_mask=None if seen is None else seen[None, None],  # [1, 1, T, P + T]
        position_ids=torch.arange(start, start + longest, device=device)[None],
        past_key_values=prefix,
        use_cache=prefix is not None,
    ).last_hidden_state  # [B, T, D]
    return states[torch.arange(len(rows), device=device), last]
