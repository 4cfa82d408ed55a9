"""One set of examples as several that share none."""
