"""Trees of YDF behind the methods of a scikit-learn estimator."""

import os
from typing import Any

import numpy as np

from kmtl import _extras
from kmtl._checks import near, require

_LEARNERS = {"boosted": "GradientBoostedTreesLearner", "forest": "RandomForestLearner"}
_LABEL, _COLUMNS = "label", "columns"


class DecisionForest:
    """Trees of YDF (Yggdrasil Decision Forests), as a classical predictor of any task of classes or values.

    Beside scikit-learn's they are saved without pickle, and run inside of a SavedModel. Needs the extra `ydf`.

    Source: Guillame-Bert et al., "Yggdrasil Decision Forests: A Fast and Extensible Decision Forests Library", KDD
    2023.

    Args:
        kind: `"boosted"`, gradient boosted trees, or `"forest"`, a random forest.
        **options: As of YDF's learner, as `num_trees`, `max_depth`.

    >>> DecisionForest("forest", num_trees=50)
    DecisionForest('forest', num_trees=50)
    """

    def __init__(self, kind: str = "boosted", **options: Any) -> None:
        fix = near(str(kind), _LEARNERS)
        require(kind in _LEARNERS, "DecisionForest", "kind", f"must be one of {list(_LEARNERS)}", kind, fix)
        taken = sorted({"label", "task", "features"} & set(options))
        require(not taken, "DecisionForest", "options", "must leave label, task and features to the task", taken)
        self.kind, self.options = kind, options

    def estimator(self, *, classes: bool, seed: int) -> "FittedForest":
        """Makes a forest that is not fitted yet."""
        ydf = _extras.load("ydf", "DecisionForest")
        options = {"random_seed": seed, **self.options}
        task = ydf.Task.CLASSIFICATION if classes else ydf.Task.REGRESSION
        return FittedForest(getattr(ydf, _LEARNERS[self.kind])(label=_LABEL, task=task, **options))

    def get_config(self) -> dict[str, Any]:
        """What it is made of."""
        return {"kind": self.kind, **self.options}

    def __repr__(self) -> str:
        told = [repr(self.kind), *(f"{key}={value!r}" for key, value in self.options.items())]
        return f"DecisionForest({', '.join(told)})"


class FittedForest:
    """A model of YDF as an estimator.

    Args:
        learner: YDF's learner; None for a model that was trained.
        model: YDF's model; None until `fit`.

    Attributes:
        classes_: The classes that labels had, in the order of the probabilities.
    """

    def __init__(self, learner: Any, model: Any = None) -> None:
        self.learner, self.model = learner, model

    @property
    def classes_(self) -> Any:
        """Classes in the order of the probabilities."""
        return np.array([int(name) for name in self.model.label_classes()])

    def fit(self, x: Any, y: Any) -> "FittedForest":
        """Trains on `(rows, width)` and `(rows,)`."""
        self.model = self.learner.train({_COLUMNS: np.asarray(x, "float32"), _LABEL: np.asarray(y)}, verbose=0)
        return self

    def predict(self, x: Any) -> Any:
        """Values `(rows,)`."""
        return self.model.predict({_COLUMNS: np.asarray(x, "float32")})

    def predict_proba(self, x: Any) -> Any:
        """Probabilities `(rows, classes)`."""
        found = self.predict(x)
        return np.stack([1.0 - found, found], axis=-1) if found.ndim == 1 else found

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes YDF's own folder."""
        self.model.save(os.fspath(folder))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "FittedForest":
        """Reads YDF's own folder."""
        return cls(None, _extras.load("ydf", "MixedModel.load").load_model(os.fspath(folder)))
