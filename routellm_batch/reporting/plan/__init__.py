"""Report of a plan."""
