"""Charts: SVG without a library."""
