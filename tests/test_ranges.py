import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from jaxvae import ranges


def test_normal_ranges_are_those_of_the_dtypes():
    for name, (smallest, largest) in ranges.NORMAL.items():
        assert smallest == float(jnp.finfo(name).smallest_normal)
        assert largest == float(jnp.finfo(name).max)


def test_log_variance_is_exact_until_it_overflows():
    raw = np.float32([-1e30, -200, 0, 1e-4, 89, 90])
    exact, responds, std = ranges.exactness(jv.log_variance, raw)
    assert exact.tolist() == [True, True, True, True, True, False]
    assert responds.all()
    np.testing.assert_allclose(std[1:], np.exp(raw[1:].astype(np.float64) / 2))


def test_a_hard_clip_does_not_respond():
    assert ranges.exactness(jv.diffusers_log_variance, [-40.0, 0.0, 40.0]).responds.tolist() == [False, True, False]


def test_no_constraint_is_exact_nowhere_below_zero():
    assert ranges.exactness(jv.direct_std, [-1.0, 1.0]).exact.tolist() == [False, True]


def test_shape():
    log_std, std, gain, kl, slope = ranges.shape(jv.log_std, np.float32([0.5]))
    assert log_std[0] == 0.5
    assert std[0] == pytest.approx(np.exp(0.5), rel=1e-6)
    assert gain[0] == 1
    assert kl[0] == pytest.approx((np.e - 2) / 2, rel=1e-6)
    assert slope[0] == pytest.approx(np.e - 1, rel=1e-6)


def test_runs():
    x, mask = np.arange(6.0), np.array([True, True, False, True, False, True])
    assert list(ranges.runs(x, mask)) == [(0, 1), (3, 3), (5, 5)]
    assert list(ranges.runs(x, np.zeros(6, bool))) == []


def test_saturation_at_the_ends_of_a_bounded_range():
    raw = jnp.float32([-40, -30, -29, 0, 19.9, 20, 40])
    floor, ceiling, dead = ranges.saturation(jv.Gaussian(jnp.zeros(7), raw, jv.diffusers_log_variance))
    assert floor.tolist() == [True, True, False, False, False, False, False]
    assert ceiling.tolist() == [False, False, False, False, False, True, True]
    assert [dead[0], dead[2], dead[3], dead[6]] == [True, False, False, True]


def test_saturation_at_the_ends_of_floating_point():
    raw = jnp.float32([-400, -170, 0, 170, 400, jnp.nan])
    floor, ceiling, dead = ranges.saturation(jv.Gaussian(0.0, raw, jv.log_variance))
    assert floor.tolist() == [True, False, False, False, False, False]
    assert ceiling.tolist() == [False, False, False, False, True, False]
    assert not dead.any()


def test_an_open_end_counts_where_it_is_all_but_reached():
    """σ is e^-16 = 1.1e-7 below 1 at raw = 16, and e^-17 / 0.1 = 4.1e-7 of itself above 0.1 at raw = -17."""
    _, ceiling, _ = ranges.saturation(jv.Gaussian(0.0, jnp.float32([0, 14, 16, 50]), jv.sigmoid_std))
    assert ceiling.tolist() == [False, False, True, True]
    floor, _, _ = ranges.saturation(jv.Gaussian(0.0, jnp.float32([0, -16, -17, -50]), jv.dreamer_std))
    assert floor.tolist() == [False, False, True, True]
