"""Is a found placement really better? Retrained on fresh seeds, compared on the test split."""
