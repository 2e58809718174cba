"""Budget: what calls should cost, which rows go to the strong model, and what was spent. Pure."""
