"""How are files written so that nothing is lost?"""
