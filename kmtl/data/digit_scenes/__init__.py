"""The TFDS builder of `digit_scenes`."""
