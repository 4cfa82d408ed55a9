"""Datasets that kmtl knows by name: made here, or taken from TensorFlow Datasets."""
