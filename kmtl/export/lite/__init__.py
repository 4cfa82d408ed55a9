"""LiteRT: files for phones and small devices, and what their quantisation costs."""
