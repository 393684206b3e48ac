"""Equivalents of the training loop that need fewer calls: one graph for all placements; packs."""
