"""What `evaluate` and `predict` do before and after Keras's own: they check the data, and tell errors clearly."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl._keras_private import has_prepared_data
from kmtl.feeding import Feed, empty, explain_error, is_loader, loader_dataset
from kmtl.model.loop_arguments import check_loop


def evaluate(model: Any, keras_evaluate: Callable[..., Any], data: tuple[Any, Any, Any], **options: Any) -> Any:
    """Evaluates a model by Keras's `evaluate`, its data checked first.

    Args:
        model: A compiled `MultiTaskModel`.
        keras_evaluate: Keras's `evaluate` of this model.
        data: `(x, y, sample_weight)`; what `fit` prepared for its validation is passed on.
        **options: What else Keras's `evaluate` takes.

    Returns:
        The logs as a dict.

    Raises:
        ValueError: With all offenders; classes out of range in a stream are told when it was read.
    """
    prepared = has_prepared_data(options)
    given = None
    if not prepared:
        check_loop("evaluate", options)
        given = model.inspection.evaluation_feed(*data, options["steps"])
        data = given.x, given.y, given.sample_weight
    x, y, sample_weight = data
    run = explained(given, keras_evaluate)
    logs = run(x, y, sample_weight=sample_weight, return_dict=True, **options)
    if not logs and not prepared:
        raise ValueError(empty("evaluate"))
    _refuse_impossible(model, "fit(validation_data)" if prepared else "evaluate")
    return logs


def explained(given: Feed | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose errors are told as the data explains them."""

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            clearer = error if given is None else given.explain(error)
            if clearer is error:
                raise
            raise clearer from error

    return run


def _refuse_impossible(model: Any, owner: str) -> None:
    """Refuses an evaluation in which labels were left out that no label of their task can be."""
    strategy = model.distribute_strategy
    parts = strategy.experimental_local_results(model.setup.task_losses.impossible.value)
    counts = tf.add_n([tf.convert_to_tensor(part) for part in parts]).numpy()
    with Refusals(owner) as refusals:
        for task, count in zip(model.tasks.values(), counts, strict=True):
            if count:
                rule, fix = task.statistics().rule_of_values()
                refusals.add(f"y[{task.name!r}]", rule, words(f"{int(count)} that do not"), fix)


def predict(model: Any, keras_predict: Callable[..., Any], x: Any, **options: Any) -> Any:
    """Predicts by Keras's `predict`, arrays checked first.

    Args:
        model: A `MultiTaskModel`.
        keras_predict: Keras's `predict` of this model.
        x: Inputs.
        **options: What else Keras's `predict` takes.

    Returns:
        Outputs by task name.

    Raises:
        ValueError: With all offenders.
    """
    check_loop("predict", options)
    x = loader_dataset(x, "predict") if is_loader(x) else model.inspection.inputs_alone("predict", x)
    try:
        return keras_predict(x, **options)
    except UnboundLocalError as error:
        # Keras returns the last of the batches, and there was none.
        raise ValueError(empty("predict")) from error
    except Exception as error:
        clearer = explain_error(error, x)
        if clearer is error:
            raise
        raise clearer from error
