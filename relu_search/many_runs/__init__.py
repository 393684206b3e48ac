"""What do several runs say, and what do they occupy?"""
