"""What weights and torch models need: where files are, which device runs a model, how its texts are batched.

``locate.py`` finds a folder of weights and ``builtin.py`` the shipped ones; neither needs torch. ``pretrained.py`` loads a
model with its tokenizer, ``device.py`` places it, and ``batches.py`` makes its micro-batches.
"""
