"""What do two sets of runs show that are paired by seed?"""
