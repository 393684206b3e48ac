"""How does a training start from trained weights?"""
