"""A blend of heads, forest and wording that a pilot fits."""
