"""Core: the vocabulary that every room uses, and what belongs to a process."""
