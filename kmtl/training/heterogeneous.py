"""A deep model and classical predictors, joined by a mixing model."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, known_keys, near, require, whole, words
from kmtl.training.classical import refuse_estimator, refuse_task, takes_weights
from kmtl.training.mixed_graph import trunk_features
from kmtl.training.mixed_model import input_names
from kmtl.training.mixing import Mixing, weights_of
from kmtl.training.recipe import Recipe, plain, share
from kmtl.training.rows_in_memory import Rows
from kmtl.training.trunk_branches import by_name
from kmtl.training.work import Work

_MIXES = ("gate", "logistic")
_READS = ("inputs", "features")


class Heterogeneous(Recipe):
    """Deep features with a classical predictor a task, joined by a mixing model: three steps.

    1. The joint model phi(x) with its heads p_deep is trained as by `Joint`; a classical predictor c (a forest, boosted
       trees, a linear model: any estimator of scikit-learn's form) is fitted a task, on the rows that have its label.
    2. The mixing model alone is trained, on what c says of rows that it was not fitted on (`folds`, stratified):

           "gate":      p = g(x) p_deep + (1 - g(x)) p_classical,  g = sigmoid(MLP([phi(x), log p_classical]))
           "logistic":  p = softmax(a log p_deep + b log p_classical + c)

       and the same of values, on the standardised scale. In-sample outputs are not offered: a predictor that knows its
       rows by heart is right on all of them, and would get all of the weight.
    3. All but the classical part is tuned at `rate` times the learning rate, batch normalisation in inference mode.

    The classical part has no gradient: its outputs are inputs of the network, `<task>_classical`. A task that
    `estimators` leaves out keeps its deep output. The result is a `MixedModel`, or, where all estimators are linear, a
    `MultiTaskModel` that has them as layers. Of p_deep the mixing model sees rows that the deep model was trained on: a
    deep model that over-fits gets more weight than it earns, which early stopping, not folds, is the remedy of.

    Cost: 1, a forward pass over the rows, and `tuned`. The mixing model runs no trunk, and classical fits are told in
    seconds, `notes["classical"]`: they are no trainings of a trunk.

    Row S0-13 of the articles, which says that such a model does "much better than the other two" forms, and shows
    nothing: hold it against them by `kmtl.evidence.compare`. It also calls what trees see "low-level", and puts two
    deep models into the example.

    Args:
        estimators: `{task: estimator}`, or one for all; an estimator, a function that makes one, or `DecisionForest`. A
            task of classes needs `predict_proba`.
        mix: `"gate"` or `"logistic"`.
        folds: Folds of the out-of-fold outputs, 2 or more.
        reads: What estimators read: `"inputs"`, flattened side by side, or `"features"`, phi(x), which then stands
            still in step 3. Features have seen the labels of all folds, so out-of-fold outputs are too good there.
        columns: Name or names of the inputs that estimators read; None reads all.
        epochs: Of the joint training, as a multiple of the given epochs.
        mixing: Of step 2, the same.
        tuned: Of step 3, the same.
        rate: What the learning rates are multiplied by in step 3.

    Notes of the result: `"classical"`, estimator and seconds by task; `"gate"`, the mean of g over the rows by task.

    >>> from sklearn.linear_model import LogisticRegression
    >>> Heterogeneous({"digit": LogisticRegression(C=0.1)}, mix="logistic")
    Heterogeneous(estimators={'digit': LogisticRegression(C=0.1)}, mix='logistic')
    """

    source = "Row S0-13 of the articles; Jacobs et al., Adaptive Mixtures of Local Experts, Neural Computation, 1991"

    def __init__(
        self,
        estimators: Any,
        *,
        mix: str = "gate",
        folds: int = 5,
        reads: str = "inputs",
        columns: str | Sequence[str] | None = None,
        epochs: float = 1.0,
        mixing: float = 2.0,
        tuned: float = 0.5,
        rate: float = 0.1,
    ) -> None:
        owner = "Heterogeneous"
        self.estimators = dict(estimators) if isinstance(estimators, Mapping) else estimators
        require(self.estimators != {}, owner, "estimators", "must hold an estimator a task", estimators)
        self.mix, self.reads = mix, reads
        for argument, value, known in (("mix", mix, _MIXES), ("reads", reads, _READS)):
            require(value in known, owner, argument, f"must be one of {list(known)}", value, near(str(value), known))
        self.folds = whole(owner, "folds", folds, 2)
        named = columns is None or isinstance(columns, str | list | tuple)
        require(named, owner, "columns", "must be a name of an input, or a list of them", columns)
        self.columns = columns
        fix = "Features come of all inputs."
        require(
            columns is None or reads == "inputs", owner, "columns", "must be None with reads='features'", columns, fix
        )
        self.epochs, self.mixing = share(owner, "epochs", epochs), share(owner, "mixing", mixing)
        self.tuned, self.rate = share(owner, "tuned", tuned), share(owner, "rate", rate)

    def configuration(self) -> dict[str, Any]:
        """With the settings of the estimators."""
        given = self.estimators
        told = {key: _told(one) for key, one in given.items()} if isinstance(given, dict) else _told(given)
        return {**super().configuration(), "estimators": told}

    def given(self, work: Work) -> dict[str, Any]:
        """The estimators by task, in order."""
        if not isinstance(self.estimators, dict):
            return dict.fromkeys(work.names, self.estimators)
        return {name: self.estimators[name] for name in work.names if name in self.estimators}

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses what is no estimator of a task's labels, and tasks with fewer labels than folds."""
        if isinstance(self.estimators, dict):
            known_keys(refusals, "estimators", self.estimators, work.names)
        for task in work.tasks:
            if task.name not in self.given(work) or refuse_task(refusals, task):
                continue
            refuse_estimator(refusals, self.given(work)[task.name], task)
            labelled = work.statistics[task.name].labelled
            if labelled < self.folds:
                refusals.add("folds", f"must be no more than the labels of {task.name!r}, {labelled}", self.folds)

    def run(self, work: Work) -> Any:
        """Trains the steps."""
        joint, rows = work.model(), work.rows()
        trunk_features(work.owner, joint)
        columns = self._columns(joint, rows)
        self._refuse_weights(work, rows)
        work.fit("joint", joint, epochs=self.epochs)
        return Mixing(self, work, joint, rows, columns).run()

    def _columns(self, joint: Any, rows: Rows) -> list[str]:
        """Names of the inputs that estimators read; refuses other ones, and what is no number."""
        names = keras.tree.flatten(input_names(joint))
        given = names if self.columns is None else [self.columns] if isinstance(self.columns, str) else self.columns
        arrays = by_name(rows.x, names)
        with Refusals("Heterogeneous") as refusals:
            for name in given:
                if name not in names:
                    refusals.add("columns", "must name inputs of the model", name, near(str(name), names))
                elif arrays[name].dtype.kind not in "iufb":
                    fix = f"Name inputs of numbers: columns={[n for n in names if arrays[n].dtype.kind in 'iufb']}."
                    refusals.add("columns", f"must be numbers, in input {name!r}", words(str(arrays[name].dtype)), fix)
        return list(given)

    def _refuse_weights(self, work: Work, rows: Rows) -> None:
        """Refuses sample weights for estimators that cannot weigh rows."""
        with Refusals("Heterogeneous") as refusals:
            for task in work.tasks:
                given = self.given(work).get(task.name)
                if given is None or weights_of(rows, task.name) is None or takes_weights(given, task):
                    continue
                fix = "Take an estimator whose fit has it, or leave the task out of `estimators`."
                rule = f"must have a fit with sample_weight, as the rows of {task.name!r} are weighed"
                refusals.add("estimators", rule, given, fix)


def _told(given: Any) -> Any:
    """An estimator as plain values."""
    if not hasattr(given, "get_params") or isinstance(given, type):
        return plain(given)
    return [type(given).__name__, plain(given.get_params())]
