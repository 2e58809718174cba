"""Weighted scores of other routers, and the trainer of the weights."""
