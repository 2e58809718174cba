"""Answers: what an answer says: a number, a letter, a JSON value, a text or a label. Pure.

Graders compare it with a reference, and label jobs with the labels that are allowed.
"""
