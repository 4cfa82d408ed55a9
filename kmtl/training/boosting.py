"""Boosting: each member is trained on what those before it got wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_number, require, whole
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.tasks import Task, Unstandardize
from kmtl.tasks.combinations import exclusive_classes
from kmtl.training.boosting_rounds import Residuals, Round, Votes
from kmtl.training.combined import called, inputs_like
from kmtl.training.recipe import Recipe, share
from kmtl.training.rows_in_memory import Rows
from kmtl.training.scored_outputs import outputs_of, weights_of
from kmtl.training.votes import ScaledSum, Vote
from kmtl.training.work import Work


class Boosting(Recipe):
    """Models of all tasks, one after the other, each trained on what those before it got wrong in each task.

    A task whose label is one of C exclusive classes is boosted by SAMME: its rows have weights, with which member m has
    the error err_m, a vote of `alpha_m = ln((1 - err_m) / err_m) + ln(C - 1)`, and then the rows that it got wrong
    count exp(alpha_m) times as much. A task of values is boosted by residuals: a member is trained on `y - F_{m-1}(x)`,
    and `F_m = F_{m-1} + shrinkage * f_m`, from the mean of the labels on. Both at once in one member: the weights and
    the labels are each task's own, a missing label has weight 0, and the sample weights of the user multiply.

    The result's output for classes is **the share of the votes**, sum of alpha_m over the members that decide for the
    class, divided by the sum of all: it ranks and decides as SAMME does, and is no calibrated probability, least of all
    0 and 1 of few members. Votes have no slope, so that the result is frozen: it is not trained further. The output for
    values is F_M, fitted by least squares, whatever the task's own loss is.

    A task ends where a member is no better than chance, err_m >= 1 - 1/C, or makes no error: the former does not count
    unless it is the first, the latter as if half a row were wrong. The next members are trained without that task;
    `trained.notes["ended"]` says which, `trained.notes["votes"]` holds the alphas. A deep member that learns its rows
    by heart makes no error and ends boosting at once: members are meant to be small, or trained for few epochs.

    All rows are held in memory. Members see no validation data, as residuals of it are none of the data's labels.

    Cost: M members and, of each, a pass forward over all rows, which counts a third of one epoch; less where tasks end.

    Source: Zhu, Zou, Rosset and Hastie, "Multi-class AdaBoost", Statistics and Its Interface, 2009; Friedman, "Greedy
    Function Approximation", Annals of Statistics, 2001. Row S2-05 of the articles, which has no more than the name.

    Args:
        members: Most members, 2 or more.
        shrinkage: What a member adds to a task of values, in (0, 1]; M members that fit their residuals leave
            `(1 - shrinkage)^M` of them.
        epochs: As a multiple of the given epochs, for each member.

    >>> Boosting(members=10, shrinkage=0.3)
    Boosting(members=10, shrinkage=0.3)
    """

    source = "Zhu et al., Multi-class AdaBoost, 2009; Friedman, Greedy Function Approximation, 2001"

    def __init__(self, members: int = 5, *, shrinkage: float = 0.5, epochs: float = 1.0) -> None:
        self.members = whole("Boosting", "members", members, 2)
        good = is_number(shrinkage) and 0 < shrinkage <= 1
        require(good, "Boosting", "shrinkage", "must be above 0 and at most 1", shrinkage)
        self.shrinkage = float(shrinkage)
        self.epochs = share("Boosting", "epochs", epochs)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Records tasks that are neither of exclusive classes nor of values."""
        for task in work.tasks:
            if task.product_of or not (exclusive_classes(task) or is_of_values(task)):
                rule = "must have a label that is one of exclusive classes, or values, and a head, to be boosted"
                refusals.add("tasks", rule, task, "Bagging takes tasks of any kind.")

    def run(self, work: Work) -> Any:
        """Trains the members."""
        rows, models = work.rows(), []
        rounds = {task.name: self._round(work, rows, task) for task in work.tasks}
        for member in range(self.members):
            going = [task.alone() for task in work.tasks if not rounds[task.name].note]
            if not going:
                break
            names = [task.name for task in going]
            model = work.model(going, seed=work.member_seed(member))
            shown = rows._replace(
                y={name: rounds[name].target() for name in names},
                weights={name: rounds[name].weights.astype("float32") for name in names},
            )
            stage = f"member {member + 1}"
            data = shown.dataset(seed=work.member_seed(member))
            work.fit(stage, model, data, epochs=self.epochs, validation=False)
            for name, values in _outputs(work, f"outputs of {stage}", model, rows).items():
                rounds[name].add(member, values)
            models.append(model)
        work.notes["votes"] = {name: one.alphas for name, one in rounds.items() if isinstance(one, Votes)}
        work.notes["ended"] = {name: one.note for name, one in rounds.items() if one.note}
        return self._joined(work, models, rounds)

    def _round(self, work: Work, rows: Rows, task: Task) -> Round:
        """The start of a task."""
        labels, weights = task.cast_labels(np.asarray(rows.y[task.name])), weights_of(rows, task)
        if exclusive_classes(task):
            return Votes(task, labels, weights)
        return Residuals(task, labels, weights, work.statistics[task.name].mean, self.shrinkage)

    def _joined(self, work: Work, models: Sequence[Any], rounds: Mapping[str, Round]) -> Any:
        """One model of the members."""
        first = models[0]
        with first.distribute_strategy.scope():
            inputs = inputs_like(first)
            outputs = [called(model, inputs, f"member_{place}") for place, model in enumerate(models, 1)]
            joined = {}
            for task in work.tasks:
                found = rounds[task.name]
                mine = [outputs[member][task.name] for member in found.members]
                if isinstance(found, Votes):
                    joined[task.name] = Vote(found.alphas, name=task.name)(mine)
                else:
                    joined[task.name] = self._sum(task, mine, work.statistics[task.name], task.name in first.scalers)
            made = MultiTaskModel(inputs, joined, tasks=work.tasks)
            made.trainable = False
            return compile_like(made, first)

    def _sum(self, task: Task, outputs: Sequence[Any], statistics: Any, is_standardized: bool) -> Any:
        """The sum of the members' values, on the scale of the labels and not of the residuals of one member."""
        if not is_standardized:
            return ScaledSum([self.shrinkage] * task.units, statistics.mean, name=task.name)(outputs)
        layer = Unstandardize(name=task.name)
        factor = self.shrinkage / statistics.scale
        output = layer(ScaledSum(factor, [0.0] * task.units, name=f"{task.name}_sum")(outputs))
        layer.learn(statistics.mean, statistics.scale)
        return output


def is_of_values(task: Task) -> bool:
    """Whether an output is one value an element of a float label."""
    elements = int(np.prod([size or 0 for size in task.label_shape]))
    form = task.final_activation, task.label_dtype, task.output_shape
    return form == (None, "float32", (elements,))


def _outputs(work: Work, stage: str, model: Any, rows: Rows) -> dict[str, Any]:
    """Outputs for all rows; a third of a pass."""
    cost = work.forward_cost(-(-rows.number // rows.batch_size))
    return work.keep(stage, lambda: outputs_of(model, rows), cost=cost)
