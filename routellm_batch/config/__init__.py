"""The config: typed, frozen values that are read from YAML and checked before anything is spent."""
