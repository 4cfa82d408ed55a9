"""Datasets of one task each as one stream of batches."""
