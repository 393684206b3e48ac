"""From data to a model with a verdict: a search, a confirmation and an export within one budget."""
