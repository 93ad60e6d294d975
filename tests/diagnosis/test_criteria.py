"""Thresholds are said as they are, whatever they are."""

import importlib

import pytest

from jaxvae.diagnosis import criteria, states

SAID = {
    "IDLE": ("vanishing KL", "collapsed", "constant"),
    "COSTLY": ("constant",),
    "DEAF": ("saturated",),
    "STEEP": ("steep",),
    "NEAR_END": ("at the floor", "at the ceiling"),
    "DIGITS": ("lost digits",),
    "STANDARD_ERRORS": ("negative KL",),
    "LOST": ("divergence", "overfitting"),
    "EXPLODED": ("exploding gradient",),
}


@pytest.mark.parametrize("name", SAID)
def test_a_threshold_is_in_the_words_of_its_states(name, monkeypatch):
    as_it_is = {state: words.explanation for state, words in states.STATES.items()}
    monkeypatch.setattr(criteria, name, 3.5 * getattr(criteria, name))
    source = importlib.util.find_spec(states.__name__)
    other = importlib.util.module_from_spec(source)
    source.loader.exec_module(other)  # a second module, so that the first one stays as it is
    changed = tuple(state for state, words in other.STATES.items() if words.explanation != as_it_is[state])
    assert sorted(changed) == sorted(SAID[name])


def test_every_threshold_but_how_many_examples_is_said():
    assert {name for name in vars(criteria) if name.isupper()} == {*SAID, "PRESENT"}
