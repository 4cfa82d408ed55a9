"""SavedModel: a versioned folder that TensorFlow Serving, C++, Go or Java load without Keras and without kmtl."""

import os
from pathlib import Path
from typing import Any

from kmtl import _checks
from kmtl.export import placing, signatures


def saved_model(model: Any, directory: str | os.PathLike[str]) -> Path:
    """Writes the model as the next version under `directory`, ready to be served.

    The signature `serving_default` returns every task, and each task has one of its own under its name, which runs
    only the layers that this task needs. Inputs carry the names of the `Input` layers, outputs those of the tasks,
    the batch may have any size, and inference mode is fixed. Weights are stored once for all signatures; optimizer,
    metrics, balancer and random seeds are left out.

    A version is written beside and moved into place by one rename, so that a server that polls `directory` never
    sees half of it. An existing version is never touched.

    Args:
        model: A functional `keras.Model` with a dict of outputs keyed by task name, such as `kmtl.MultiTaskModel`.
        directory: Folder of all versions of this model; made if absent. Entries not named by a number are ignored.

    Returns:
        The folder written, `directory/<version>`; the first version is 1.

    Raises:
        ValueError: If the model has no dict of outputs or an illegal task name, or `directory` is a file, lies below
            one, or is itself a SavedModel.

    >>> import tempfile
    >>> import keras
    >>> image = keras.Input((2,), name="image")
    >>> outputs = {"digit": keras.layers.Dense(3)(image), "angle": keras.layers.Dense(1)(image)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved_model(keras.Model(image, outputs), folder).name
    '1'
    """
    folder = Path(directory)
    with _checks.Refusals("saved_model") as refusals:
        outputs = signatures.task_outputs(refusals, model)
        _refuse_directory(refusals, folder)
    with placing.beside(folder) as scratch:
        # A folder inside the scratch folder: that one is private to this user, the artifact must not be.
        finished = scratch / "model"
        signatures.save(model, outputs, str(finished))
        return placing.place_version(finished, folder)


def _refuse_directory(refusals: _checks.Refusals, folder: Path) -> None:
    """Records a `directory` that cannot hold versions."""
    placing.refuse_folder(refusals, "directory", folder)
    if (folder / "saved_model.pb").exists():
        rule = "must be the folder that holds the versions, not a version"
        refusals.add("directory", rule, str(folder), "Pass its parent or an empty folder.")
