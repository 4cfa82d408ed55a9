"""A trunk a task, mixed with the others every so often."""

import warnings
from typing import Any

import numpy as np
from keras import ops

from kmtl._checks import Refusals, is_number, is_whole, near, refusal, words
from kmtl.balancers import Equal
from kmtl.training.combined import combined
from kmtl.training.label_affinity import label_affinity
from kmtl.training.message_step import MessageStep
from kmtl.training.recipe import Recipe
from kmtl.training.shared_trunk import shared_trunk, trunk_in
from kmtl.training.sinkhorn import MOST, check_scalable, sinkhorn
from kmtl.training.work import Work

_AFFINITIES, _TRUNKS, _TEMPERATURE = ("gradients", "labels"), ("each", "mean"), 0.25


class MessagePassing(Recipe):
    """A copy of the trunk for each task, from one start; every so many steps each becomes a mean of all.

        theta_t <- sum_s P_ts theta_s,   P = Sinkhorn(exp(A / temperature))

    P is doubly stochastic: its rows sum to 1, so that each copy becomes a mean, and its columns, so that the mean of
    all copies stays what it is; no exchange makes the copies differ more. The identity is `Separate`, bit for bit; the
    uniform matrix a joint training that meets every so many steps. Moving statistics of normalisation are exchanged
    with the weights; the moments of the optimizers, one a task, are not.

    Departs from the article, which calls Sinkhorn-Knopp an algorithm of message passing: it scales a matrix; the
    passing is the averaging of neighbours, as in gossip.

    All copies are trained in lockstep by one `fit`. Costs as many joint trainings as there are tasks. `notes` of the
    result hold `"affinity"` A and `"exchange"` P at the end, and, for labels, `"without_correlation"`.

    Row S4-07 of the articles.

    Args:
        affinity: A, between -1 and 1. `"gradients"`: a running mean of the cosine between the gradients of two copies,
            each by its own task's loss. `"labels"`: the absolute correlation of two labels over the rows that have
            both, see `kmtl.training.label_affinity`. Or a matrix `(K, K)` of numbers of at least 0, in task order,
            which is scaled as it is: no exponential is taken.
        every: Steps from one exchange to the next.
        temperature: Above 0; low ones keep the copies apart, high ones mix them all alike. None is 0.25. A matrix has
            none.
        trunk: `"each"` leaves one trunk a task; `"mean"` one for all, the mean of the copies, as `build` makes it, with
            the heads of each. The fewer steps lie between exchanges, the better heads fit to it.

    >>> MessagePassing([[3.0, 1.0], [1.0, 3.0]], every=5)
    MessagePassing(affinity=[[3.0, 1.0], [1.0, 3.0]], every=5)
    """

    source = (
        "Boyd, Ghosh, Prabhakar and Shah, Randomized Gossip Algorithms, IEEE Transactions on Information Theory, 2006; "
        "Sinkhorn and Knopp, Concerning Nonnegative Matrices and Doubly Stochastic Matrices, Pacific Journal of "
        "Mathematics, 1967"
    )

    def __init__(
        self, affinity: Any = "gradients", *, every: int = 10, temperature: float | None = None, trunk: str = "each"
    ) -> None:
        with Refusals("MessagePassing") as refusals:
            named = isinstance(affinity, str)
            if named and affinity not in _AFFINITIES:
                rule = f"must be one of {list(_AFFINITIES)}, or a matrix"
                refusals.add("affinity", rule, affinity, near(affinity, _AFFINITIES))
            elif not named:
                check_scalable(refusals, "affinity", affinity)
            if not is_whole(every) or every < 1:
                refusals.add("every", "must be a whole number of at least 1", every)
            if temperature is not None and not named:
                refusals.add("temperature", "must be left out where `affinity` is a matrix", temperature)
            elif temperature is not None and (not is_number(temperature) or temperature <= 0):
                refusals.add("temperature", "must be a finite number above 0", temperature)
            if trunk not in _TRUNKS:
                refusals.add("trunk", f"must be one of {list(_TRUNKS)}", trunk, near(str(trunk), _TRUNKS))
        self.affinity = affinity if named else np.asarray(affinity, "float64").tolist()
        self.every, self.temperature, self.trunk = every, temperature, trunk

    def check(self, refusals: Refusals, work: Work) -> None:
        """Records one task alone, and a matrix of other tasks."""
        number = len(work.tasks)
        if number < 2:
            refusals.add("tasks", "must be two or more", work.names, "One task alone has nobody to hear from.")
        elif not isinstance(self.affinity, str) and len(self.affinity) != number:
            got = words(f"{len(self.affinity)} for {work.names}")
            refusals.add("affinity", "must have a row and a column a task", got)

    def run(self, work: Work) -> Any:
        """Trains the copies."""
        joint = work.model()
        if type(joint.balancer) is not Equal:
            rule = "must compile balancer='equal': trunks of their own leave nothing to balance"
            got = words(type(joint.balancer).__name__)
            raise ValueError(refusal(work.owner, "build", rule, got, "Leave it out of the compile in `build`."))
        shared = shared_trunk(work.owner, joint)
        models = {task.name: work.alone(task) for task in work.tasks}
        copies = [trunk_in(work.owner, model, shared).weights for model in models.values()]
        _start_alike(work, copies)
        model = combined(models)
        temperature = _TEMPERATURE if self.temperature is None else self.temperature
        options = {"copies": copies, "every": self.every, "temperature": temperature}
        step = work.take_step(model, MessageStep, exchange=self._exchange(work, temperature), **options)
        work.fit("message passing", model, passes=len(models))
        if step.fixed is None:
            work.notes["affinity"] = step.affinity.numpy()
        work.notes["exchange"] = ops.convert_to_numpy(step.exchange)
        return model if self.trunk == "each" else _with_mean_trunk(work, joint, shared, copies, models)

    def _exchange(self, work: Work, temperature: float) -> Any:
        """P where it is known before the training; None where gradients tell."""
        if self.affinity == "gradients":
            return None
        if self.affinity == "labels":
            rows = work.rows()
            affinity, without = label_affinity(work.tasks, rows.y)
            work.notes["without_correlation"] = without
            scaled = np.exp((affinity - 1.0) / temperature)
        else:
            affinity = scaled = np.asarray(self.affinity)
        work.notes["affinity"] = affinity
        return ops.convert_to_numpy(sinkhorn(scaled, MOST))


