import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
from representatives import each
from ulp import ulp

import jaxvae as jv
from jaxvae.transforms import power

ORACLE = {
    jv.Exp(): mpmath.exp,
    jv.Softplus(): oracles.softplus,
    jv.Softplus(beta=3.0): lambda r: oracles.softplus(3 * r) / 3,
    jv.Softplus(beta=math.log(2)): lambda r: oracles.softplus(mpmath.log(2) * r) / mpmath.log(2),
    jv.Squareplus(): oracles.squareplus,
    jv.ExpLinear(): oracles.exp_linear,
    jv.Sigmoid(): oracles.sigmoid,
    jv.Sigmoid(low=0.5, high=2.0): lambda r: mpmath.mpf("0.5") + mpmath.mpf("1.5") * oracles.sigmoid(r),
    jv.Sigmoid(low=0.0, high=2.0): lambda r: 2 * oracles.sigmoid(r),
    jv.Sigmoid(low=1.0, high=3.0): lambda r: 1 + 2 * oracles.sigmoid(r),
    jv.Sigmoid(low=1e-4, high=2.0): lambda r: mpmath.mpf(1e-4) + (2 - mpmath.mpf(1e-4)) * oracles.sigmoid(r),
    jv.HalfBounded(2.0): oracles.up_bounded,
    jv.HalfBounded(1.0): lambda r: oracles.up_bounded(r) / 2,
    jv.Square(): lambda r: r * r,
    jv.Abs(): abs,
}
FOUR = (jv.Exp(), jv.Softplus(), jv.Squareplus(), jv.Sigmoid(low=0.5, high=2.0))
RAW = np.concatenate([np.linspace(-80, 80, 65), np.linspace(-2, 2, 41), [1e-3, -1e-3, 1e-6, -1e-6]]).astype(np.float32)
RAW = RAW[RAW != 0]


def truth(transform, function=lambda v: v):
    with mpmath.workdps(60):
        return np.array([float(function(ORACLE[transform](mpmath.mpf(float(r))))) for r in RAW])


def rounding(transform, want, scale):
    """An ulp of the result or, if that is more, what an ulp of the raw changes in it: log-slope times ``scale``."""
    gain = np.abs(np.asarray(transform.log_gain(jnp.asarray(RAW)), np.float64))
    return np.maximum(ulp(want, np.float32), gain * scale * np.spacing(np.abs(RAW)))


@pytest.mark.parametrize("transform", ORACLE, ids=repr)
def test_forward(transform):
    got, want = np.asarray(jax.jit(transform.forward)(RAW), np.float64), truth(transform)
    assert np.all(np.abs(got - want) <= 4 * rounding(transform, want, np.abs(want)) + 1.2e-38)  # subnormal: flushed


@pytest.mark.parametrize("transform", ORACLE, ids=repr)
def test_log_forward(transform):
    got, want = np.asarray(jax.jit(transform.log_forward)(RAW), np.float64), truth(transform, mpmath.log)
    tolerance = 4 * rounding(transform, want, 1)
    assert np.all(np.abs(got - want) <= tolerance), RAW[np.abs(got - want) > tolerance]


@pytest.mark.parametrize("exponent", [0.5, 1, 2, -0.5, -1, -2])
@pytest.mark.parametrize("transform", ORACLE, ids=repr)
def test_power_and_its_slope(transform, exponent):
    def f(r):
        return transform.power(r, exponent)

    got, slope = jax.jvp(f, (jnp.asarray(RAW),), (jnp.ones(RAW.shape),))
    want = truth(transform, lambda v: v ** mpmath.mpf(exponent))
    log_slope = exponent * np.asarray(transform.log_gain(jnp.asarray(RAW)), np.float64)
    normal = (want < 3e38) & (want > 1.2e-38)
    tolerance = 4 * (1 + abs(exponent)) * rounding(transform, want, abs(exponent) * want)
    assert np.all(np.abs(np.asarray(got, np.float64) - want)[normal] <= tolerance[normal])
    if isinstance(transform, jv.Square | jv.Abs) and exponent < 0:
        return  # plain autodiff: their slopes are singular
    representable = (np.abs(want * log_slope) < 1e38) & (np.abs(want * log_slope) > 1e-37) & (want < 1e38)
    np.testing.assert_allclose(np.asarray(slope)[representable], (want * log_slope)[representable], rtol=2e-5)


