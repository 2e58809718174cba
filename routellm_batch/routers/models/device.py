"""The device that runs a model, and the precision of its weights."""

from __future__ import annotations

import torch

from routellm_batch.core.errors import ConfigError


def choose_device(setting: str, *, key: str) -> torch.device:
    """Return the device of a setting: ``auto`` is the GPU where there is one.

    Args:
        setting: ``auto``, ``cpu`` or ``cuda``.
        key: the config key, for errors.

    Raises:
        ConfigError: the setting is ``cuda`` and there is no GPU.

    """
    if setting == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            key, "is cuda, and this process sees no GPU; use auto or cpu, or start it where a GPU is"
        )
    return torch.device("cuda" if setting != "cpu" and torch.cuda.is_available() else "cpu")


def choose_dtype(setting: str, device: torch.device) -> torch.dtype:
    """Return the dtype of weights: ``auto`` is bfloat16 on a GPU and float32 on a CPU.

    Args:
        setting: ``auto``, ``float32`` or ``bfloat16``.
        device: the device that runs the model.

    """
    if setting == "bfloat16" or (setting == "auto" and device.type == "cuda"):
        return torch.bfloat16
    return torch.float32
