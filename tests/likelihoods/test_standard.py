"""Units of features: a density of x is that of the standardized x, less the log of the unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from representatives import each

from jaxvae.likelihoods import OF_COLUMNS, OF_LOGS, Standard, column_likelihood

UNITS = Standard((30.0, -2.0), (4.0, 0.25))
MEASURED = ("gaussian_fixed", "gaussian_learned", "gaussian_pixel", "student_t", "laplace", *OF_LOGS)
Y = np.random.default_rng(0).normal(size=(5, 2))


@pytest.mark.parametrize("name", each(MEASURED, ("gaussian_learned", "log_normal")))
def test_a_density_in_own_units(name):
    """Its log is that in units, less log scale; of logs, also less those of x to those in units. Draws follow."""
    logs = name in OF_LOGS
    units = Standard((3.0, -2.0), (0.4, 0.25)) if logs else UNITS
    if name == "gamma":  # whose units are of scale alone
        units = Standard(units.loc, (1.0, 1.0))
    own, plain = (column_likelihood(name, standard=standard) for standard in (units, Standard()))
    outputs = jnp.float32(own.output_bias(2) + 0.3 * np.random.default_rng(1).normal(size=(5, own.output_channels(2))))
    raw = own.raw_start(2)
    y = np.float32(np.exp(Y) if logs else Y)
    x = np.float32(np.exp(units.loc + np.array(units.scale) * Y) if logs else units.loc + np.array(units.scale) * Y)
    less = np.log(units.scale) + (np.log(x) - np.log(y) if logs else 0)
    found, wanted = own.log_prob(outputs, x, raw), plain.log_prob(outputs, y, raw)
    # x carries an error of eps |x| into (x - loc) / scale, here at most 40 eps / 0.25.
    np.testing.assert_allclose(found, np.asarray(wanted) - less, rtol=2e-5, atol=5e-5)
    seen = own.encoder_input(jnp.asarray(x))
    np.testing.assert_allclose(seen, Y, rtol=1e-4, atol=1e-4)
    key = jax.random.key(0)
    drawn, drawn_plain = own.sample(key, outputs, raw), plain.sample(key, outputs, raw)
    forward = units.forward(jnp.log(drawn)) if logs else units.forward(drawn)
    np.testing.assert_allclose(forward, jnp.log(drawn_plain) if logs else drawn_plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", each(("gaussian_learned", "log_normal", "gamma"), ("log_normal",)))
def test_means_are_those_of_draws(name):
    own = column_likelihood(name, standard=Standard((1.0, -2.0), (0.5, 0.25)))
    raw, outputs = own.raw_start(2), jnp.asarray(own.output_bias(2), jnp.float32)
    drawn = np.asarray(own.sample(jax.random.key(0), jnp.broadcast_to(outputs, (20_000, len(outputs))), raw))
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - own.mean(outputs, raw)) < 5 * error)


def test_every_name_builds():
    assert {*MEASURED} < {*OF_COLUMNS}
    for name in OF_COLUMNS:
        assert column_likelihood(name, 3).output_channels(2) % 2 == 0
    with pytest.raises(ValueError, match=r"likelihood must be one of gaussian_fixed, .*, got 'multinomial'"):
        column_likelihood("multinomial")


def test_what_is_no_unit_is_refused():
    with pytest.raises(ValueError, match=r"Standard.scale must be positive and finite"):
        Standard((0.0,), (0.0,))
    with pytest.raises(ValueError, match=r"Standard.scale must be 1 numbers, as loc"):
        Standard((0.0,), ())
