"""RouteLLM's matrix factorisation, and its trainer."""
