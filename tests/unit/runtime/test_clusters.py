"""The kinds of cluster that a config may name are those that can be opened."""

from __future__ import annotations

from typing import get_args

from routellm_batch.config.cluster import ClusterConfig
from routellm_batch.runtime import KINDS


def test_a_config_may_name_every_kind_and_no_other() -> None:
    """The config's list of kinds and the table of runners agree."""
    assert sorted(KINDS) == sorted(get_args(ClusterConfig.model_fields["kind"].annotation))
