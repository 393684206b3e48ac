"""Faster equivalents of the training loop: one graph for all placements, CUDA graphs, packs."""
