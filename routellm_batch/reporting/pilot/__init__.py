"""Report of a pilot."""
