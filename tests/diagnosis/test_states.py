"""Every state is said once, in one line, at one of three levels."""

import string

import pytest

from jaxvae.diagnosis import STATES, finding
from jaxvae.diagnosis.states import LEVELS

WORDS = {"formula": "σ = r", "dtype": "float32", "low": "0", "high": "1"}


def test_the_gravest_stand_first():
    ranks = [LEVELS.index(state.level) for state in STATES.values()]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize("name", STATES)
def test_each_is_said_in_a_line(name):
    state = STATES[name]
    blanks = {field for _, field, _, _ in string.Formatter().parse(state.explanation) if field}
    assert blanks <= set(WORDS)
    found = finding(name, [2], 0.5, **WORDS)
    assert (found.name, found.level, found.latents, found.share) == (name, state.level, (2,), 0.5)
    for text in (found.explanation, found.advice):
        assert len(text) > 20
        assert not set(text) & set("{}\n")
        assert not text.endswith(".")
        assert "--" not in text, "flags are the command line's to say"
