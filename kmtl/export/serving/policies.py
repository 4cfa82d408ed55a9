"""Which versions of which models a server is to load, checked against what lies on the disk."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kmtl import _checks
from kmtl.export import placing

# The server's addresses end a name at '/' and ':'; a name is also a folder's.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
_LABEL = re.compile(r"[A-Za-z0-9_]+")

Labels = Mapping[str, int]
Versions = str | int | Iterable[int]


@dataclasses.dataclass(frozen=True)
class Model:
    """What one model's part of the configuration is made of.

    Attributes:
        name: What requests call it.
        folder: Folder of its versions.
        versions: The policy, `"latest"`, a number of latest ones, `"all"` or a list.
        labels: Versions by label, or None.
        served: The folders of the versions that the policy serves now.
    """

    name: str
    folder: Path
    versions: Any
    labels: Any
    served: list[Path] = dataclasses.field(default_factory=list)


def model_name(refusals: _checks.Refusals, argument: str, name: Any) -> None:
    """Records a name that could not stand in a server's addresses or be a folder's."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        fix = "Use letters, digits, '_', '-' and '.', and begin with none of the last two."
        refusals.add(argument, "must be a name for addresses", name, fix)


def models_of(refusals: _checks.Refusals, models: Any, versions: Any, labels: Any) -> list[Model]:
    """Returns the models with their policies, and records what does not fit the disk.

    Args:
        refusals: Where to record.
        models: A folder of versions, or several by name.
        versions: A policy for all models, or policies by model name.
        labels: Versions by label for all models, or such dicts by model name, or None.

    Returns:
        The models in the given order; of no meaning if something was recorded.
    """
    folders = models if isinstance(models, Mapping) else {_last_part(models): models}
    if not folders or not all(isinstance(folder, str | os.PathLike) for folder in folders.values()):
        refusals.add("models", "must be a folder of versions or a dict of such folders by name", models)
        return []
    policies = _by_model(refusals, "versions", versions, folders, isinstance(versions, Mapping), "latest")
    nested = isinstance(labels, Mapping) and any(isinstance(value, Mapping) for value in labels.values())
    named = _by_model(refusals, "labels", labels, folders, nested, None)
    result = [Model(name, Path(path).resolve(), policies[name], named[name]) for name, path in folders.items()]
    for model in result:
        model_name(refusals, "models", model.name)
        _refuse_versions(refusals, model)
    return result


def _last_part(folder: Any) -> str:
    """Returns the name of a folder, also of one given as '.'."""
    return Path(folder).resolve().name if isinstance(folder, str | os.PathLike) else ""


def _by_model(
    refusals: _checks.Refusals, argument: str, value: Any, names: Iterable[str], is_table: bool, default: Any
) -> dict[str, Any]:
    """Returns an option for each model, from one for all or from a table by name."""
    if not is_table:
        return dict.fromkeys(names, value)
    for name in value:
        if name not in names:
            refusals.add(argument, "must use the models' names as keys", name, _checks.near(str(name), names))
    return {name: value.get(name, default) for name in names}


def _refuse_versions(refusals: _checks.Refusals, model: Model) -> None:
    """Records a folder without versions, and versions and labels that a server could not serve from it."""
    if (model.folder / "saved_model.pb").exists():
        refusals.add("models", "must be folders of versions", str(model.folder), "That is a version: pass its parent.")
        return
    found = _versions(model.folder)
    if not found:
        refusals.add("models", "must be folders of versions", str(model.folder), "Export the model there first.")
        return
    served = _served(refusals, model, sorted(found))
    model.served.extend(found[version] for version in served if version in found)
    for folder in model.served:
        if not (folder / "saved_model.pb").exists():
            fix = "Take that folder away: the server would fail to load it."
            refusals.add("versions", "must each hold a saved_model.pb", str(folder), fix)
    _refuse_labels(refusals, model, served)


def _versions(folder: Path) -> dict[int, Path]:
    """Returns the folders that a server takes for versions."""
    entries = folder.iterdir() if folder.is_dir() else ()
    numbered = ((placing.number(path), path) for path in entries)
    return {number: path for number, path in numbered if number is not None and number < 2**63}


def _served(refusals: _checks.Refusals, model: Model, found: list[int]) -> list[int]:
    """Returns the versions that the policy serves from the ones on disk, and records a policy that makes no sense."""
    policy = model.versions
    if policy in ("latest", "all"):
        return found[-1:] if policy == "latest" else found
    if _checks.is_whole(policy) and 1 <= policy < 2**32:
        return found[-policy:]
    if not isinstance(policy, list | tuple | set | range) or not policy or not all(map(_checks.is_whole, policy)):
        refusals.add("versions", "must be 'latest', 'all', a number of latest ones or a list of versions", policy)
        return found
    for version in sorted(set(policy) - set(found)):
        fix = f"There: {', '.join(map(str, found))}."
        refusals.add("versions", f"must be on disk for model {model.name!r}", version, fix)
    return sorted(set(policy))


def _refuse_labels(refusals: _checks.Refusals, model: Model, served: list[int]) -> None:
    """Records labels that no address can hold or whose version is not served."""
    if model.labels is not None and not isinstance(model.labels, Mapping):
        refusals.add("labels", "must be a dict of versions by label", model.labels)
        return
    for label, version in (model.labels or {}).items():
        if not isinstance(label, str) or not _LABEL.fullmatch(label):
            refusals.add("labels", "must be made of letters, digits and '_'", label)
        if not _checks.is_whole(version) or version not in served:
            fix = f"Served: {', '.join(map(str, served))}. List more in `versions`."
            refusals.add("labels", f"must be for served versions of model {model.name!r}", version, fix)
