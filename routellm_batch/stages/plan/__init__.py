"""The plan stage: scores in, ``plan.json`` out."""
