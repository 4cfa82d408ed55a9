"""How much tasks have to do with each other."""
