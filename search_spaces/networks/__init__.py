"""How is a network built, changed and measured?"""
