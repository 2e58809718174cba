"""RouteLLM's causal-LLM classifier.

Read ``router.py`` first, then ``train.py``. ``prompt.py`` makes token ids, ``prefix.py`` computes the shared prefix of all
prompts, ``checkpoint.py`` loads and writes a Llama, and ``rows.py`` reads training rows.
"""
