"""RouteLLM's three-label classifier, and its trainer."""
