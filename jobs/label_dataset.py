"""Label a dataset: answers must be one of a few labels, or JSON that holds to a schema.

    python jobs/label_dataset.py configs/label_reviews.yaml run.root=out

An answer that is no label is shown to the model again, with what is wrong, `label.reask` times; a row that still
has none is failed (invalid_label). The label is a column of responses/. Exit codes as `routellm-batch run`.
"""

from __future__ import annotations

from routellm_batch.cli.app import job, label

if __name__ == "__main__":
    job(label)
