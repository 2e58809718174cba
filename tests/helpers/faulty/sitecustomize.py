"""Makes ``faulty://`` known to every Python process that has this folder on its path."""

import fsspec

fsspec.register_implementation("faulty", "faultyfs.FaultyFileSystem")
