"""A page on this machine that follows a run, or all runs of a folder."""
