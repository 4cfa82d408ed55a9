"""Record files for sets larger than memory."""