@pytest.mark.parametrize("transform", [t for t in ORACLE if not isinstance(t, jv.Square | jv.Abs)], ids=repr)
def test_inverses(transform):
    with jax.enable_x64(True):
        raw = jnp.linspace(-12.0, 12.0, 49)
        np.testing.assert_allclose(transform.inverse(transform.forward(raw)), raw, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(transform.log_inverse(transform.log_forward(raw)), raw, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("transform", each(ORACLE, kept=FOUR), ids=repr)
def test_near_raws_keep_their_ratio(transform):
    a = RAW[np.abs(RAW) > 1e-2]
    for step in (1e-5, 1e-3, 0.1):
        b = (a - np.clip(np.float32(step) * a, -1, 1)).astype(np.float32)
        got = np.asarray(jax.jit(transform.log_ratio)(a, b), np.float64)
        pairs = [[ORACLE[transform](mpmath.mpf(float(r))) for r in x] for x in (a, b)]
        want = np.array([float(mpmath.log(x / y)) for x, y in zip(*pairs, strict=True)])
        # 16 ulp, and what the rounding of the raws at the nodes changes in a slope of exponential tails.
        assert np.all(np.abs(got - want) <= (2e-6 + np.spacing(np.abs(a))) * np.abs(want) + 1e-37)
        assert np.all(transform.log_ratio(a, a) == 0)


def test_a_transform_of_three_methods_has_the_rest():
    class Cosh(jv.Transform):
        range = jv.Interval(1.0, math.inf)

        def forward(self, raw):
            return jnp.exp(raw) + 1

        def inverse(self, value):
            return jnp.log(value - 1)

    mine, raw = Cosh(), jnp.linspace(-3.0, 3.0, 13)
    np.testing.assert_allclose(mine.log_forward(raw), np.log(np.exp(raw) + 1), rtol=1e-6)
    np.testing.assert_allclose(mine.log_inverse(mine.log_forward(raw)), raw, rtol=1e-4, atol=1e-5)
    near = mine.log_ratio(raw + 1e-4, raw)
    np.testing.assert_allclose(near, 1e-4 * mine.log_gain(raw), rtol=3e-3)
    assert mine.formula("x") == "Cosh(x)"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: jv.Softplus(beta=0.0), r"Softplus\.beta must be positive and finite, got 0\.0"),
        (lambda: jv.Softplus(beta=math.nan), r"Softplus\.beta must be positive"),
        (lambda: jv.Sigmoid(low=1.0, high=0.0), r"Sigmoid\.high must be above low = 1\.0 and finite, got 0\.0"),
        (lambda: jv.Sigmoid(low=-1.0), r"Sigmoid\.low must be at least 0 and finite, got -1\.0"),
        (lambda: jv.HalfBounded(high=-2.0), r"HalfBounded\.high must be positive and finite, got -2\.0"),
    ],
)
def test_bad_construction(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_power_takes_the_exponents_of_quantities():
    x = jnp.asarray([4.0, 0.25])
    for exponent in (0.5, 1, 2, -0.5, -1, -2):
        np.testing.assert_array_equal(power(x, exponent), np.asarray(x) ** exponent)


def test_texts():
    assert str(jv.Interval(0, math.inf)) == "(0, ∞)"
    assert str(jv.Interval(0.0, 1.0, closed=True)) == "[0, 1]"
    assert jv.Sigmoid(0.1, 2.1).formula("x") == "0.1 + 2·sigmoid(x)"


@pytest.mark.parametrize("beta", [0.1, 3.0, 30.0, 50.0, 200.0, 1e16])
def test_steep_softplus_keeps_the_digits_of_its_log(beta):
    raw = np.concatenate([np.linspace(0.3, 2, 41), 1 + np.linspace(-2e-3, 2e-3, 5)]).astype(np.float32)
    found = jax.jit(jv.Softplus(beta).log_forward)(raw)
    with mpmath.workdps(50):
        b = mpmath.mpf(beta)
        # softplus(x) = x + log(1 + e^-x), of which mpmath has no overflow.
        wanted = [mpmath.log((b * r + mpmath.log1p(mpmath.exp(-b * r))) / b) for r in map(mpmath.mpf, raw.tolist())]
        # A few ulp; about the root 2 eps, and further off those of the two logs whose difference it is.
        rounding = [abs(x) * 16 + 4 + 4 * abs(mpmath.log(b)) * (abs(x) > 0.35) for x in wanted]
    error = np.abs(np.asarray(found, float) - np.array([float(x) for x in wanted]))
    assert np.all(error <= np.array([float(x) for x in rounding]) * 2.0**-24)
