"""The outcome router: two logistic heads on an embedding and surface features.

Read ``router.py`` first, then ``train.py`` (with ``fitting.py`` and ``logistic.py``) and ``weights.py``, which loads and
saves. ``blend/`` is the router that a pilot fits; a checkpoint of ``outcome`` holds one or the other.
"""
