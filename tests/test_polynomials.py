import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import polynomials
from jaxvae.polynomials import POLYNOMIALS, horner


@pytest.mark.parametrize("name", polynomials.PROBLEMS)
def test_the_coefficients_are_those_of_the_derivation(name):
    for dtype, coefficients in POLYNOMIALS[name].items():
        found = polynomials.interpolant(polynomials.PROBLEMS[name], len(coefficients) - 1)
        assert coefficients == tuple(map(float, found))
        assert polynomials.error(polynomials.PROBLEMS[name], found, count=50) < polynomials.GOALS[dtype]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_horner_is_the_polynomial_in_either_dtype(dtype):
    with jax.enable_x64(True):
        x = np.linspace(0, 1, 9).astype(dtype)
        for table in POLYNOMIALS.values():
            found = horner(table, jnp.asarray(x))
            wanted = np.polynomial.Polynomial(table[found.dtype.name])(x.astype(float))
            assert found.dtype == dtype
            np.testing.assert_allclose(found, wanted, rtol=8 * np.finfo(dtype).eps)
