"""Which ratio N:M is the best one?"""
