"""Probabilities that mean what they say, and where to say yes: chosen on validation data and kept in the model."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, is_number, near, words
from kmtl.evidence.labelled_outputs import chosen_tasks, gives_probabilities, labelled_outputs, of_classes
from kmtl.evidence.trust import calibration_fits as fits
from kmtl.evidence.trust.calibration_result import Calibration, TaskCalibration
from kmtl.evidence.trust.spread_calibration import check_spread, spread_calibration, tells_intervals
from kmtl.tasks.logits import divide_logits, logits_layer
from kmtl.tasks.spread import Spread, spread_layer

_OWNER = "calibrate"


def calibrate(
    model: Any,
    data: Any,
    y: Any = None,
    *,
    tasks: Sequence[str] | None = None,
    thresholds: str | None = None,
    costs: tuple[float, float] | None = None,
    bins: int = fits.BINS,
) -> Calibration:
    """Calibrates the heads of a model on validation data, in the model itself.

    A trained network is often too sure of itself. Of each task of classes the logits are divided by one temperature,
    that under which the validation labels are likeliest. It is folded into the kernel and the bias of the head's last
    layer, so that the model, its files and every export give calibrated probabilities at no cost. The likeliest class
    stays what it was, and the log loss on `data` does not grow. Of an `OrdinalRegression` it is the logits of its link
    that are divided; there the decision, the median, may move.

    A task that tells how uncertain its values are gets one factor on that uncertainty, which is a number in its head's
    last layer, so that the interval that stands for it holds as many labels as it is to: of a `QuantileRegression` that
    between its outermost quantiles, of a `HeteroscedasticRegression` that of 90 %. The values stay what they were.

    With `thresholds`, each task that answers yes or no gets the probability above which it says yes, one a label of a
    `MultiLabel`. It becomes part of the task: `decide`, reports, decoded exports and `kmtl.json` follow it. Metrics
    named "accuracy" stay at 0.5.

    Data that was trained on makes the model look better than it is: take labels that it has not seen, and other ones
    for a test afterwards. Labels that are missing count nowhere. Calling it again starts from where the model is.

    Args:
        model: A trained `MultiTaskModel`; its heads and tasks are changed in place.
        data: Arrays with `y`, `(x, {task: labels})`, or a stream of such batches.
        y: `{task: labels}`.
        tasks: Names; None takes every task of classes whose logits come from a layer of its own and every task that
            tells how uncertain it is, and with `thresholds` those too that answer yes or no by a score of another
            make, as a distance: their temperature stays 1.
        thresholds: `"f1"` (of yes), `"youden"` (sensitivity plus specificity), `"cost"`, or None to leave them.
        costs: For `"cost"`: what a wrong yes and a wrong no cost.
        bins: Of the reliability diagram and the calibration error.

    Returns:
        A `Calibration`.

    Raises:
        ValueError: If a task is unknown, or named and not to be calibrated; if the data does not fit or has no labels
            for a task, or too few for its uncertainty; if a threshold is asked of a score that is the same for every
            row; nothing is changed then.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.

    >>> import keras, kmtl
    >>> x, start = keras.Input((1,), name="x"), keras.initializers.Constant([[-2.0, 2.0]])
    >>> head = keras.layers.Dense(2, "softmax", kernel_initializer=start, name="kind")
    >>> model = kmtl.MultiTaskModel(x, {"kind": head(x)}, tasks=[kmtl.Classification("kind", 2)])
    >>> # Three of four are right where the model is sure to 98 %: it gave logits 4 apart where log(3) is enough.
    >>> found = calibrate(model, np.ones((4, 1)), {"kind": np.array([1, 1, 1, 0])})
    >>> round(found.rows[0].temperature, 3), float(round(4 / np.log(3), 3))
    (3.641, 3.641)
    >>> model.predict(np.ones((1, 1)), verbose=0)["kind"].round(3).tolist()
    [[0.25, 0.75]]
    """
    rule = _rule(thresholds, costs, bins)
    layers, skipped = _layers(model, tasks, scored=rule is not None)
    found = labelled_outputs(model, data, y, _OWNER)
    with Refusals(_OWNER) as refusals:
        for name in layers:
            _check(refusals, model.tasks[name], *found[name], scored=rule is not None)
    spreads = [name for name, layer in layers.items() if isinstance(layer, Spread)]
    widened = tuple(spread_calibration(model.tasks[name], *found[name]) for name in spreads)
    rows = tuple(
        _calibrated(model.tasks[name], *found[name], rule, bins, tempered=layer is not None)
        for name, layer in layers.items()
        if name not in spreads
    )
    for spread in widened:
        layers[spread.task].multiply_spread(spread.factor)
    for row in rows:
        if layers[row.task] is not None:
            divide_logits(layers[row.task], row.task, row.temperature)
        if row.threshold is not None:
            model.tasks[row.task] = model.tasks[row.task].with_threshold(row.threshold)
    return Calibration(rows, skipped, widened)


def _rule(thresholds: Any, costs: Any, bins: Any) -> Any:
    """What thresholds make large; None leaves them."""
    known = [*fits.RULES, "cost"]
    with Refusals(_OWNER) as refusals:
        if thresholds is not None and thresholds not in known:
            refusals.add("thresholds", "must be the name of a rule or None", thresholds, near(str(thresholds), known))
        if not isinstance(bins, int) or bins < 1:
            refusals.add("bins", "must be a whole number of at least 1", bins)
        pair = isinstance(costs, tuple | list) and len(costs) == 2
        good = pair and all(is_number(one) and one >= 0 for one in costs) and sum(costs) > 0
        if (thresholds == "cost") != (costs is not None) or (costs is not None and not good):
            fix = "costs=(1.0, 5.0): a missed yes is five times as bad as a false one."
            refusals.add("costs", "must be two numbers of at least 0 with thresholds='cost', else None", costs, fix)
    return fits.cost(*costs) if thresholds == "cost" else fits.RULES.get(thresholds)


def _check(refusals: Refusals, task: Any, labels: Any, outputs: Any, *, scored: bool) -> None:
    """Records a task without labels, and one whose score no threshold can cut, or whose uncertainty none can tell."""
    if not np.asarray(task.present(labels)).any():
        refusals.add("data", f"must label task {task.name!r}", words("none"), "Leave it out of `tasks`.")
    elif not task.decides:
        check_spread(refusals, task, labels, outputs)
    elif scored and task.threshold is not None:
        scores = of_classes(task, labels, outputs)[1][:, 1]
        if fits.is_constant(scores):
            fix = "It has learned nothing: train it first, or leave it out of `tasks`."
            rule, got = f"need a score of {task.name!r} that differs between rows", f"{scores[0]:.6g} for every row"
            refusals.add("thresholds", rule, words(got), fix)


def _layers(model: Any, tasks: Any, *, scored: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The layers that make the logits, by task, and why the other tasks of classes have none; or refuses.

    A task of which a threshold alone is wanted has None.
    """
    layers: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    with Refusals(_OWNER) as refusals:
        names = chosen_tasks(refusals, model, tasks)
        heads = model.heads() if names else {}
        for name in names:
            layer, reason = _layer(model, name, heads[name])
            if layer is None and scored and _has_score_of_its_own(model, name, names):
                layers[name] = None
            elif layer is not None:
                layers[name] = layer
            elif tasks is not None:
                refusals.add("tasks", f"must not name {name!r}, which cannot be calibrated", words(reason))
            elif model.tasks[name].decides:
                skipped[name] = reason
        if names and not layers and not refusals.messages:
            got = words("; ".join(f"{name}: {reason}" for name, reason in skipped.items()) or f"{names}, all of values")
            rule = "must have a task of classes, or one that tells how uncertain it is, to calibrate"
            refusals.add("model", rule, got)
    return layers, skipped


