"""Finds become verdicts: retrained on fresh seeds, judged on the test split."""
