"""Costs: how long answers should be, and what a call should cost."""
