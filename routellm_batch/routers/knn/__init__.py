"""The knn router: mean gain of the most similar labelled prompts. Read ``router.py`` first, then ``train.py``."""
