"""Loading a Llama and proving that its weights are all there."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from routellm_batch.core.errors import CheckpointError

CONFIG_FILE = "config.json"


def read_config(folder: Path, location: str) -> LlamaConfig:
    """Read the shape of a model.

    Raises:
        CheckpointError: there is no ``config.json``, or it is not a Llama's.

    """
    path = folder / CONFIG_FILE
    try:
        fields = json.loads(path.read_bytes())
        kind = fields.get("model_type")
    except FileNotFoundError:
        raise CheckpointError(f"{location}: holds no {CONFIG_FILE}; is it a folder of weights?") from None
    except (ValueError, AttributeError):
        raise CheckpointError(f"{location}: {CONFIG_FILE} is damaged; fetch it again") from None
    if kind != "llama":
        raise CheckpointError(f"{location}: {CONFIG_FILE} says model_type {kind!r}; causal_llm reads 'llama'")
    try:
        return LlamaConfig.from_dict(fields)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{location}: {CONFIG_FILE}: {type(error).__name__}: {error}") from None


def load_llama(
    folder: Path, location: str, config: LlamaConfig, *, dtype: torch.dtype, device: torch.device
) -> LlamaForCausalLM:
    """Load ``model.safetensors``, whole or in shards, with no tensor missing, of another shape, or not finite.

    Raises:
        CheckpointError: any of that, or a damaged file; the tensor or file is named.

    """
    logging.disable_progress_bar()
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # What it would warn of is refused below.
    try:
        model, report = LlamaForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (SafetensorError, ImportError, OSError, RuntimeError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{location}: its weights can't be loaded ({first})") from None
    finally:
        logging.set_verbosity(before)
    for problem, names in (("is missing", "missing_keys"), ("has another shape", "mismatched_keys")):
        # The library fills such tensors at random and goes on.
        for name in sorted(map(str, report[names])):
            raise CheckpointError(f"{location}: tensor {name} {problem}; fetch or train the weights again")
    model = model.to(device)
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{location}: a weight of {name} is not finite")
    return model.eval().requires_grad_(requires_grad=False)
