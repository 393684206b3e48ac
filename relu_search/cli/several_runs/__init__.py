"""Verbs about several runs."""
