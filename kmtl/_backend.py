"""Refuses, at import and by name, every backend of Keras but TensorFlow; it comes before anything that needs one."""

import os


def require_tensorflow(backend: str) -> None:
    """Refuses a backend that kmtl does not run on.

    Args:
        backend: Its name, as Keras spells it.

    Raises:
        ImportError: If it is not TensorFlow.

    >>> require_tensorflow("jax")
    Traceback (most recent call last):
    ...
    ImportError: kmtl: `KERAS_BACKEND` must be 'tensorflow', got 'jax'. Set KERAS_BACKEND=tensorflow ...
    """
    if backend != "tensorflow":
        message = f"kmtl: `KERAS_BACKEND` must be 'tensorflow', got {backend!r}. "
        raise ImportError(message + "Set KERAS_BACKEND=tensorflow before the import of Keras.")


# Before Keras is imported: with a backend that is not installed, that would fail with an error about that package.
require_tensorflow(os.environ.get("KERAS_BACKEND") or "tensorflow")

import keras  # noqa: E402

require_tensorflow(keras.backend.backend())
