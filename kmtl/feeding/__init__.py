"""From whatever Keras accepts to checked `(x, {task: label}, {task: weight})` batches."""

from kmtl.feeding.census import Census, TaskCensus, check_census
from kmtl.feeding.doors import feed
from kmtl.feeding.explaining import explainable, explained
from kmtl.feeding.feeds import Feed, arrays_feed
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.weighting import class_tables

__all__ = [
    "Census",
    "Feed",
    "InputForm",
    "TaskCensus",
    "arrays_feed",
    "check_census",
    "class_tables",
    "explainable",
    "explained",
    "feed",
]
