"""RouteLLM's Llama with five label tokens, and its trainer."""
