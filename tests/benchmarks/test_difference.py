"""The README's picture shows what it says."""

import numpy as np

from benchmarks.difference import NEAR, SURE, curves


def test_the_formula_by_hand_loses_what_ours_keeps():
    found = curves()
    hand, here = found.errors
    assert hand[NEAR < 2e-4].min() > 0.02
    assert here.max() < 1e-6
    hand, here = found.slopes
    assert np.isnan(hand[SURE < -88]).all()
    assert np.isfinite(hand[SURE > -87]).all()
    np.testing.assert_allclose(here[SURE < -20], -1, rtol=1e-6)
