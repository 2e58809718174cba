"""The router that a pilot fits: a blend of what its labels teach and of what was known before.

Read ``router.py`` first, then ``fit.py``. ``members.py`` fits the members that learn, ``evidence.py`` weighs the members,
``forest.py`` and ``wording.py`` are what they need, and ``weights.py`` is the checkpoint.
"""
