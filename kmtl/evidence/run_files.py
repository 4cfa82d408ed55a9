"""Finished runs of a comparison on disk, found again by what made them."""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kmtl._checks import require
from kmtl.training.trainer import Run

_RUN, _MODEL = "run.json", "model.keras"


class RunFiles:
    """A folder with one folder a run, named by a digest of its configuration.

    Args:
        folder: The folder; made if it is not there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = RunFiles(folder)
    ...     place = files.place({"recipe": "Joint", "seed": 0})
    ...     files.save(place, Run(("age",), 0, {"age": {"mae": 1.0}}, {}, 2.0, 10), None)
    ...     files.load(place).scores
    {'age': {'mae': 1.0}}
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        require(bool(os.fspath(folder)), "compare", "folder", "must name a folder", folder)
        self.folder = Path(os.path.expanduser(folder))
        self.folder.mkdir(parents=True, exist_ok=True)

    def place(self, configuration: Mapping[str, Any]) -> Path:
        """The folder of a run: another configuration, another folder."""
        told = json.dumps(configuration, sort_keys=True, default=repr)
        return self.folder / hashlib.sha256(told.encode()).hexdigest()[:16]

    def load(self, place: Path) -> Run | None:
        """A finished run, or None."""
        file = place / _RUN
        if not file.is_file():
            return None
        held = json.loads(file.read_text())
        return Run(**{**held, "tasks": tuple(held["tasks"])})

    def stages(self, place: Path) -> Path:
        """Where a run that is not finished keeps its stages."""
        return place / "stages"

    def save(self, place: Path, run: Run, model: Any) -> None:
        """Writes a finished run, and its model if one is given; what its stages kept is not needed any more."""
        place.mkdir(parents=True, exist_ok=True)
        if isinstance(model, keras.Model):
            model.save(place / _MODEL)
        beside = place / f"{_RUN}.{os.getpid()}"
        beside.write_text(json.dumps(run._asdict()))
        beside.replace(place / _RUN)
        shutil.rmtree(self.stages(place), ignore_errors=True)

    def model(self, place: Path) -> Any:
        """The saved model of a run, or None."""
        file = place / _MODEL
        return keras.saving.load_model(file) if file.is_file() else None


def data_digest(data: Any) -> dict[str, Any]:
    """What tells one data set from another: the form of a batch, and the labels whatever their order.

    Inputs are not read: they may be augmented by chance.

    >>> import tensorflow as tf
    >>> def of(values):
    ...     return data_digest(tf.data.Dataset.from_tensor_slices((values, {"age": values})).batch(2))
    >>> of([1.0, 2.0, 3.0]) == of([3.0, 1.0, 2.0]), of([1.0, 2.0, 3.0]) == of([1.0, 2.0, 4.0])
    (True, False)
    """
    rows, total = 0, 0
    for _, labels, *_ in data.as_numpy_iterator():
        names = sorted(labels)
        count = len(labels[names[0]])
        rows += count
        for place in range(count):
            total += zlib.crc32(b"".join(np.asarray(labels[name][place]).tobytes() for name in names))
    form = keras.tree.map_structure(lambda spec: f"{spec.dtype.name} {spec.shape[1:]}", data.element_spec)
    return {"form": repr(form), "rows": rows, "labels": total}
