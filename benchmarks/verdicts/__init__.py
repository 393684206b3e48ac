"""How often a verdict is wrong, and how often a difference is found. See benchmarks/verdicts.md."""
