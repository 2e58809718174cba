"""``python -m routellm_batch.cli`` is the command ``routellm-batch``."""

from __future__ import annotations

from routellm_batch.cli.app import main

if __name__ == "__main__":
    main()
