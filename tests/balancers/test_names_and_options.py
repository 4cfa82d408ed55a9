"""How a balancer is asked for, how it prints, and what is said of a name or an option that is not known."""

import pytest
from balancers.tables import TABLE

from kmtl import balancers


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("UPGrad", "Did you mean 'upgrad'?"),
        ("pc_grad", "Did you mean 'pcgrad'?"),
        ("IMTL-G", "Did you mean 'imtl_g'?"),
        ("nothing of the kind", "kmtl.balancers.names() lists them; docs/balancers.md says which when."),
    ],
)
def test_an_unknown_name_has_one_near_match_and_no_list(given, hint):
    with pytest.raises(ValueError, match="must be known") as error:
        balancers.get(given)
    assert str(error.value) == f"compile: `balancer` must be known, got {given!r}. {hint}"


@pytest.mark.parametrize("name", TABLE)
def test_it_prints_as_it_is_asked_for(name):
    plain, slow = balancers.get(name), balancers.get(name, scale="paper")
    assert repr(plain) == f"kmtl.balancers.get({name!r})"
    assert repr(slow) == f"kmtl.balancers.get({name!r}, scale='paper')"
    assert plain.name == name
    again = eval(repr(slow), {"kmtl": __import__("kmtl")})
    assert again.get_config() == slow.get_config()


def test_one_of_your_own_prints_as_its_class():
    class Halved(balancers.PCGrad):
        pass

    assert repr(Halved(seed=3)) == "Halved(seed=3)"


@pytest.mark.parametrize(
    ("name", "option", "called"),
    [
        ("cagrad", "c", "radius"),
        ("dwa", "T", "temperature"),
        ("uw_so", "T", "temperature"),
        ("sdmgrad", "lamda", "regularization"),
        ("upgrad", "pref_vector", "preference"),
        ("krum", "n_byzantine", "byzantine"),
        ("excess", "eta", "step_size"),
        ("famo", "lr", "learning_rate"),
    ],
)
def test_a_papers_symbol_is_told_by_its_name_here(name, option, called):
    with pytest.raises(TypeError, match=rf": `{option}` is no option .* It is called '{called}' here\. Known: '"):
        balancers.get(name, **{option: 1})


def test_every_unknown_option_is_told_with_all_that_are_known():
    known = r"Known: 'normalize', 'scale', 'smoothing', 'update_every'\."
    with pytest.raises(TypeError, match=rf"^Equal: `c` is no option .*, got 1\. {known}\nEqual: `d` .*{known}$"):
        balancers.get("equal", c=1, d=2)
    with pytest.raises(TypeError, match=r"^get: `options` must stand beside a name, got kmtl\.balancers\.get\('unit'"):
        balancers.get(balancers.Unit(), level="features")
