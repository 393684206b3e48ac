"""How much does a search spend, and when has it enough?"""
