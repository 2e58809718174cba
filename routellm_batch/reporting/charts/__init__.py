"""Charts as SVG, drawn without a library."""
