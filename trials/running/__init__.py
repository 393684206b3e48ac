"""Which trials are run, in what order, when are they stopped, and where are their files?"""
