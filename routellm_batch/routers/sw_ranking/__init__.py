"""RouteLLM's similarity-weighted ranking, and the maker of its index."""
