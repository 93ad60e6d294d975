import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from representatives import each

import jaxvae as jv
from jaxvae.models import GaussianHead

EXPONENTIALS = [jv.log_variance, jv.log_std, jv.log_precision, jv.efficient_vdvae_log_std]
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
KERNEL, BIAS = np.linspace(-1, 2, 6, dtype=np.float32).reshape(3, 2), np.float32([0.3, -2])


def behind(transform, scale, shift, quantity="std"):
    return jv.Parameterization(quantity, jv.Chain(jv.Affine(scale, shift), transform))


PAIRS = [
    *itertools.permutations(EXPONENTIALS, 2),
    (jv.log_variance, behind(jv.Exp(), 2.0, -1.0, "precision")),
    (behind(jv.ExpLinear(), 2.0, -1.0), jv.exp_linear_std),
    (jv.exp_linear_std, behind(jv.ExpLinear(), 2.0, -1.0)),
    (jv.Parameterization("std", jv.Chain(jv.Affine(3.0, 1.0), jv.Affine(0.5, 2.0), jv.ExpLinear())), jv.exp_linear_std),
    (behind(jv.ExpLinear(), 2.0, 0.5), jv.Parameterization("std", jv.Chain(jv.ExpLinear()))),
]


def test_the_outputs_stay():
    """To 4 ulp of what the raws are sums of, as log σ is at most 2 raw here."""

    @jax.jit
    def all_log_stds(x):
        found = []
        for source, target in PAIRS:
            kernel, bias = jv.convert_head(KERNEL, BIAS, source, target)
            found.append((source.log_std(x @ KERNEL + BIAS[None]), target.log_std(x @ kernel + bias[None])))
        return found

    for pair, (old, new) in zip(PAIRS, all_log_stds(X), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=4e-6, err_msg=str(pair))


def test_powers_of_two_are_exact():
    kernel, bias = jv.convert_head(KERNEL, BIAS, jv.log_variance, jv.log_std)
    np.testing.assert_array_equal(kernel, KERNEL / 2)
    np.testing.assert_array_equal(bias, BIAS / 2)
    kernel, _ = jv.convert_head(jnp.asarray(KERNEL, jnp.bfloat16), None, jv.log_variance, jv.log_precision)
    np.testing.assert_array_equal(kernel, -jnp.asarray(KERNEL, jnp.bfloat16))
    assert kernel.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", each())
def test_to_itself_nothing_changes(name):
    p = jv.parameterization(name)
    assert jv.convert_head(KERNEL, BIAS, p, dataclasses.replace(p, name="other")) == (KERNEL, BIAS)


def test_natural_exponentials_of_other_lines():
    target = jv.NaturalParameterization("precision", jv.Chain(jv.Affine(2.0), jv.Exp()))
    kernel, _ = jv.convert_head(KERNEL, BIAS, jv.natural_exp, target)
    np.testing.assert_array_equal(kernel, KERNEL / 2)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (jv.log_variance, jv.softplus_std),
        (jv.softplus_std, jv.softplus_variance),
        (jv.softplus_std, jv.efficient_vdvae_std),
        (jv.log_variance, jv.diffusers_log_variance),
        (jv.log_precision, jv.natural_exp),
        (jv.scvi_variance, jv.log_variance),
    ],
)
def test_what_is_not_affine_is_refused(source, target):
    with pytest.raises(ValueError, match=rf"from '{source.name}' to '{target.name}': .* use convert\(q, target\)"):
        jv.convert_head(KERNEL, BIAS, source, target)


def test_a_shift_needs_a_bias():
    with pytest.raises(ValueError, match=r"bias must be given, to take the shift of -0.5 .*, got None"):
        jv.convert_head(KERNEL, None, jv.softplus_std, behind(jv.Softplus(), 2.0, 1.0))


def test_a_linen_head():
    head = GaussianHead(2, jv.log_variance)
    params = {"loc": {"kernel": KERNEL, "bias": BIAS}, "raw": {"kernel": KERNEL, "bias": BIAS}}
    converted = jv.convert_head_params(params, jv.log_variance, jv.log_std)
    assert jax.tree.structure(converted) == jax.tree.structure(params)

    @jax.jit
    def run(x):
        old = head.apply({"params": params}, x)
        new = GaussianHead(2, jv.log_std).apply({"params": converted}, x)
        return (old.mean, old.std), (new.mean, new.std)

    jax.tree.map(np.testing.assert_array_equal, *run(X))


@pytest.mark.parametrize("params", [{"loc": {}}, {"loc": {}, "raw": {"bias": BIAS}}, {"kernel": KERNEL, "bias": BIAS}])
def test_what_is_no_head(params):
    with pytest.raises(ValueError, match="params must be a head's"):
        jv.convert_head_params(params, jv.log_variance, jv.log_std)
