"""Quality: what a pilot predicts of a strong share, with intervals."""
