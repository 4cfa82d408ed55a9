"""The TFDS builder of `multi_digits`."""
