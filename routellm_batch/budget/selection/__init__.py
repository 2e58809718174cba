"""Selection: the order of rows, and the cut in it."""
