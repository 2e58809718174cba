"""Loaded first by every Python process of the product under test: breaks what ``FAULTS`` names.

A module of the product is patched right after its import, so that processes which never import it cost nothing.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec

NAMES = [name for name in os.environ.get("FAULTS", "").split(",") if name]


class PatchAfterImport:
    """Finds a module as usual and has it patched once it is loaded."""

    def __init__(self, module: str, fault: str) -> None:
        self._module = module
        self._fault = fault

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return the module's own spec, its loader extended; None for all other modules."""
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_patch(module: object) -> None:
            import hooks

            load(module)
            getattr(hooks, self._fault)(module)

        spec.loader.exec_module = load_and_patch
        return spec


MODULES = {
    "slow_scores": "routellm_batch.storage.prompts",
    "poison": "routellm_batch.storage.prompts",
    "no_score": "routellm_batch.routers.length",
    "out_of_memory": "routellm_batch.routers.length",
    "storage": "fsspec",
    "clock": "threading",
}
sys.meta_path[:0] = [PatchAfterImport(MODULES[name], name) for name in NAMES]
