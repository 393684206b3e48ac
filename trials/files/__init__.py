"""How are files written, locked and named so that no data is lost?"""
