"""One form of build: what it is called with, in a search and elsewhere, and which older forms are refused."""

import keras_tuner
import pytest

import kmtl
from kmtl._checks import Refusals
from kmtl.training.builds import Build, checked_tasks, refuse_build

TASKS = [kmtl.Regression("zoo"), kmtl.Regression("ant")]


def plain(tasks, width=8):
    return [task.name for task in tasks], width


def drawing(tasks, hp):
    return len(tasks), hp.Int("width", 4, 8)


def either(tasks, *, hp=None):
    return len(tasks), hp


def test_a_build_is_called_with_the_tasks_and_with_hp_where_it_takes_it():
    hp = keras_tuner.HyperParameters()
    hp.Int("width", 4, 8, default=6)
    assert Build(plain, "compare")(TASKS) == (["zoo", "ant"], 8)
    assert Build(plain, "weights")(tuple(TASKS), hp) == (["zoo", "ant"], 8)
    assert Build(drawing, "weights")(TASKS, hp) == (2, 6)
    # Outside of a search every number has its default.
    assert Build(drawing, "compare")(TASKS) == (2, 4)
    assert Build(either, "weights")(TASKS, hp) == (2, hp)
    assert Build(either, "compare")(TASKS) == (2, None)


class Callable:
    def __call__(self, tasks):
        return tasks


@pytest.mark.parametrize("build", [plain, drawing, either, lambda *given: given, Callable()])
def test_every_form_that_takes_the_tasks_first_passes(build):
    with Refusals("compare") as refusals:
        refuse_build(refusals, build)


def old(hp, tasks):
    return hp, tasks


def older(hp):
    return hp


def bare():
    return None


def greedy(tasks, train):
    return tasks, train


FORMS = {
    "old(hp, tasks)": old,
    "older(hp)": older,
    "bare()": bare,
    "greedy(tasks, train)": greedy,
    "int": 7,
    "NoneType": None,
}


@pytest.mark.parametrize("got", FORMS)
def test_other_forms_are_refused_and_the_new_one_is_named(got):
    refusals = Refusals("front")
    refuse_build(refusals, FORMS[got])
    (message,) = refusals.messages
    assert message.startswith("front: `build` must be a function build(tasks), or build(tasks, hp), that makes")
    assert f"got {got}. " in message
    assert "def build(tasks" in message.partition(got)[2]


def test_tasks_are_a_list_and_no_dataset():
    refusals = Refusals("front")
    assert checked_tasks(refusals, iter(TASKS), "front(build, tasks)") == TASKS
    assert not refusals.messages
    for wrong in ("zoo", 3, None, [], ["zoo"], [TASKS, 3]):
        checked_tasks(refusals, wrong, "front(build, tasks)")
    assert len(refusals.messages) == 6
    assert all("The order is front(build, tasks)." in message for message in refusals.messages)
