"""Measurements of relu-search: what it finds, what it costs, and how fast it is."""
