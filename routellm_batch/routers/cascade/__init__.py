"""Order the rows of a cascade: from prompt and answers, as far as a pilot taught it, else by rule.

Read ``router.py`` first, then ``fit.py``. What is seen of the answers is ``answers.signals``; the order without labels is
``budget.selection.escalation``.
"""
