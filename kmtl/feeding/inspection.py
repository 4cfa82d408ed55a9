"""The look at the data: what `fit` and its kin refuse, and what they learn from the labels."""

import itertools
import weakref
from collections.abc import Container, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, refusal, whole, words
from kmtl._replicas import of_first
from kmtl.feeding.arrays import Feed, arrays_feed, with_text_as_tensors
from kmtl.feeding.batches import as_mapping, number_of_examples
from kmtl.feeding.datasets import is_dataset, size_of
from kmtl.feeding.feed import feed, is_stream
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.label_statistics import DataStatistics, check_statistics, empty
from kmtl.tasks import Task

_AS_IT_IS = "Or leave its head as it is: `check=False`."


class Inspection:
    """Looks at data before a model is trained on it, and gives the model what it learns from labels.

    Args:
        tasks: The model's tasks by name.
        scalers: The layers that learn statistics of labels, by task name.
        form: What the model takes as inputs; None leaves them unchecked.
        strategy: What the model was made in.
    """

    def __init__(
        self, tasks: Mapping[str, Task], scalers: Mapping[str, Any], form: InputForm | None, strategy: Any
    ) -> None:
        self.tasks = tasks
        self.scalers = scalers
        self.form = form
        self.strategy = strategy
        self._known: weakref.WeakKeyDictionary[Any, tuple[Any, DataStatistics]] = weakref.WeakKeyDictionary()

    def training_feed(self, x: Any, y: Any, sample_weight: Any, check: bool | int) -> Feed:
        """Checks the structure of the training data."""
        known = isinstance(check, bool) or (isinstance(check, int) and check > 0)
        if not known:
            raise ValueError(refusal("fit", "check", "must be True, False or a number of batches", check))
        values = check is not True
        options: dict[str, Any] = {"all_needed": check is not False, "form": self.form, "values": values}
        return feed(x, y, sample_weight, self.tasks, "fit", **options)

    def partial_feed(self, x: Any, y: Any, sample_weight: Any, owner: str, *, values: bool = False) -> Feed:
        """Checks the structure of data in which tasks may be absent; the values, too, if nobody looks at them later."""
        return feed(x, y, sample_weight, self.tasks, owner, all_needed=False, form=self.form, values=values)

    def batch_feed(self, x: Any, y: Any, sample_weight: Any, owner: str) -> Feed:
        """Checks one batch, in which tasks may be absent."""
        given = arrays_feed(x, y, sample_weight, self.tasks, owner, all_needed=False, form=self.form, values=True)
        self.require_scales(owner, given)
        return given

    def evaluation_feed(self, x: Any, y: Any, sample_weight: Any, steps: int | None) -> Feed:
        """Checks data that a model is evaluated on, in which tasks may be absent."""
        given = self.partial_feed(x, y, sample_weight, "evaluate", values=True)
        given.limit(steps, True, "evaluate", "steps")
        if given.size == 0 or (
            not given.is_rewindable and given.is_visible and not any(True for _ in given.batches(1))
        ):
            raise ValueError(empty("evaluate"))
        self.require_scales("evaluate", given)
        return given.with_class_weights({})

    def inputs_alone(self, owner: str, x: Any) -> Any:
        """Refuses inputs alone that the model cannot take, or none at all; a stream's batches are Keras's to judge.

        Returns:
            The inputs, text as tensors; an iterator, of which one batch was read, as the generator that Keras takes.
        """
        if hasattr(x, "__next__"):
            first = list(itertools.islice(x, 1))
            if not first:
                raise ValueError(empty(owner))
            return (batch if isinstance(batch, tuple) else (batch,) for batch in itertools.chain(first, x))
        with Refusals(owner) as refusals:
            if x is None:
                refusals.add("x", "must be given", x, "Pass arrays, or a stream of batches.")
            elif is_dataset(x) or isinstance(x, keras.utils.PyDataset):
                size = size_of(x) if is_dataset(x) else x.num_batches
                refusals.messages += [empty(owner)] if size == 0 else []
            elif not is_stream(x):
                if self.form is not None and as_mapping(x) is x:
                    self.form.check(refusals, x)
                if not refusals.messages and not number_of_examples(x):
                    refusals.messages.append(empty(owner))
        return x if is_stream(x) else with_text_as_tensors(x)

    def validation_feed(self, data: Any, steps: int | None, check: bool | int) -> Feed:
        """Checks validation data."""
        owner = "fit(validation_data)"
        parts = data if isinstance(data, list | tuple) else (data,)
        if not 1 <= len(parts) <= 3:
            fix = "Leave out what is behind the weights."
            rule = "must be (x, y) or (x, y, sample_weight), or a stream of batches"
            raise ValueError(refusal("fit", "validation_data", rule, words(f"{len(parts)} parts"), fix))
        x, y, weights = (*parts, None, None)[:3]
        given = self.partial_feed(x, y, weights, owner, values=check is not True)
        limit = given.limit(steps, check, "fit", "validation_steps")
        if check is not False and given.is_rewindable:
            check_statistics(self._statistics(given, limit), (), owner, all_needed=False)
        return given.with_class_weights({})

    def look(self, given: Feed, steps: int | None, check: bool | int) -> DataStatistics | None:
        """Takes the statistics of the training labels and refuses what it must."""
        limit = given.limit(steps, check, "fit", "steps_per_epoch")
        if check is False or not given.is_visible:
            if given.is_at_hand:
                statistics = DataStatistics.of(self.tasks, given.batches(None))
                names = self.unlearned(given.unlabelled(self.scalers))
                check_statistics(statistics, names, "fit", all_needed=False)
                self.learn_scales(statistics, names)
            self.require_scales("fit", given)
            return None
        statistics = self._statistics(given, limit)
        # Of a dataset nobody knows without a look that all labels of a key are missing.
        way_out = _AS_IT_IS if given.is_at_hand or not given.has_fixed_keys else ""
        check_statistics(statistics, self.unlearned(), "fit", way_out=way_out)
        return statistics

    def _statistics(self, given: Feed, limit: int | None) -> DataStatistics:
        """Takes the statistics, or remembers those of a stream that was looked at before."""
        is_kept = given.source is not None and given.is_rewindable
        if is_kept and self._known.get(given.source, (0, None))[0] == (limit,):
            return self._known[given.source][1]
        statistics = DataStatistics.of(self.tasks, given.batches(limit))
        statistics.complete = given.is_complete(limit)
        if is_kept:
            self._known[given.source] = ((limit,), statistics)
        return statistics

    def unlearned(self, absent: Container[str] = ()) -> list[str]:
        """Names of the standardised regressions whose statistics nobody learned, but for those without labels."""
        return [name for name, layer in self.scalers.items() if name not in absent and not layer.is_learned]

    def adapt(self, data: Any, y: Any, steps: int | None) -> None:
        """Learns the statistics of every standardised regression that the data has a key of, learned before or not."""
        steps = None if steps is None else whole("adapt", "steps", steps, 1)
        given = self.partial_feed(data, y, None, "adapt")
        limit = given.limit(steps, True, "adapt", "steps")
        statistics = DataStatistics.of(self.tasks, given.batches(limit if steps is None else steps))
        # A data set may belong to some of the tasks; without a key of any, nothing would be learned.
        none = {name for name, found in statistics.tasks.items() if not found.labelled}
        absent = given.absent if given.has_fixed_keys else none
        names = [name for name in self.scalers if name not in absent] or list(self.scalers)
        check_statistics(statistics, names, "adapt", all_needed=False)
        self.learn_scales(statistics, names)

    def prepare(self, owner: str, x: Any, y: Any, sample_weight: Any, limit: int) -> Feed:
        """Data that is looked at but not trained on, with the statistics of its labels learned."""
        limit = whole(owner, "batches", limit, 1)
        given = self.partial_feed(x, y, sample_weight, owner, values=not is_dataset(x))
        if self.unlearned():
            statistics = DataStatistics.of(self.tasks, given.batches(limit))
            check_statistics(statistics, self.unlearned(), owner, all_needed=False)
            self.learn_scales(statistics, self.unlearned())
        return given.with_class_weights({})

    def learn_scales(self, statistics: DataStatistics, names: Iterable[str]) -> None:
        """Gives the statistics to the layers that turn predictions into the label's unit.

        Machines that looked at different data must not scale differently: the first one's count.
        """
        learning = [(self.scalers[name], self.scalers[name].values_to_learn(statistics.tasks[name])) for name in names]
        if not learning:
            return
        own = np.concatenate([values for _, values in learning], axis=None).astype("float32")
        agreed = of_first(self.strategy, own)
        ends = np.cumsum([values.size for _, values in learning])[:-1]
        for (layer, values), part in zip(learning, np.split(agreed, ends), strict=True):
            layer.learn(*part.reshape(values.shape))

    def require_scales(self, owner: str, given: Feed) -> None:
        """Refuses labels of a standardised regression whose statistics nobody learned.

        Args:
            owner: For the message.
            given: The data.
        """
        unlearned = self.unlearned()
        without = given.unlabelled(unlearned) if unlearned else set()
        unlearned = [name for name in unlearned if name not in without]
        if unlearned:
            fix = "Call model.adapt(data) with labelled data first, or give the task `standardize=False`."
            rule = "must have learned the labels' mean and scale"
            raise ValueError(refusal(owner, "tasks", rule, words(f"none for {unlearned}"), fix))
