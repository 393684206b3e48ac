"""The main path: from options to the best model on disk."""
