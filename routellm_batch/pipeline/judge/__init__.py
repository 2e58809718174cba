"""Judge: a third model compares two answers."""
