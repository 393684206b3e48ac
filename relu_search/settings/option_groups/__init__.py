"""Groups of the options of a search."""
