"""RouteLLM's three-class classifier. Read ``router.py`` first, then ``train.py``; ``rows.py`` reads its training rows."""
