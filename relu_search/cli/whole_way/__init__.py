"""Verbs that go the whole way, from data to a model."""