def _layer(model: Any, name: str, head: Any) -> tuple[Any, str]:
    """The layer that makes a task's logits, or scales its uncertainty, or None and the reason."""
    if not gives_probabilities(model.tasks[name]):
        spread = spread_layer(model.output[name]) if tells_intervals(model.tasks[name]) else None
        return spread, "no task of classes, and it tells no uncertainty by a layer of its kind"
    layer = logits_layer(model.output[name])
    if layer is None:
        return None, "no softmax or sigmoid of a linear layer"
    if not any(layer is one for one in [*head.layers, *head.apart]):
        return None, f"its last layer {layer.name!r} serves other tasks too"
    return layer, ""


def _has_score_of_its_own(model: Any, name: str, names: Sequence[str]) -> bool:
    """Whether a task answers yes or no by a score that does not change when others among those named are calibrated."""
    if model.tasks[name].threshold is None or not gives_probabilities(model.tasks[name]):
        return False
    behind = keras.Model(model.input, model.output[name]).layers
    ends = [logits_layer(model.output[other]) for other in names if other != name]
    return not any(layer is end for layer in behind for end in ends)


def _calibrated(task: Any, labels: Any, outputs: Any, rule: Any, bins: int, *, tempered: bool) -> TaskCalibration:
    """What one task's labels say; the model is not touched."""
    truth, before, element = of_classes(task, labels, outputs)
    temperature = fits.best_temperature(truth, before, task.tempered) if tempered else 1.0
    after = task.tempered(before, temperature)
    threshold = task.threshold
    if rule is not None and threshold is not None:
        count = math.prod(task.label_shape)
        own = np.broadcast_to(threshold, (count,))
        chosen = fits.thresholds_of(truth, after[:, 1], element, count, rule)
        kept = tuple(float(old) if new is None else new for old, new in zip(own, chosen, strict=True))
        threshold = kept if task.label_shape else kept[0]
    both = (before, after)
    return TaskCalibration(
        task.name,
        len(truth),
        temperature,
        (fits.log_loss(truth, before), fits.log_loss(truth, after)),
        (fits.calibration_error(truth, before, bins), fits.calibration_error(truth, after, bins)),
        threshold,
        (fits.reliability(truth, both[0], bins), fits.reliability(truth, both[1], bins)),
    )
