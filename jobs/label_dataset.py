"""Label a dataset: answers must be one of a few labels, or JSON that holds to a schema.

    python jobs/label_dataset.py configs/label_reviews.yaml run.root=out

An answer that is no label is shown to the model again, with what is wrong, `label.reask` times; a row that still
has none is failed (invalid_label). The label is a column of responses/. Exit codes as `routellm-batch run`.
"""

from __future__ import annotations

import sys

from routellm_batch.cli.app import execute, guard
from routellm_batch.config.job import load_config
from routellm_batch.core.errors import ConfigError
from routellm_batch.pipeline.jobs import run_job


def main() -> None:
    """Run the label job that the command line names."""
    if len(sys.argv) == 1:
        sys.exit(__doc__)
    config = load_config(sys.argv[1], sys.argv[2:])
    if config.label is None:
        raise ConfigError(
            "label", "is missing: a label job needs label.values or label.schema", source=sys.argv[1]
        )
    sys.exit(execute(config, run_job).exit_code)


if __name__ == "__main__":
    guard(main)
