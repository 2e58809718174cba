"""Kinds of Dask cluster, a module each; the table is ``runtime.KINDS``."""
