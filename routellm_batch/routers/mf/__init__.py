"""RouteLLM's matrix factorisation. Read ``router.py`` first, then ``train.py``; ``model_ids.py`` is a table."""
