"""Spend: what was paid, beside what was planned."""
