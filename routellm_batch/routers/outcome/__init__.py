"""The outcome router: two logistic heads on an embedding and surface features.

Read ``router.py`` first, then ``train.py`` (with ``fitting.py`` and ``logistic.py``); ``weights.py`` is the checkpoint.
``blend/`` is the router that a pilot fits. A checkpoint of ``outcome`` holds one or the other; ``load.py`` loads either.
"""