def _start_alike(work: Work, copies: list[list[Any]]) -> None:
    """Lets all copies start as the first one; warns where a build function does not see to it."""
    apart = [
        name
        for name, copy in zip(work.names, copies, strict=True)
        if any(not np.array_equal(one, other) for one, other in zip(copies[0], copy, strict=True))
    ]
    if apart:
        text = (
            f"{work.owner}: `build` starts the trunk of {apart} otherwise than that of {work.names[0]!r} under one seed"
        )
        warnings.warn(f"{text}; they start as it does. Build the trunk before the heads.", UserWarning, stacklevel=2)
        for copy in copies[1:]:
            for variable, value in zip(copy, copies[0], strict=True):
                variable.assign(value)


def _with_mean_trunk(work: Work, joint: Any, shared: Any, copies: list[list[Any]], models: dict[str, Any]) -> Any:
    """The joint model with the mean of the trunks, and the head of each task."""
    for variable, *parts in zip(shared.weights, *copies, strict=True):
        variable.assign(np.mean([part.numpy() for part in parts], axis=0, dtype="float64"))
    for (name, head), copy in zip(joint.heads().items(), copies, strict=True):
        trunk = {id(variable) for variable in copy}
        own = [
            item.numpy()
            for layer in models[name].heads()[name].layers
            for item in layer.weights
            if id(item) not in trunk
        ]
        if [value.shape for value in own] != [value.shape for value in head.get_weights()]:
            fix = "Let a head not depend on the other tasks, or use trunk='each'."
            got = words(f"another one of {name!r}")
            raise ValueError(refusal(work.owner, "build", "must make the same head for one task as for all", got, fix))
        head.set_weights(own)
    return joint
