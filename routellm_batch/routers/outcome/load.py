"""Loading the outcome router: shipped or trained heads, or what a pilot fitted."""

from __future__ import annotations

from routellm_batch.core.protocols import Router
from routellm_batch.routers.checkpoint import load_tensors
from routellm_batch.routers.embedders import get_embedder
from routellm_batch.routers.outcome.blend.weights import KIND, load_blend
from routellm_batch.routers.outcome.weights import load_heads
from routellm_batch.routers.settings import RouterSettings

DEFAULT_CHECKPOINT = "builtin:outcome-v2"


class Outcome:
    """Makes the router that a checkpoint of ``outcome`` holds."""

    @classmethod
    def from_settings(cls, settings: RouterSettings) -> Router:
        """Load its weights.

        Raises:
            CheckpointError: they are absent, damaged, not finite, or made for another embedder.
            ConfigError: there is no such embedder, or an option is given.

        """
        settings.refuse_options("outcome")
        embedder = get_embedder(settings.embedder)
        location = settings.checkpoint or DEFAULT_CHECKPOINT
        fields, tensors = load_tensors(location, "outcome", embedder)
        load = load_blend if fields.get("kind") == KIND else load_heads
        return load(location, fields, tensors, embedder)
