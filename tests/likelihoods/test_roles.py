import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from jaxvae.likelihoods import NegativeBinomial, Poisson, ZeroInflated
from jaxvae.likelihoods.roles import start_of


def test_what_is_learned_has_the_shape_of_its_scope():
    kind = ZeroInflated(NegativeBinomial(scope="feature"), scope="all")
    start = kind.raw_start(5)
    assert {name: value.shape for name, value in start.items()} == {"dispersion": (5,), "inflation": ()}
    assert kind.output_channels(5) == 5
    assert ZeroInflated(NegativeBinomial(scope="example")).output_channels(5) == 15
    assert ZeroInflated(NegativeBinomial(scope="example")).raw_start(5) is None


def test_the_numbers_lie_in_the_order_of_the_roles():
    kind = ZeroInflated(NegativeBinomial(scope="feature"), scope="example")
    outputs, raw = jnp.arange(4.0), {"dispersion": jnp.float32([7, 8])}
    joined = kind._in_full(kind._joined(kind._parts(outputs), raw, jnp.float32(0.5)))
    np.testing.assert_array_equal(joined, [[0, 2], [7, 8], [1, 3], [0.5, 0.5]])


def test_a_start_out_of_range_is_in_its_middle():
    assert start_of(jv.Softplus()) == pytest.approx(np.log(np.e - 1))
    assert start_of(jv.Sigmoid(0.0, 1.0), np.log(4)) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(Poisson(jv.Sigmoid(2.0, 3.0)).mean(jnp.zeros(1)), 2.5, rtol=1e-6)
