"""Which trials run, in what order, when are they stopped, and where are they kept? Without Ray."""
