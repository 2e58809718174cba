"""The device that runs a model, and the precision of its weights."""

from __future__ import annotations

import torch

from routellm_batch.core.errors import ConfigError


def choose_device(asked: str, *, key: str) -> torch.device:
    """Return the device of a setting: ``auto`` is the GPU where there is one.

    Args:
        asked: ``auto``, ``cpu`` or ``cuda``.
        key: the config key, for errors.

    Raises:
        ConfigError: ``cuda`` is asked for and there is none.

    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            key, "is cuda, and this process sees no GPU; use auto or cpu, or start it where a GPU is"
        )
    return torch.device("cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu")


def choose_dtype(asked: str, device: torch.device) -> torch.dtype:
    """Return the dtype of weights: ``auto`` is bfloat16 on a GPU and float32 on a CPU.

    Args:
        asked: ``auto``, ``float32`` or ``bfloat16``.
        device: the device that runs the model.

    """
    if asked == "bfloat16" or (asked == "auto" and device.type == "cuda"):
        return torch.bfloat16
    return torch.float32
