"""One task a step."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import Refusals, is_number, is_whole, known_keys, near, words
from kmtl.balancers import Equal
from kmtl.model.carried_training import Names, carried_optimizer
from kmtl.model.graph import every_layer
from kmtl.model.optimizers import SHARED, OptimizerByTask
from kmtl.training.alternating_step import AlternatingStep
from kmtl.training.recipe import Recipe
from kmtl.training.sets_in_turn import check_alike, sets_in_turn
from kmtl.training.turn_optimizer import OptimizerByTurn
from kmtl.training.turns import ORDERS, Turns, table_of
from kmtl.training.work import Work

_OPTIMIZERS = ("shared", "own")


class Alternating(Recipe):
    """One task a step: the trunk and this task's head move by the gradient of its loss alone.

        theta <- theta - rate * dL_k/dtheta,   k the task whose turn step n is

    The heads of the others stand still, and so does what the optimizer holds of them. Whose turn it is, is a function
    of the seed and of the step's number alone. With `p_k` proportional to `lambda_k`, the expected step is the
    gradient of `sum_k lambda_k L_k / sum_k lambda_k`.

    Data is one set with labels missing, or `{task: data}` with inputs alike, as for `train`, of which a batch comes
    from the set of the task whose turn it is; its labels of other tasks are not read. In one set, a task that has no
    label in the batch passes its turn on to the next one in order that has. Loss weights multiply the losses as ever; a
    task whose weight is 0 has no turn.

    One Adam for all (`"shared"`) mixes their gradients in the moments of the trunk, and its correction of the moments
    counts all steps: the first turns of a head are corrected too little, and as many as 3.2 times as long as alone (at
    Adam's defaults). With one a task (`"own"`), moments of the trunk are kept apart, at the price of its size a task,
    and a schedule of the learning rate counts the turns of its task. The model then comes back with a fresh optimizer
    of the settings that `build` gave.

    Losses and metrics in the logs are those of all labels in each batch; `<task>_weight` is the share of its turns.
    A penalty on the weights of a head acts in its turns.

    Costs as much as joint training of as many steps: with `{task: data}` an epoch has as many as the sets have batches
    together.

    Rows S4-01 and S4-06 of the articles.

    Args:
        order: `"round_robin"`: one after the other; `"proportional"`: drawn by numbers of labels, `p_k ~ N_k`;
            `"temperature"`: `p_k ~ N_k^(1/T)`; `"annealed"`: from proportional to almost uniform over the epochs, as
            `kmtl.data.mix` does; `"random"`: drawn by `weights`.
        weights: For `"random"`, `{task: number above 0}`; None draws all alike.
        temperature: For `"temperature"`, T of at least 1: 1 is proportional, 2 (None) square-root sampling, large ones
            uniform.
        block: Steps that a turn lasts.
        optimizer: `"shared"` or `"own"`.

    >>> Alternating(order="random", weights={"digit": 2.0, "angle": 1.0}, optimizer="own")
    Alternating(order='random', weights={'digit': 2.0, 'angle': 1.0}, optimizer='own')
    """

    source = "Collobert and Weston, A Unified Architecture for Natural Language Processing, ICML 2008"
    takes_sets_by_task = True

    def __init__(
        self,
        order: str = "round_robin",
        *,
        weights: Mapping[str, float] | None = None,
        temperature: float | None = None,
        block: int = 1,
        optimizer: str = "shared",
    ) -> None:
        with Refusals("Alternating") as refusals:
            for argument, value, known in (("order", order, ORDERS), ("optimizer", optimizer, _OPTIMIZERS)):
                if value not in known:
                    refusals.add(argument, f"must be one of {list(known)}", value, near(str(value), known))
            _check_weights(refusals, order, weights)
            if temperature is not None and order != "temperature":
                refusals.add("temperature", "must be left out unless order='temperature'", temperature)
            elif temperature is not None and (not is_number(temperature) or temperature < 1):
                refusals.add("temperature", "must be a finite number of at least 1", temperature)
            if not is_whole(block) or block < 1:
                refusals.add("block", "must be a whole number of at least 1", block)
        self.order, self.weights, self.temperature = order, weights, temperature
        self.block, self.optimizer = block, optimizer

    def check(self, refusals: Refusals, work: Work) -> None:
        """Records tasks that would get no turn, and sets of data that do not fit together."""
        if len(work.tasks) < 2:
            refusals.add("tasks", "must be two or more", work.names, "One task alone has every turn: use Separate().")
        for argument, given in (("weights", self.weights), ("train", work.train)):
            if isinstance(given, Mapping):
                _check_keys(refusals, argument, given, work.names)
        refusals.check()
        steps = work.steps * work.epochs
        if isinstance(work.train, Mapping):
            check_alike(work.owner, work.train, {task.name: task for task in work.tasks})
            # `fit` looks at the batches of the first epoch.
            steps = work.steps
        counts = dict(zip(work.names, self._turns(work).counts(steps), strict=True))
        for name in [name for name, count in counts.items() if not count]:
            got = words(f"none for {name!r} in {steps} steps")
            refusals.add("order", "must give every task a turn", got, "Use 'round_robin', a smaller block, or weights.")

    def _turns(self, work: Work) -> Turns:
        """Whose turn each step of a training is."""
        sizes = [work.statistics[name].labelled for name in work.names]
        weights = None if self.weights is None else [self.weights[name] for name in work.names]
        temperature = 2.0 if self.temperature is None else self.temperature
        table = table_of(self.order, sizes, work.epochs, weights=weights, temperature=temperature)
        return Turns(table, len(sizes), seed=work.seed, block=self.block, steps_per_epoch=work.steps)

    def run(self, work: Work) -> Any:
        """Trains by turns."""
        model, turns = work.model(), self._turns(work)
        _check_model(work.owner, model, own=self.optimizer == "own")
        plain = model.optimizer
        if self.optimizer == "own":
            names = [SHARED, *work.names]
            recompile(model, OptimizerByTurn, lambda made: {name: made() for name in names})
        data = work.train
        if isinstance(data, Mapping):
            for name in model.scalers:
                model.adapt(work.data_of([name], data[name]))
            data = sets_in_turn(data, model.tasks, turns)
        work.take_step(model, AlternatingStep, turns=turns)
        work.fit("alternating", model, data, steps=work.steps)
        if self.optimizer == "own":
            recompile(model, lambda parts: parts[SHARED], lambda made: {SHARED: made()}, plain)
        return model


def recompile(model: Any, make: Any, parts: Any, settings: Any = None) -> None:
    """Compiles a model again with optimizers of the settings of its own, or of another's, without any state."""
    given = getattr(settings or model.optimizer, "inner_optimizer", settings or model.optimizer)
    with model.distribute_strategy.scope():
        optimizer = make(parts(lambda: carried_optimizer(given, Names({}, {}))))
    model.compile(optimizer, **{**model._arguments, "balancer": "equal"})


def _check_keys(refusals: Refusals, argument: str, given: Mapping[str, Any], names: list[str]) -> None:
    """Records keys that are no tasks, and tasks that are no keys."""
    known_keys(refusals, argument, given, names)
    for name in names:
        if name not in given:
            refusals.add(argument, "must have every task", list(given), f"Add {name!r}, or leave it out of `tasks`.")


def _check_weights(refusals: Refusals, order: Any, weights: Any) -> None:
    """Records weights that are none."""
    if weights is None:
        return
    if order != "random":
        refusals.add("weights", "must be left out unless order='random'", weights)
    elif not isinstance(weights, Mapping):
        refusals.add("weights", "must be a dict {task: number above 0}", weights)
    else:
        for name, value in weights.items():
            if not is_number(value) or value <= 0:
                refusals.add(f"weights[{name!r}]", "must be a finite number above 0", value, "Leave the task out.")


def _check_model(owner: str, model: Any, *, own: bool) -> None:
    """Refuses a model that cannot be trained one task a step."""
    setup, fix = model.setup, "Leave it out of the compile in `build`."
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    with Refusals(owner) as refusals:
        if type(model.balancer) is not Equal:
            rule = "must compile balancer='equal': one task a step leaves nothing to balance"
            refusals.add("build", rule, words(type(model.balancer).__name__), fix)
        if setup.conflicts is not None:
            rule = "must not compile track_conflicts: one task a step has no conflict"
            refusals.add("build", rule, words("track_conflicts=True"), fix)
        if setup.joint.losses:
            got = words(str([loss.name for loss in setup.joint.losses]))
            refusals.add("build", "must compile no joint losses: they are no task's turn", got, fix)
        parts = inner.parts.values() if isinstance(inner, OptimizerByTask) else [inner]
        steps = [part.gradient_accumulation_steps for part in parts if part.gradient_accumulation_steps]
        if steps:
            rule = "must not compile gradient accumulation: it would mix the gradients of several turns"
            refusals.add("build", rule, words(f"gradient_accumulation_steps={steps[0]}"), "Take a larger batch.")
        if own and isinstance(inner, OptimizerByTask):
            rule = "must compile one optimizer, of which optimizer='own' makes one a task"
            refusals.add("build", rule, words("one by part"), "Use optimizer='shared'.")
        fused = [layer.name for layer in every_layer(model) if getattr(layer, "serves_outputs_apart", False)]
        if fused:
            rule = "must make heads apart: those of one kernel would move in every turn"
            refusals.add("build", rule, words(f"fused {fused}"), "from_features(..., fuse=False).")
