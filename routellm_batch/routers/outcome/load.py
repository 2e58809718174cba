"""Load the outcome router: two heads that were shipped or trained, or the blend that a pilot fitted."""

from __future__ import annotations

from routellm_batch.core.protocols import Router
from routellm_batch.routers.checkpoint import load_tensors
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.router import OutcomeRouter
from routellm_batch.routers.outcome.weights import BLEND, load_heads
from routellm_batch.routers.settings import RouterSettings

DEFAULT_CHECKPOINT = "builtin:outcome-v2"


class OutcomeLoader:
    """Loads the router that a checkpoint of ``outcome`` holds: two heads, or a pilot's blend."""

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Router:
        """Return the router of the checkpoint, ``builtin:outcome-v2`` where none is named.

        Raises:
            CheckpointError: its weights are absent, damaged, not finite, or made for another embedder.
            ConfigError: there is no such embedder, or an option is given.

        """
        settings.refuse_options(OutcomeRouter.name)
        embedder = get_embedder(settings.embedder)
        location = settings.checkpoint or DEFAULT_CHECKPOINT
        fields, tensors = load_tensors(location, OutcomeRouter.name, embedder)
        if fields.get("kind") == BLEND:
            from routellm_batch.routers.outcome.blend.weights import load_blend  # Two heads don't need it.

            return load_blend(location, fields, tensors, embedder)
        return load_heads(location, fields, tensors, embedder)
