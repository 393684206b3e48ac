"""How are files and libraries of images read? One reader for each kind."""
