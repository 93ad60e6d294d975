import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf

from jaxvae.likelihoods import Categorical
from jaxvae.likelihoods.categorical import level_of, value_of

EPS = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_the_log_of_the_softmax(scale):
    """Value to 8 eps of the largest difference of logits, slope to 8 eps, whatever is added to all logits."""
    levels = 16
    rng = np.random.default_rng(0)
    logits = (scale * rng.normal(size=(4, levels)) + np.array([[0], [3], [-1e3], [1e5]])).astype(np.float32)
    x = (np.array([[0], [15], [7], [3]]) / 15).astype(np.float32)
    kind = Categorical(levels)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda o, x: kind.log_prob(o, x)[0])))(logits, x)
    for row, v, g, level in zip(logits, value, slope, (0, 15, 7, 3), strict=True):
        weights = [mpmath.exp(mpf(float(a)) - mpf(float(row.max()))) for a in row]
        want = mpf(float(row[level])) - mpf(float(row.max())) - mpmath.log(sum(weights))
        assert abs(float(v) - want) <= 8 * EPS * (1 + abs(want))
        for j in range(levels):
            assert abs(float(g[j]) - ((j == level) - weights[j] / sum(weights))) <= 8 * EPS


def test_channels_have_a_softmax_each_and_their_logits_lie_together():
    kind = Categorical(3)
    outputs = jnp.asarray([[0.0, 1.0, 2.0, 5.0, 5.0, 5.0]])
    log_prob = kind.log_prob(outputs, jnp.asarray([[1.0, 0.5]]))
    np.testing.assert_allclose(log_prob[0], [jax.nn.log_softmax(outputs[0, :3])[2], -np.log(3)], rtol=4 * EPS)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_levels_round_trip_and_values_are_rounded_once(levels):
    level = jnp.arange(levels)
    x = jax.jit(lambda v: value_of(v, levels, jnp.float32))(level)
    np.testing.assert_array_equal(x, (np.arange(levels) / (levels - 1)).astype(np.float32))
    np.testing.assert_array_equal(level_of(x, levels), level)


@pytest.mark.parametrize("levels", [1, 0, None, 2.5])
def test_levels_are_checked(levels):
    with pytest.raises(ValueError, match="levels must be the data's number of grey levels, at least 2, got"):
        Categorical(levels)
