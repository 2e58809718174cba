"""Whole jobs, composed of stages and adapters; callers import them from ``pipeline.jobs``."""
