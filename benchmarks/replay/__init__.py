"""Searches replayed against a table, and judged by the truth."""
