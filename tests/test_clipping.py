import dataclasses
import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import oracles
import pytest
from ulp import ulp

import jaxvae as jv
from jaxvae import chains, special

RAW = np.float32([-200, -30, -10.5, -4, -1, -1e-3, 0, 0.3, 2, 9, 40, 300])
LOW, HIGH = np.float32([-10, -3, 0]), np.float32([0.5, 4, 1e-3])


def soft_clip(r, low, high):
    return low + oracles.softplus(high - oracles.softplus(high - r) - low)


def log_floor(log_value, low):
    return mpmath.log(mpmath.exp(log_value) + low)


CASES = {
    "soft_clip": (jv.soft_clip, soft_clip, [(r, low, high) for r in RAW for low, high in zip(LOW, HIGH, strict=True)]),
    "log_floor": (jv.log_floor, log_floor, [(r, low) for r in RAW[1:-1] for low in np.float32([1e-12, 1e-4, 0.1, 3])]),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_slopes_by_raw_and_bounds(case):
    """To 4 ulp, or what 4 ulp of the inputs change."""
    f, formula, points = CASES[case]
    arguments = np.asarray(points).T
    n = len(arguments)
    value, slopes = jax.jit(jax.vmap(jax.value_and_grad(f, range(n))))(*arguments)
    with mpmath.workdps(60):
        h = mpmath.mpf(10) ** -20
        orders = [tuple(int(i == j) for j in range(n)) for i in range(n)]
        for i, point in enumerate(points):
            exact = tuple(mpmath.mpf(float(x)) for x in point)
            first = [mpmath.diff(formula, exact, order, h=h) for order in orders]
            inputs = [4 * ulp(x, np.float32) for x in point]
            moved = sum(abs(float(d)) * u for d, u in zip(first, inputs, strict=True))
            want = float(formula(*exact))
            assert abs(value[i] - want) <= max(4 * ulp(want, np.float32), moved), point
            for k, order in enumerate(orders):
                second = [mpmath.diff(formula, exact, tuple(map(sum, zip(order, o, strict=True))), h=h) for o in orders]
                moved = sum(abs(float(d)) * u for d, u in zip(second, inputs, strict=True))
                assert abs(slopes[k][i] - float(first[k])) <= max(4 * ulp(first[k], np.float32), moved), (point, k)


def test_slopes_of_a_soft_clip_sum_to_one():
    slopes = jax.vmap(jax.grad(jv.soft_clip, (0, 1, 2)), (0, None, None))(RAW, -1.0, 2.0)
    np.testing.assert_allclose(np.sum(slopes, axis=0), 1, rtol=1e-6)


def test_fixed_bounds_are_the_parameterizations():
    raw, loc = jnp.asarray(RAW), jnp.zeros(RAW.shape)

    @jax.jit
    def both(low, high, floor):
        clipped = jv.Gaussian(loc, jv.soft_clip(raw, low, high), jv.log_variance)
        floored = jv.Gaussian(loc, jv.log_floor(raw, floor), jv.log_variance)
        fixed = (jv.Gaussian(loc, raw, p) for p in (jv.pets_log_variance, jv.scvi_variance))
        return [[q.log_std, jv.kl_divergence(q)] for q in (clipped, *fixed, floored)]

    learned_clip, clip, floor, learned_floor = both(-10.0, 0.5, 1e-4)
    np.testing.assert_allclose(learned_clip[0], clip[0], rtol=2.4e-7)  # 2 ulp: a product and a sum are one, or not
    np.testing.assert_allclose(learned_clip[1], clip[1], rtol=1e-6)
    np.testing.assert_allclose(learned_floor[0], floor[0], rtol=1e-6)  # the floor's log is float32's
    for one_sided in ({"low": -6.0}, {"high": 2.0}, {}):
        np.testing.assert_array_equal(
            jv.soft_clip(raw, **one_sided), jv.SoftClip(**one_sided).forward(raw) if one_sided else raw
        )
    np.testing.assert_array_equal(jv.soft_clip(raw, jnp.float32(-jnp.inf), 2.0), jv.soft_clip(raw, high=2.0))


def test_dtypes_and_shapes():
    x = jv.soft_clip(jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16), 1.0)
    assert (x.shape, x.dtype) == ((2, 3), jnp.bfloat16)
    assert jv.log_floor(jnp.zeros(3, jnp.bfloat16), jnp.zeros((2, 1))).dtype == jnp.float32
    with jax.enable_x64(True):
        assert jv.soft_clip(jnp.zeros(3, jnp.float32), -1.0, 1.0).dtype == jnp.float32
        assert jv.log_floor(np.zeros(3), 1.0).dtype == jnp.float64
    assert np.isnan(jv.log_floor(0.0, jnp.asarray([0.0, -1.0]))).all()
    with pytest.raises(ValueError, match=r"^low must be positive, got 0\.0"):
        jv.log_floor(jnp.zeros(3), 0.0)
    with pytest.raises(ValueError, match=r"^shapes must broadcast, got raw \(2,\), low \(3,\), high \(\)"):
        jv.soft_clip(jnp.zeros(2), jnp.zeros(3))


