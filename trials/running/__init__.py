"""Which trials are run, in what order, and where are their files?"""
