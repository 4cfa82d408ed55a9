"""The TFDS builder of `digit_poses`."""
