"""Packages mean what their names say: where nothing is extreme, they are the library."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from benchmarks import libraries

LOC, RAW, X = (np.array(x, np.float32) for x in ([0.5, -1.0, 2.0], [-1.0, 0.3, 1.0], [0.0, 1.0, 4.0]))


@functools.partial(jax.jit, static_argnums=0)
def wanted(p):
    q, other = jv.Gaussian(LOC, RAW, p), jv.Gaussian(RAW, LOC, p)
    return jv.kl_divergence(q), jv.kl_divergence(q, other), jv.log_prob(q, X), jv.entropy(q)


@pytest.mark.slow
def test_jax_packages_are_the_library():
    found, missing = libraries.jax_libraries()
    if not found:
        pytest.skip(f"no package is here: {missing}")
    assert all(name == f"{x.name}, {x.parameterization.name}" for name, x in found.items())
    many = jnp.full(10_000, 0.25, jnp.float32)
    for library in found.values():

        @jax.jit
        def run(loc, raw, x, library=library):
            values = library.kl(loc, raw), library.kl_between(loc, raw, raw, loc), library.log_prob(loc, raw, x)
            return (*values, library.entropy(loc, raw)), library.sample(jax.random.key(0), many, many)

        with jax.numpy_rank_promotion("allow"):  # TFP's samples need it
            values, z = run(LOC, RAW, X)
        for got, want in zip(values, wanted(library.parameterization), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        std = float(library.parameterization.std(0.25))
        assert abs(float(z.mean()) - 0.25) < 5 * std / 100
        assert abs(float(z.std()) / std - 1) < 5 / np.sqrt(2 * 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pytorch_is_the_library(dtype):
    found, missing = libraries.torch_libraries()
    if not found:
        pytest.skip(f"PyTorch isn't here: {missing}")
    loc, raw, x = (a.astype(jnp.dtype(dtype)) for a in (LOC, RAW, X))
    for library in found.values():
        p = library.parameterization
        calls = (library.kl, (loc, raw)), (library.kl_between, (loc, raw, raw, loc)), (library.log_prob, (loc, raw, x))
        for (function, inputs), want in zip((*calls, (library.entropy, (loc, raw))), wanted(p), strict=True):
            value, *slopes = library.outputs(function, inputs, 2)
            assert {a.dtype for a in (value, *slopes)} == {jnp.dtype(dtype)}
            np.testing.assert_allclose(value.astype(float), want, rtol=1e-5 if dtype == "float32" else 0.05, atol=1e-6)
        gain, log_std = p.log_std_gain(raw), p.log_std(raw)
        _, by_loc, by_raw = (a.astype(float) for a in library.outputs(library.kl, (loc, raw), 2))
        np.testing.assert_array_equal(by_loc, loc.astype(float))
        rtol = 1e-5 if dtype == "float32" else 0.05
        np.testing.assert_allclose(by_raw, gain * jnp.expm1(2 * log_std), rtol=rtol, atol=1e-6)


def test_an_absent_package_is_left_out_with_its_reason(monkeypatch):
    def broken(name):
        if name.startswith("tensorflow"):
            raise AttributeError("jax has no attribute 'this'\nand more")
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(libraries, "_load", broken)
    found, missing = libraries.jax_libraries()
    assert found == {}
    assert missing == {
        "distrax": "ImportError: No module named 'distrax'",
        "tfp-nightly": "AttributeError: jax has no attribute 'this'",
        "numpyro": "ImportError: No module named 'numpyro.distributions'",
    }
    assert libraries.torch_libraries() == ({}, {"torch": "ImportError: No module named 'torch'"})
