"""Configuration files of a TensorFlow Serving server: which versions of which models, their labels, and batching."""

import csv
import dataclasses
import io
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kmtl import _checks, _extras
from kmtl.export import placing
from kmtl.export.serving import policies, warmup

_OWNER = "serving_config"
_BASE = re.compile(r"(/|[a-z][a-z0-9]*://)[^\x00-\x1f\x7f]*")
_MOUNTED = "/serving_config"


@dataclasses.dataclass(frozen=True, repr=False)
class ServingConfig:
    """The files of a server; printed, the command that starts the official container with them.

    Attributes:
        models: The file for `--model_config_file`.
        batching: The file for `--batching_parameters_file`.
        command: A shell command, one option a line.
    """

    models: Path
    batching: Path
    command: str

    def __str__(self) -> str:
        """Returns the command."""
        return self.command

    __repr__ = __str__


def serving_config(
    models: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    base_path: str = "/models",
    versions: policies.Versions | Mapping[str, policies.Versions] = "latest",
    labels: policies.Labels | Mapping[str, policies.Labels] | None = None,
    max_batch_size: int = 64,
    batch_timeout_micros: int = 1000,
    max_enqueued_batches: int = 100,
    num_batch_threads: int | None = None,
) -> ServingConfig:
    """Writes `models.config` and `batching.config` for a TensorFlow Serving server.

    Args:
        models: Folder of the versions of one model, which is served under the folder's name, or folders by name.
        out: Folder for the two files; made if absent. Files of an earlier call are replaced, each in one step.
        base_path: Where the server sees the models: an absolute path, below which each has a folder of its name, or a
            URL such as `gs://bucket/models`.
        versions: `"latest"`, the number of latest versions, `"all"`, or a list of versions that are on disk; for
            several models also one of these by name, the latest for those left out.
        labels: Names for versions, such as `{"stable": 1, "canary": 2}`, which a request may use in place of the
            number; for several models also by name. A version that has one must be served: a server refuses to start
            with a label for another, and a newer version takes a labelled one away unless `versions` keeps it.
        max_batch_size: Most rows that the server joins into one call of the model; from 1. It refuses a request with
            more, and a version that warms up with more.
        batch_timeout_micros: How long the server waits for a batch to fill, in microseconds; from 0.
        max_enqueued_batches: Full batches that may wait; further requests are refused; from 1.
        num_batch_threads: Batches that run at a time; from 1; None leaves it to the server, which takes its CPUs.

    Returns:
        The two files; printed, the command that starts the official container.

    Raises:
        ValueError: If a name cannot stand in an address, a folder has no versions, a version or a label is not on
            disk or not served, or a number is out of its range; all at once.
        ImportError: If the package `tensorflow-serving-api` is absent.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     version = Path(folder, "digits", "1")
    ...     version.mkdir(parents=True)
    ...     (version / "saved_model.pb").touch()
    ...     files = serving_config(version.parent, Path(folder, "server"))
    ...     print(files.models.read_text())
    model_config_list {
      config {
        name: "digits"
        base_path: "/models/digits"
        model_platform: "tensorflow"
        model_version_policy {
          latest {
            num_versions: 1
          }
        }
      }
    }
    """
    target = Path(out).absolute()
    numbers = {
        "max_batch_size": (max_batch_size, 1),
        "batch_timeout_micros": (batch_timeout_micros, 0),
        "max_enqueued_batches": (max_enqueued_batches, 1),
        "num_batch_threads": (num_batch_threads, 1),
    }
    with _checks.Refusals(_OWNER) as refusals:
        chosen = policies.models_of(refusals, models, versions, labels)
        _refuse_targets(refusals, target, base_path)
        batching = _batching(refusals, numbers)
        _refuse_warmups(refusals, chosen, max_batch_size)
    texts = {"models.config": _model_list(chosen, base_path.rstrip("/")), "batching.config": batching}
    with placing.beside(target) as scratch:
        for name, text in texts.items():
            (scratch / name).write_text(text)
            (scratch / name).replace(target / name)
    command = _command(chosen, target, base_path.rstrip("/"))
    return ServingConfig(target / "models.config", target / "batching.config", command)


