"""A model that runs elsewhere."""
