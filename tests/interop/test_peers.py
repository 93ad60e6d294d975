import sys

import pytest

import jaxvae as jv


@pytest.mark.parametrize(
    ("module", "package", "call"),
    [
        ("distrax", "distrax", jv.to_distrax),
        ("numpyro.distributions", "numpyro", jv.to_numpyro),
        ("tensorflow_probability.substrates.jax.distributions", "tfp-nightly", jv.to_tfp),
    ],
)
def test_a_missing_peer_is_named_with_its_cure(module, package, call, monkeypatch):
    monkeypatch.delitem(sys.modules, f"jaxvae.interop.{call.__name__.removeprefix('to_')}")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"this needs {package}"):
        call(jv.Gaussian(0.0, 0.0))


def test_what_goes_to_a_peer_comes_back():
    q = jv.Gaussian(0.5, 0.25, jv.softplus_std)
    for there, back in ((jv.to_distrax, jv.from_distrax), (jv.to_numpyro, jv.from_numpyro), (jv.to_tfp, jv.from_tfp)):
        again = back(there(q))
        assert (again.loc, again.raw, again.parameterization) == (q.loc, q.raw, q.parameterization)
