"""Kinds of counts: their contract, where their numbers come from, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import (
    DirichletMultinomial,
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflated,
    log_negative_binomial,
    log_poisson,
    log_zero_inflated,
)

KINDS = {
    "poisson": Poisson(),
    "poisson, softplus": Poisson(jv.Softplus()),
    "negative binomial": NegativeBinomial(),
    "negative binomial, by example": NegativeBinomial(jv.Softplus(), jv.Softplus(), scope="example"),
    "negative binomial, logits": NegativeBinomial(None, scope="all"),
    "zero-inflated poisson": ZeroInflated(Poisson()),
    "zero-inflated negative binomial": ZeroInflated(NegativeBinomial(), scope="feature"),
    "multinomial": Multinomial(),
    "dirichlet-multinomial": DirichletMultinomial(),
}
CHANNELS = 3
LOG_SIZE = jnp.log(jnp.float32([[20.0], [200.0]]))


def outputs_for(kind, shape=(2,), seed=1):
    noise = np.random.default_rng(seed).normal(size=(*shape, kind.output_channels(CHANNELS)))
    return jnp.asarray(kind.output_bias(CHANNELS) + 0.3 * noise, jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", each(KINDS, ("zero-inflated negative binomial", "multinomial")))
def test_the_contract(name):
    """Shapes, finite slopes by all that is learned, neutral outputs of mean 1, hashing."""
    kind = KINDS[name]
    raw, x = kind.raw_start(CHANNELS), jnp.float32([[0, 3, 7], [1, 0, 250]])

    @jax.jit
    def all_of_it(outputs, raw, log_size):
        log_prob = functools.partial(kind.log_prob, x=x)
        slopes = jax.grad(lambda *args: log_prob(args[0], raw=args[1], log_size=args[2]).sum(), (0, 1, 2))
        args = outputs, raw, log_size
        return log_prob(outputs, raw=raw, log_size=log_size), slopes(*args), kind.mean(*args)

    outputs = outputs_for(kind, (4, 2))  # samples of latents, of two examples
    value, slopes, mean = all_of_it(outputs, raw, LOG_SIZE)
    draw = kind.sample(jax.random.key(0), outputs, raw, LOG_SIZE)
    assert value.shape == mean.shape == draw.shape == (4, 2, CHANNELS)
    assert value.dtype == mean.dtype == draw.dtype == np.float32
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves((value, slopes, mean)))
    assert np.all(draw == np.round(draw))
    assert kind == type(kind)(*(getattr(kind, field) for field in kind.__dataclass_fields__))
    assert isinstance(hash(kind), int)
    neutral = kind.mean(kind.output_bias(CHANNELS), raw)
    share = 1 / CHANNELS if "multinomial" in name else 0.9 if "zero" in name else 1
    np.testing.assert_allclose(neutral, share, rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_the_outputs_of_a_mean_have_it(name):
    kind = KINDS[name]
    mean = np.float32([[0.5, 2, 30], [1, 1, 8]])
    got = kind.mean(kind.outputs_at(mean), kind.raw_start(CHANNELS))
    wanted = mean / mean.sum(-1, keepdims=True) if "multinomial" in name else mean
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "zero-inflated poisson",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in KINDS
            if not n.endswith(("multinomial", "inflated poisson"))
        ),
    ],
)
def test_the_mean_of_samples_is_the_mean(name):
    """Within 4.5 standard errors of 20,000 draws, and to the size."""
    kind, draws = KINDS[name], 20_000
    outputs, raw = outputs_for(kind), kind.raw_start(CHANNELS)
    many = jnp.broadcast_to(outputs, (draws, *outputs.shape))
    x = np.float64(jax.jit(kind.sample)(jax.random.key(3), many, raw, LOG_SIZE))
    mean = np.asarray(kind.mean(outputs, raw, LOG_SIZE))
    assert np.all(np.abs(x.mean(0) - mean) <= 4.5 * x.std(0) / np.sqrt(draws))
    np.testing.assert_allclose(mean[1], 10 * np.asarray(kind.mean(outputs, raw, LOG_SIZE[0]))[1], rtol=1e-5)


def test_numbers_come_from_where_their_scope_says():
    x = jnp.float32([[0, 3], [1, 0]])
    m, t, a = (jnp.float32(np.random.default_rng(i).normal(size=(2, 2))) for i in range(3))

    def interleaved(*parts):
        return jnp.stack(parts, axis=-1).reshape(2, -1)

    size = jnp.float32([[0.3], [2.0]])
    got = Poisson().log_prob(m, x, log_size=size)
    np.testing.assert_array_equal(got, log_poisson(m + size, x))
    by_example = NegativeBinomial(scope="example").log_prob(interleaved(m, t), x)
    np.testing.assert_array_equal(by_example, log_negative_binomial(m, t, x))
    by_feature = NegativeBinomial().log_prob(m, x, {"dispersion": t[0]})
    np.testing.assert_array_equal(by_feature, log_negative_binomial(m, t[:1], x))
    one = NegativeBinomial(scope="all").log_prob(m, x, {"dispersion": 0.7})
    np.testing.assert_array_equal(one, log_negative_binomial(m, np.float32(0.7), x))
    logits = NegativeBinomial(None, scope="example").log_prob(interleaved(m, t), x)
    np.testing.assert_array_equal(logits, log_negative_binomial(m + t, t, x))
    inflated = ZeroInflated(NegativeBinomial()).log_prob(interleaved(m, a), x, {"dispersion": t[0]})
    np.testing.assert_allclose(inflated, log_zero_inflated(a, by_feature, x), rtol=1e-6)


def test_images_of_counts_keep_their_features():
    """A number for every channel, at any rank."""
    kind, x = NegativeBinomial(), jnp.float32(np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3) % 7)
    raw = {"dispersion": jnp.float32([0, 1, 2])}
    together = kind.log_prob(jnp.zeros_like(x), x, raw)
    alone = log_negative_binomial(0.0, jnp.broadcast_to(raw["dispersion"], x.shape), x)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: NegativeBinomial(scope="gene"),
            "NegativeBinomial.scope must be one of example, feature, all, fixed, got 'gene'",
        ),
        (
            lambda: ZeroInflated(Poisson(), "cell"),
            "ZeroInflated.scope must be one of example, feature, all, fixed, got 'cell'",
        ),
        (lambda: ZeroInflated(Multinomial()), "ZeroInflated.kind must be a kind of counts, got Multinomial"),
        (lambda: ZeroInflated(ZeroInflated(Poisson())), "ZeroInflated.kind must be a kind of counts, got Zero"),
        (lambda: Poisson(jv.Chain(jv.Exp(), jv.Floor(2.0))), "transform must be one that reaches 1, got Chain"),
        (lambda: NegativeBinomial().mean(jnp.zeros((2, 3))), "raw must be a dict of dispersion, got None"),
        (lambda: Poisson().mean(jnp.zeros((2, 3)), 0.5), "raw must be None, got 0.5"),
        (
            lambda: NegativeBinomial().mean(jnp.zeros((2, 3)), {"dispersion": np.zeros(2)}),
            r"dispersion.shape must be \(C,\), a number for each channel, got \(2,\)",
        ),
        (lambda: Poisson().mean(jnp.zeros((2, 3)), None, np.zeros((4, 1))), "shapes must broadcast"),
        (
            lambda: jv.likelihoods.Bernoulli().mean(jnp.zeros((2, 3)), None, 0.0),
            "log_size must be None, as x has no size under Bernoulli",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_what_is_no_count_is_nan():
    for name, kind in KINDS.items():
        x = jnp.float32([[0.5, 1, -1]])
        got = np.asarray(kind.log_prob(outputs_for(kind, (1,)), x, kind.raw_start(CHANNELS)))
        assert np.all(np.isnan(got[:, [0, 2]])), name
