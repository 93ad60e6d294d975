import itertools

import numpy as np

from jaxvae.parameterizations import PARAMETERIZATIONS, NaturalParameterization
from jaxvae.study.variants import is_mirror, is_one_to_one, may_vanish


def test_advised_against_is_what_reaches_zero():
    named = {name for name in PARAMETERIZATIONS if may_vanish(name)}
    assert named == {"direct_std", "direct_variance", "square_std", "abs_std"} & set(PARAMETERIZATIONS)
    raw = np.float32([-300, -3, -1, 0, 1, 3, 300])
    for name in named:
        assert not (np.asarray(PARAMETERIZATIONS[name].std(raw)) > 0).all(), name


def test_mirrors_have_the_same_std_at_opposite_raws():
    # Far enough for clips to differ from what they clip.
    raw = np.linspace(-40, 40, 9, dtype=np.float32)
    plain = [name for name, p in PARAMETERIZATIONS.items() if not isinstance(p, NaturalParameterization)]
    log_std = {name: np.asarray(PARAMETERIZATIONS[name].log_std(raw), float) for name in plain if not may_vanish(name)}
    same = {
        (name, other)
        for name, other in itertools.permutations(log_std, 2)
        if np.allclose(log_std[name], log_std[other][::-1], rtol=1e-5, atol=1e-5)
    }
    assert ("log_precision", "log_variance") in same
    assert {pair for pair in itertools.permutations(plain, 2) if is_mirror(*pair)} == same


def test_what_is_not_registered_is_nothing_of_it():
    assert not is_mirror("mine", "log_variance")
    assert not is_one_to_one("mine")
    assert not may_vanish("mine")
