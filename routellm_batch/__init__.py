"""Budget-routed batch inference: text → score → route → answer → bill."""

__version__ = "0.1.0"