def _refuse_targets(refusals: _checks.Refusals, target: Path, base_path: Any) -> None:
    """Records an `out` that cannot hold the files, and a `base_path` that no server could read."""
    placing.refuse_folder(refusals, "out", target)
    for name in ("models.config", "batching.config"):
        if (target / name).is_dir():
            refusals.add("out", f"must have room for the file {name}", str(target / name), "That is a folder.")
    if not isinstance(base_path, str) or not _BASE.fullmatch(base_path):
        refusals.add("base_path", "must be an absolute path or a URL", base_path, "For example '/models'.")


def _batching(refusals: _checks.Refusals, numbers: Mapping[str, tuple[Any, int]]) -> str:
    """Returns the text form of the server's `BatchingParameters`, a message that its Python package lacks."""
    lines = []
    for argument, (value, least) in numbers.items():
        if value is None and argument == "num_batch_threads":
            continue
        if not _checks.is_whole(value) or not least <= value < 2**63:
            refusals.add(argument, f"must be a whole number of at least {least}", value)
            continue
        lines.append(f"{argument} {{ value: {int(value)} }}\n")
    return "".join(lines)


def _refuse_warmups(refusals: _checks.Refusals, models: list[policies.Model], most: Any) -> None:
    """Records versions that a server with this limit would fail to load."""
    for folder in (folder for model in models for folder in model.served):
        rows = warmup.most_rows(folder)
        if _checks.is_whole(most) and most < rows:
            fix = f"Pass {rows}, or export with fewer samples for `warmup`."
            refusals.add("max_batch_size", f"must hold the {rows} rows that {folder} warms up with", most, fix)


def _model_list(models: list[policies.Model], base_path: str) -> str:
    """Returns the text form of `ModelServerConfig`, as TensorFlow Serving's own protos spell it."""
    text_format = _extras.load("google.protobuf.text_format", _OWNER)
    protos = _extras.load("tensorflow_serving.config.model_server_config_pb2", _OWNER)
    config = protos.ModelServerConfig()
    for model in models:
        part = config.model_config_list.config.add(name=model.name, model_platform="tensorflow")
        part.base_path = f"{base_path}/{model.name}"
        _set_policy(part.model_version_policy, model.versions)
        part.version_labels.update({label: int(version) for label, version in (model.labels or {}).items()})
    text: str = text_format.MessageToString(config)
    return text


def _set_policy(policy: Any, versions: Any) -> None:
    """Fills in the version policy of one model."""
    if versions == "all":
        policy.all.SetInParent()
    elif versions == "latest" or _checks.is_whole(versions):
        policy.latest.num_versions = 1 if versions == "latest" else int(versions)
    else:
        policy.specific.versions.extend(sorted({int(version) for version in versions}))


def _command(models: list[policies.Model], target: Path, base_path: str) -> str:
    """Returns the command that starts the official container with these files and folders.

    The folder is mounted rather than its files: a mounted file would stay the old one when it is replaced.
    """
    folders = {target: _MOUNTED}
    if base_path.startswith("/") or not base_path:
        folders |= {model.folder: f"{base_path}/{model.name}" for model in models}
    parts = ["docker run --rm -p 8500:8500 -p 8501:8501"]
    parts += [f"--mount {shlex.quote(_mount(source, place))}" for source, place in folders.items()]
    parts += [
        "tensorflow/serving",
        f"--model_config_file={_MOUNTED}/models.config --model_config_file_poll_wait_seconds=60",
        # At the start no version is loaded yet, and a label for one would stop the server.
        "--allow_version_labels_for_unavailable_models",
        f"--enable_batching --batching_parameters_file={_MOUNTED}/batching.config",
    ]
    return " \\\n    ".join(parts)


def _mount(source: Path, place: str) -> str:
    """Returns the value of a read-only `--mount`, which Docker reads as a line of comma-separated values."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={source}", f"target={place}", "readonly"])
    return line.getvalue()
