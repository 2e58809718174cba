"""The pilot: a labelled sample of the job itself, which trains and calibrates the router before the night is paid for.

``sample`` says which rows, ``answers`` has both models answer them, ``grade`` labels them, ``fit`` makes router and
calibration of them, ``make`` is all of it on storage, and ``use`` is how a run finds and takes it.
"""
