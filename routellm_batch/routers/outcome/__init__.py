"""Two logistic heads on an embedding and surface features, and their trainer."""