@pytest.mark.slow
def test_pets_learns_its_bounds():
    """Chua et al. 2018, appendix A.1: the likelihood plus 0.01 (Σ high - Σ low), of two outputs, σ² = e^-1 and e^-4.

    Where raw is the network's, free for each point, the likelihood leaves the bounds to the regularizer, which draws
    them together about the variances that the data need.
    """
    target = jnp.asarray([[np.exp(-0.5), np.exp(-2.0)]]) * jax.random.normal(jax.random.key(0), (200, 2))

    def loss(params):
        low, high = params["low"], params["high"]
        q = jv.Gaussian(jnp.zeros(2), jv.soft_clip(params["raw"], low, high), jv.log_variance)
        return -jnp.mean(jv.log_prob(q, target)) + 0.01 * (jnp.sum(high) - jnp.sum(low))

    params = {"raw": jnp.zeros(2), "low": jnp.full(2, -10.0), "high": jnp.full(2, 0.5)}
    static = jv.Gaussian(jnp.zeros(2), params["raw"], jv.pets_log_variance)
    np.testing.assert_allclose(loss(params) - 0.01 * 21, -jnp.mean(jv.log_prob(static, target)), rtol=1e-6)

    optimizer = optax.adam(0.05)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=600))((params, optimizer.init(params)))
    assert np.all(params["low"] > -9) & np.all(params["high"] < 0)
    learned = jv.soft_clip(params["raw"], params["low"], params["high"])
    np.testing.assert_allclose(learned, jnp.log(jnp.mean(jnp.square(target), axis=0)), atol=0.1)


RECIPE = r"jv\.soft_clip, jv\.log_floor or your own arithmetic"
FIXED = {
    "SoftClip.low": lambda x: jv.SoftClip(x, 5.0),
    "SoftClip.high": lambda x: jv.SoftClip(-5.0, x),
    "HardClip.low": lambda x: jv.HardClip(x),
    "TanhClip.bound": jv.TanhClip,
    "Affine.scale": jv.Affine,
    "Affine.shift": lambda x: jv.Affine(1.0, x),
    "Floor.low": jv.Floor,
    "Softplus.beta": jv.Softplus,
    "Sigmoid.high": lambda x: jv.Sigmoid(0.0, x),
    "HalfBounded.high": jv.HalfBounded,
}


@pytest.mark.parametrize("field", FIXED)
def test_a_traced_number_is_refused_with_the_recipe(field):
    for transformed in (jax.jit, jax.grad, jax.vmap):
        with pytest.raises(TypeError, match=rf"^{field} must be a number, got .*{RECIPE}"):
            transformed(FIXED[field])(jnp.ones(2) if transformed is jax.vmap else 1.0)
    with pytest.raises(TypeError, match=RECIPE):
        FIXED[field](jnp.ones(()))


@dataclasses.dataclass(frozen=True)
class Own(jv.Transform):
    """A transform of somebody's own, made of anything."""

    inner: object
    range = jv.Interval(0, np.inf)

    def forward(self, raw):
        return special.exp(raw)

    def inverse(self, value):
        return jnp.log(value)


class Plain:
    def __init__(self, x):
        self.x = x

    def method(self):
        return self.x


@pytest.mark.parametrize(
    "hidden",
    [
        lambda x: x,
        lambda x: [1.0, (x,)],
        lambda x: {"scale": x},
        lambda x: lambda raw: x * raw,
        lambda x: functools.partial(jnp.multiply, x),
        Plain,
        lambda x: Plain(x).method,
        lambda x: Own(x),
    ],
)
def test_an_own_transform_that_holds_a_traced_number_is_refused(hidden):
    def loss(x):
        p = jv.Parameterization("std", Own(hidden(x)))
        return jv.kl_divergence(jv.Gaussian(0.0, 0.3, p))

    with pytest.raises(TypeError, match=rf"^Parameterization\.transform must be made of numbers.*{RECIPE}"):
        jax.grad(loss)(1.0)
    assert np.isfinite(loss(1.0))
    chained = jax.grad(lambda x: jv.Parameterization("std", jv.Chain(Own(x), jv.Floor(0.1))).std(0.0))
    with pytest.raises(TypeError, match=RECIPE):
        chained(1.0)


def test_what_the_chains_are_made_of_differentiates_by_the_bound():
    slopes = jax.grad(chains.soft_clip, (0, 1))(0.3, 0.1)
    np.testing.assert_allclose(slopes, [special.sigmoid(0.2), special.sigmoid(-0.2)], rtol=1e-6)
