import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick

import jaxvae as jv
from jaxvae.likelihoods import (
    LIKELIHOODS,
    DiscretizedLogisticMixture,
    FixedGaussian,
    LearnedGaussian,
    OptimalGaussian,
    likelihood,
)


def test_the_registry_holds_what_is_promised():
    assert set(LIKELIHOODS) == {
        "bernoulli",
        "continuous_bernoulli",
        "categorical",
        "gaussian_fixed",
        "gaussian_learned",
        "gaussian_pixel",
        "gaussian_optimal",
        "discretized_gaussian",
        "discretized_logistic",
        "discretized_logistic_mixture",
        "poisson",
        "negative_binomial",
        "zero_inflated_poisson",
        "zero_inflated_negative_binomial",
        "multinomial",
        "dirichlet_multinomial",
    }


def test_a_kind_takes_what_it_needs():
    assert likelihood("gaussian_fixed", None, jv.log_std, 0.1) == FixedGaussian(0.1)
    assert likelihood("gaussian_learned", 256, jv.softplus_std, 0.1) == LearnedGaussian(jv.softplus_std, 0.1)
    assert likelihood("gaussian_optimal", None) == OptimalGaussian(jv.log_variance)
    assert likelihood("discretized_logistic_mixture", 16, jv.log_std, 0.2) == DiscretizedLogisticMixture(
        16, parameterization=jv.log_std, std=0.2
    )


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_every_registered_parameterization_starts_in_range(name):
    for p in jv.PARAMETERIZATIONS.values():
        likelihood(name, 256, p)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: likelihood("normal", 256), r"likelihood must be one of bernoulli, .*, got 'normal'"),
        (lambda: likelihood("categorical", None), "levels must be .* at least 2, got None"),
        (lambda: likelihood("discretized_logistic", None), "levels must be .* at least 2, got None"),
        (lambda: likelihood("discretized_logistic_mixture", 1), "levels must be .* at least 2, got 1"),
        (lambda: likelihood("gaussian_fixed", None, std=0.0), "FixedGaussian.std must be positive and finite, got 0.0"),
        (lambda: likelihood("gaussian_learned", None, jv.sigmoid_std, 1.5), r"std must be in \(0, 1\) for sigmoid_std"),
        (lambda: likelihood("gaussian_pixel", None, jv.dreamer_std, 0.1), r"std must be in \(0.1, ∞\) for dreamer_std"),
        (lambda: likelihood("discretized_logistic", 4, std=-1.0), "std must be in .* got -1.0"),
        (lambda: DiscretizedLogisticMixture(4, 0), "DiscretizedLogisticMixture.components must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(build, message):
    with pytest.raises(ValueError, match=message) as error:
        build()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_batch_may_be_symbolic():
    """Of K samples for B images, both symbolic, in one exported program."""
    kinds = {name: likelihood(name, 4, jv.log_std) for name in LIKELIHOODS}

    def all_of(kind, outputs, x):
        raw = kind.raw_start(channels) if kind.sized else jnp.float32(-1)
        x = jnp.round(3 * x) if kind.sized else x
        return kind.log_prob(outputs, x, raw), kind.mean(outputs, raw), kind.sample(quick.key(0), outputs, raw)

    def everything(outputs, x):
        return {name: all_of(kind, outputs[name], x) for name, kind in kinds.items()}

    k, b = jax.export.symbolic_shape("k, b")
    channels, rng = 2, np.random.default_rng(0)

    def arrays(make, k, b):
        outputs = {name: make((k, b, 1, 3, kind.output_channels(channels))) for name, kind in kinds.items()}
        return outputs, make((b, 1, 3, channels))

    function = jax.jit(everything)
    exported = jax.export.export(function)(*arrays(lambda shape: jax.ShapeDtypeStruct(shape, np.float32), k, b))
    outputs, x = arrays(lambda shape: np.float32(rng.integers(0, 4, shape) / 3), 2, 3)
    found = exported.call(outputs, x)
    chex.assert_trees_all_close(found, function(outputs, x), rtol=1e-5, atol=1e-5)
    alone = exported.call({name: value[:1, :1] for name, value in outputs.items()}, x[:1])
    for name in kinds:
        chex.assert_trees_all_close(alone[name][:2], tuple(v[:1, :1] for v in found[name][:2]), rtol=1e-5, atol=1e-5)
