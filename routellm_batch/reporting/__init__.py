"""What people read of a run: cost.json, the HTML pages, the progress display and the closing lines."""
