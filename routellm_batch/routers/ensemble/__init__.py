"""The ensemble router: weighted scores of other routers. Read ``router.py`` first, then ``train.py``."""
