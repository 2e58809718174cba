"""What people read of a run: the HTML pages, ``cost.json``, the progress display and the closing lines."""
