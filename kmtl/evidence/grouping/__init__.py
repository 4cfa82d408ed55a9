"""Which tasks belong together."""
