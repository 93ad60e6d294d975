import math

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorflow_probability.substrates.jax import bijectors as tfb

import jaxvae as jv
from jaxvae import contract

FLOORED = distrax.Lambda(lambda x: jax.nn.softplus(x) + 0.1, inverse=lambda y: jnp.log(jnp.expm1(y - 0.1)))


@pytest.mark.parametrize(
    ("bijector", "transform"),
    [
        (tfb.Softplus(), jv.Softplus()),
        (FLOORED, jv.Chain(jv.Softplus(), jv.Floor(0.1))),
    ],
    ids=lambda x: type(x).__name__,
)
def test_it_is_the_same_as_ones_own(bijector, transform):
    theirs, ours = (jv.Parameterization("std", t) for t in (jv.from_bijector(bijector), transform))
    raw = np.linspace(-3, 3, 7, dtype=np.float32)

    @jax.jit
    def both():
        std = ours.std(raw)
        return [(p.std(raw), p.log_std(raw), p.log_std_gain(raw), p.raw_from_std(std)) for p in (theirs, ours)]

    got, want = both()
    np.testing.assert_allclose(got[:3], want[:3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[3], raw, atol=1e-5)
    low, high, closed = theirs.std_range
    assert (low, high, closed) == (pytest.approx(ours.std_range.low), ours.std_range.high, False)


def test_it_keeps_the_contract():
    contract._CHECKS["in_range"](jv.Parameterization("std", jv.from_bijector(FLOORED)))


def test_its_log_is_that_of_its_value():
    p = jv.Parameterization("std", jv.from_bijector(tfb.Softplus()))
    value, slope = jax.jit(jax.value_and_grad(p.log_std))(-200.0)
    assert (float(value), float(slope)) == (-math.inf, 0)


def test_in_a_gaussian_under_jit():
    bijector = tfb.Softplus()
    q = jv.Gaussian(np.zeros(3), np.zeros(3), jv.Parameterization("std", jv.from_bijector(bijector)))
    kl = jax.jit(lambda q: jv.kl_divergence(q))
    np.testing.assert_allclose(kl(q), (math.log(2) ** 2 - 1 - 2 * math.log(math.log(2))) / 2, rtol=1e-6)
    again = jv.Gaussian(np.zeros(3), np.zeros(3), jv.Parameterization("std", jv.from_bijector(bijector)))
    kl(again)
    assert kl._cache_size() == 1
    assert again.parameterization == q.parameterization != jv.Parameterization("std", jv.from_bijector(tfb.Softplus()))


def test_names():
    p = jv.Parameterization("variance", jv.from_bijector(tfb.Softplus()))
    assert (p.formula, repr(p.transform)) == ("σ² = softplus(r)", "from_bijector(softplus)")


def test_a_range_that_is_given():
    given = jv.Interval(0.0, 7.0)
    assert jv.from_bijector(distrax.Lambda(jnp.exp), range=given).range == given
    with pytest.raises(ValueError, match=r"range must be given for reciprocal, whose values at ±∞ are -?0 and -?0"):
        jv.from_bijector(tfb.Reciprocal())


def test_what_is_refused():
    with pytest.raises(TypeError, match="bijector must have forward and inverse, got <PjitFunction"):
        jv.from_bijector(jnp.exp)
    with pytest.raises(ValueError, match=r"bijector\.event_ndims_in must be 0: elementwise, got 1"):
        jv.from_bijector(distrax.Block(distrax.Lambda(jnp.exp), 1))
    with pytest.raises(ValueError, match=r"bijector\.forward_min_event_ndims must be 0"):
        jv.from_bijector(tfb.SoftmaxCentered())
    with pytest.raises(ValueError, match="made of constants, outside of jit"):
        jax.jit(lambda scale: jv.from_bijector(tfb.Scale(scale)).forward(1.0))(2.0)
