"""The one form of refusal, and the checks that every room shares."""

import re

import numpy as np
import pytest

from kmtl._checks import (
    Refusals,
    is_number,
    is_whole,
    known_keys,
    near,
    near_match,
    non_negative,
    plain_text,
    refusal,
    require,
    sizes,
    task_name,
    whole,
    words,
)

FORM = re.compile(r"[\w()' .]+: `[\w\[\]']+` [^`]+, got .+")


def test_one_form_with_and_without_a_fix():
    assert refusal("Owner", "size", "must be 1", "2", "Do this.") == "Owner: `size` must be 1, got '2'. Do this."
    assert refusal("Owner", "size", "must be 1", 2) == "Owner: `size` must be 1, got 2."
    assert refusal("Owner", "size", "must be 1", words("a plain one")) == "Owner: `size` must be 1, got a plain one."


def test_words_of_a_file_do_nothing_to_a_screen():
    told = refusal("Owner", "path", "must be whole", words("record 3: \x1b[31m\x07"), "See \x9b2J.")
    assert told == r"Owner: `path` must be whole, got record 3: \x1b[31m\x07. See \x9b2J."


@pytest.mark.parametrize("text", ["\x1b[31mred", "bell\x07", "\x9b2J", "\x7f", "line\rover", 3])
def test_plain_text_refuses_what_a_terminal_obeys(text):
    with pytest.raises(ValueError, match=r"^Owner: `unit` must (be text|have no control characters), got "):
        plain_text("Owner", "unit", text)


def test_plain_text_keeps_every_script_and_several_lines():
    for text in ("", "µm", "m\u202fs⁻¹", "中文 🦆", "two\nlines\tand a tab", "\ud800"):
        assert plain_text("Owner", "unit", text) == text


def test_refusals_tell_all_offenders_at_once_in_order():
    refusals = Refusals("Owner", TypeError)
    refusals.check()
    refusals.add("width", "must be 1", 2)
    refusals.add("height", "must be 3", 4, "Turn it.")
    with pytest.raises(TypeError) as caught:
        refusals.check()
    assert str(caught.value) == "Owner: `width` must be 1, got 2.\nOwner: `height` must be 3, got 4. Turn it."


def test_refusals_leave_another_error_alone():
    def fail():
        with Refusals("Owner") as refusals:
            refusals.add("width", "must be 1", 2)
            raise KeyError("another")

    with pytest.raises(KeyError, match="another"):
        fail()


def test_require_passes_and_refuses():
    require(True, "Owner", "size", "must be 1", 1)
    with pytest.raises(ValueError, match=r"^Owner: `size` must be 1, got 2\. Shrink it\.$"):
        require(False, "Owner", "size", "must be 1", 2, "Shrink it.")


def test_near_suggests_or_lists():
    assert near("angel", ["digit", "angle"]) == "Did you mean 'angle'?"
    assert near("zzz", ["digit", "angle"]) == "Known: 'digit', 'angle'."


def test_a_near_match_is_of_any_case_or_nothing():
    assert near_match("PCGard", ["nash", "pcgrad"]) == "Did you mean 'pcgrad'?"
    assert near_match("DIGIT", ["Digit", "angle"]) == "Did you mean 'Digit'?"
    assert near_match("zzz", ["digit", "angle"]) == ""
    assert near_match(3, ["digit"]) == ""


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0.0), (2, 2.0), (0.5, 0.5), (np.float32(0.5), 0.5), (np.int64(3), 3)]
)
def test_non_negative_takes_any_real_number(value, number):
    result = non_negative("Owner", "rate", value)
    assert type(result) is float
    assert result == number


@pytest.mark.parametrize("value", [-1, -1e-9, float("nan"), float("inf"), True, "1", None, [1], 1j, np.ones(1)])
def test_non_negative_refuses(value):
    with pytest.raises(ValueError, match=r"^Owner: `rate` must be a finite number of at least 0, got "):
        non_negative("Owner", "rate", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [((), ()), ([], ()), (4, (4,)), ([2, 3], (2, 3)), (np.array([2, 3]), (2, 3)), (np.int64(5), (5,))],
)
def test_sizes_are_a_tuple_of_plain_ints(value, expected):
    result = sizes("Owner", "hidden", value)
    assert result == expected
    assert all(type(item) is int for item in result)


def test_sizes_reads_a_generator_once():
    assert sizes("Owner", "hidden", (width for width in (8, 4))) == (8, 4)


@pytest.mark.parametrize(
    "value",
    [0, -1, 2.0, True, "64", b"64", None, [3, 0], [2.5], [np.float32(2.5)], [True], ["3"], {3: 4}, {3, 4}, [[1]]],
)
def test_sizes_refuses(value):
    with pytest.raises(ValueError, match=r"^Owner: `hidden` must hold positive whole numbers, got "):
        sizes("Owner", "hidden", value)


def test_whole_and_its_limit():
    assert type(whole("Owner", "classes", np.int64(2), 2)) is int
    for value in (1, 2.0, True, "2", None, float("nan")):
        with pytest.raises(ValueError, match=r"^Owner: `classes` must be a whole number of at least 2, got "):
            whole("Owner", "classes", value, 2)


def test_what_counts_as_a_number():
    assert is_number(np.float32(-1.5))
    assert is_whole(np.uint8(3))
    assert not any(is_number(value) for value in (True, np.True_, float("nan"), float("-inf"), "1", None, 1j))
    assert not any(is_whole(value) for value in (True, np.True_, 1.0, "1", None))


@pytest.mark.parametrize("name", ["digit", "Age", "left_digit", "a", "z9", "a.b-c", "validity", "losses"])
def test_task_name_accepts(name):
    assert task_name("Owner", name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "must be a plain name"),
        ("1st", "must be a plain name"),
        ("_hidden", "must be a plain name"),
        ("a b", "must be a plain name"),
        ("a/b", "must be a plain name"),
        ("a:0", "must be a plain name"),
        ("straße", "must be a plain name"),
        ("digit\n", "must be a plain name"),
        (None, "must be a plain name"),
        (3, "must be a plain name"),
        ("loss", "must not be a reserved word"),
        ("val", "must not be a reserved word"),
        ("delta_m", "must not be a reserved word"),
        ("regularization", "must not be a reserved word"),
        ("serving_default", "must not be a reserved word"),
        ("val_digit", "must not start with 'val_'"),
    ],
)
def test_task_name_refuses(name, rule):
    with pytest.raises(ValueError, match=re.escape(f"Owner: `name` {rule}, got {name!r}.")) as caught:
        task_name("Owner", name)
    assert FORM.match(str(caught.value))


def test_known_keys_names_every_stranger_with_its_near_match():
    refusals = Refusals("Owner")
    known_keys(refusals, "weights", ["digit", "angel", 3], ["digit", "angle"])
    known_keys(refusals, "weights", ["depth"], ["digit"], fix=lambda key: f"Drop {key}.")
    known_keys(refusals, "weights", ["angel", *range(7)], ["digit", "angle"])
    assert refusals.messages == [
        "Owner: `weights` must use task names as keys, got 'angel'. Did you mean 'angle'?",
        "Owner: `weights` must use task names as keys, got 3. Known: 'digit', 'angle'.",
        "Owner: `weights` must use task names as keys, got 'depth'. Drop depth.",
        "Owner: `weights` must use task names as keys, got 0, 1, 2, 3, 4 and 2 more. Known: 'digit', 'angle'.",
        "Owner: `weights` must use task names as keys, got 'angel'. Did you mean 'angle'?",
    ]
