"""Mean gain of the most similar labelled prompts, and its trainer."""
