"""RouteLLM's similarity-weighted ranking: a Bradley–Terry fit for every prompt.

Read ``router.py`` first, then ``train.py``. ``index.py`` weights the battles, ``bradley_terry.py`` solves the fit, and
``device.py`` does both on a GPU.
"""
