"""SavedModel: a versioned folder that TensorFlow Serving, C++, Go or Java load without Keras and without kmtl."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from kmtl import _checks, _extras
from kmtl._shown_path import ShownPath
from kmtl.export import cards, describing, further_signatures, images, placing, sampling, signatures
from kmtl.export.serving import warmup

EXTRA = "assets.extra"


class _Asked(NamedTuple):
    """What is to be written, checked.

    Attributes:
        outputs: Output tensors by task name.
        forms: Further signatures.
        samples: Inputs by name for warm-up requests, or nothing.
    """

    outputs: dict[str, Any]
    forms: further_signatures.Forms
    samples: dict[str, Any]


@_checks.known_keywords
def saved_model(
    model: Any,
    directory: str | os.PathLike[str],
    version: int | None = None,
    tasks: Sequence[str] | None = None,
    *,
    decode: bool = False,
    images: images.Images | Sequence[images.Images] | None = None,
    warmup: Any = None,
    metrics: Mapping[str, float] | None = None,
    about: Mapping[str, str] | str | None = None,
) -> Path:
    """Writes the model as a version under `directory`, ready to be served.

    The signature `serving_default` returns every task, and each task has one of its own under its name, which runs
    only what this task needs. Inputs carry the names of the `Input` layers, outputs those of the tasks, the batch may
    have any size, and inference mode is fixed. Weights are stored once for all signatures; optimizer, metrics,
    balancer and random seeds are left out. The model needs neither to be compiled nor to be trained.

    A version is written beside and moved into place by one rename, so that a server that polls `directory` never
    sees half of it. An existing version is never touched.

    In the version, `assets.extra` holds `kmtl.json` (tasks, label names, units, signatures, versions, metrics) and
    `model_card.md`; servers do not read them.

    Args:
        model: A functional `keras.Model` with a dict of outputs keyed by task name, such as `kmtl.MultiTaskModel`.
        directory: Folder of all versions of this model; made if absent. Entries not named by a number are ignored.
        version: Number of the version, at least 1 and new; None takes the next one.
        tasks: Names of the tasks to export, without the weights that only others need; None exports all.
        decode: Whether to add the signatures `decoded` and `<task>.decoded`, which read the outputs: a task of classes
            gives `<task>_label` and `<task>_probability`, one of values `<task>` in its unit, shaped as its label.
        images: Adds the signatures `image_bytes` and `<task>.image_bytes`, which take JPEG or PNG files in place of
            arrays; with `decode` their outputs are read, too.
        warmup: Samples of the inputs, an array if the model has one input, else a dict by input name. A server runs
            the first row and all rows when it loads the version, so that the first request does not wait. A few rows
            are enough; a server that batches refuses more than its largest batch. Needs the extra `serving`.
        metrics: What `model.evaluate(test, return_dict=True)` returned, for `kmtl.json` and the card.
        about: Text for the card, or texts by heading such as `{"Data": "...", "Limits": "..."}`.

    Returns:
        The folder written, `directory/<version>`.

    Raises:
        ValueError: If the model has no dict of outputs or an illegal task name; if `directory` is a file, lies below
            one, is itself a SavedModel or is full of something else; if another argument is out of its range.
        FileExistsError: If another export wrote the given version meanwhile.
        OSError: If the disk is full; nothing half-written remains.

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
        asked = _asked(refusals, model, tasks, (decode, images, warmup))
        describing.refuse_description(refusals, metrics, about)
        placing.refuse_folder(refusals, "directory", folder)
        placing.refuse_foreign(refusals, folder)
        placing.refuse_version(refusals, folder, version)
    told = describing.description(model, asked.outputs, name=_name(folder), metrics=metrics, about=about)
    with placing.beside(folder) as scratch:
        # A folder inside the scratch folder: that one is private to this user, the artifact must not be.
        finished = scratch / "model"
        functions, kept = further_signatures.endpoints(model, asked.outputs, asked.forms)
        with placing.explain_disk_errors("saved_model", folder):
            _write(finished, functions, kept, asked, told)
            return ShownPath(placing.place_version(finished, folder, version))


def _asked(refusals: _checks.Refusals, model: Any, tasks: Any, options: tuple[Any, Any, Any]) -> _Asked:
    """Returns what is to be written and records all that does not fit."""
    decode, files, samples = options
    outputs = signatures.task_outputs(refusals, model, tasks)
    signatures.refuse_unlearned(refusals, model, outputs)
    further = further_signatures.check_forms(refusals, model, outputs, decode, files)
    given = {} if samples is None or not outputs else sampling.arrays(refusals, model, samples, argument="warmup")
    if samples is not None:
        _extras.load("tensorflow_serving.apis.prediction_log_pb2", "saved_model")
    return _Asked(outputs, further, given)


def _name(folder: Path) -> str:
    """What a server calls the model: the folder's name."""
    return folder.resolve().name


def _write(finished: Path, functions: dict[str, Any], kept: tf.Module, asked: _Asked, told: dict[str, Any]) -> None:
    """Writes graph, weights and the files beside them."""
    tf.saved_model.save(kept, str(finished), signatures=functions)
    told = {**told, "signatures": further_signatures.describe(functions), "images": asked.forms.settings()}
    extra = finished / EXTRA
    extra.mkdir()
    (extra / describing.FILE).write_text(describing.text(told), encoding="utf-8")
    if asked.samples:
        warmup.write(finished, told["name"], further_signatures.requests(functions, asked.forms, asked.samples))
    (extra / cards.FILE).write_text(cards.card(told, finished), encoding="utf-8")
