"""Pacing: how fast calls are sent; one idea a class."""
