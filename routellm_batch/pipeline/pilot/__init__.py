"""The pilot: a labelled sample of the job itself, which trains and calibrates the router before the night is paid for.

``sample`` chooses the rows and ``draw`` takes them out of the input, ``answers`` has both models answer them, ``grade``
labels them, ``fit`` fits router and calibration on the labels, ``make`` does all of it step by step on storage,
``report`` shows it, and ``place`` and ``use`` are how a run finds the pilot and takes it.
"""
