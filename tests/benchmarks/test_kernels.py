"""Kernels: those that are timed give the right numbers, and a small run of all."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae as jv
from benchmarks import kernels, libraries

SHAPE = (16, 4)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_sum():
    loc, raw, noise, dz = kernels.inputs(SHAPE, "float32")
    z, kl, dloc, draw = kernels.gradient(kernels.OURS["softplus_std"], loc, raw, noise, dz)
    q = jv.Gaussian(loc, raw, jv.softplus_std)
    np.testing.assert_array_equal(z, jv.reparameterize(q, noise))
    np.testing.assert_array_equal(kl, jv.kl_divergence(q).sum(-1))

    def total(q):
        return jnp.vdot(jv.reparameterize(q, noise), dz) + jv.kl_divergence(q).sum()

    wanted = jax.grad(total)(q)
    np.testing.assert_allclose(dloc, wanted.loc, rtol=1e-6)
    np.testing.assert_allclose(draw, wanted.raw, rtol=1e-6)


@pytest.mark.slow
def test_packages_compute_the_same():
    packages, _ = libraries.jax_libraries()
    if not packages:
        pytest.skip("neither distrax nor numpyro is installed")
    loc, raw, _, dz = kernels.inputs(SHAPE, "float32")
    key = jax.random.key(1)
    for library in packages.values():
        ours = kernels.drawing(kernels.OURS[library.parameterization.name], loc, raw, dz, key)
        with jax.numpy_rank_promotion("allow"):  # TFP's samples
            theirs = kernels.of_library(library, loc, raw, dz, key)
        np.testing.assert_allclose(theirs[1], ours[1], rtol=1e-4, err_msg=library.name)  # z depends on whose key it is
        assert [x.shape for x in theirs] == [x.shape for x in ours]


@pytest.mark.slow
def test_bytes_are_those_that_go_in_and_come_out():
    loc, raw, noise, dz = kernels.inputs((128, 20), "bfloat16")
    form = kernels.OURS["log_variance"]
    size = 128 * 20
    _, moved = kernels.compiled(lambda *x: kernels.forward(form, *x), loc, raw, noise)
    assert moved == size * (2 + 2 + 4 + 2) + 4 * 128
    _, moved = kernels.compiled(lambda *x: kernels.gradient(form, *x), loc, raw, noise, dz)
    assert moved == size * (2 + 2 + 4 + 2 + 2 + 2 + 2) + 4 * 128
    assert kernels.copy_of(8 * 1000)().nbytes == 4 * 1000


@pytest.mark.slow
def test_a_small_run_makes_table_and_picture(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kernels, "DTYPES", ("float32",))
    monkeypatch.setattr(libraries, "jax_libraries", lambda: ({}, {"distrax": "not asked"}))
    out = tmp_path / "kernels.json"
    monkeypatch.setattr(sys, "argv", ["kernels", "--quick", "--out", str(out)])
    kernels.main()
    report = json.loads(out.read_text())
    given = kernels.rows_of(report, dtype="float32", noise="given", **{"pass": "gradient"})
    assert set(given) == {"copy", *kernels.BY_HAND, *kernels.MAIN}
    for row in report["rows"]:
        low, high = row["spread"]
        assert 0 < low <= row["us"] <= high
        assert row["gb_per_s"] == pytest.approx(row["bytes"] / row["us"] / 1e3, rel=0.01, abs=0.01)
    assert "log-variance by hand" in capsys.readouterr().out
    assert out.with_suffix(".png").stat().st_size > 10_000
