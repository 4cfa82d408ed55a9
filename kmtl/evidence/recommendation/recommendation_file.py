"""A recommendation on disk."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras

from kmtl.evidence.comparisons.comparison_folder import tasks_again, write_json
from kmtl.evidence.recommendation.paired_scores import Change
from kmtl.evidence.recommendation.recommendation import Recommendation

RECOMMENDATION, _MODEL = "recommendation.json", "recommended.keras"


def save_recommendation(found: Recommendation, place: Path) -> None:
    """Writes a recommendation and its model.

    Args:
        found: The recommendation.
        place: The folder of its race.
    """
    found.model.save(place / _MODEL)
    # No `asdict`: it would copy the model.
    told = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    tasks = [keras.saving.serialize_keras_object(task) for task in found.tasks]
    write_json(place / RECOMMENDATION, {**told, "model": None, "tasks": tasks})


def load_recommendation(place: Path) -> Recommendation:
    """Reads a recommendation and its model.

    Args:
        place: The folder of its race.
    """
    held: dict[str, Any] = json.loads((place / RECOMMENDATION).read_text())
    tried = [{**row, "changes": _changes(row["changes"])} for row in held["tried"]]
    return Recommendation(
        **{
            **held,
            "model": keras.saving.load_model(place / _MODEL),
            "tasks": tasks_again(held["tasks"]),
            "changes": _changes(held["changes"]),
            "tried": tried,
        }
    )


def _changes(held: Any) -> dict[str, Change]:
    """Changes by task, which JSON holds as lists."""
    return {name: Change(*pair) for name, pair in held.items()}
