"""Kinds of real numbers: their contract, draws, and where their numbers come from."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from representatives import each

import jaxvae as jv
from jaxvae.likelihoods import Beta, Gamma, Laplace, LogNormal, StudentT, VonMises

KINDS = {
    "student's t": StudentT(),
    "student's t, all learned": StudentT(jv.softplus_std, 0.5, "all", freedom=jv.Softplus(), freedom_scope="feature"),
    "laplace": Laplace(scope="feature"),
    "log-normal": LogNormal(jv.log_std, 0.5),
    "gamma": Gamma(),
    "gamma, by example": Gamma(jv.Softplus(), scope="example"),
    "beta": Beta(),
    "von mises": VonMises(scope="example"),
}
CHANNELS = 2


def numbers(kind, shape, seed=1):
    noise = np.random.default_rng(seed).normal(size=(*shape, kind.output_channels(CHANNELS)))
    return jnp.asarray(kind.output_bias(CHANNELS) + 0.3 * noise, jnp.float32), kind.raw_start(CHANNELS)


@pytest.mark.parametrize("name", each(KINDS, ("gamma", "beta")))
def test_the_contract(name):
    """Shapes, finite slopes by all that is learned, hashing."""
    kind = KINDS[name]
    (outputs, raw), x = numbers(kind, (4, 3)), jnp.float32([[0.1, 0.5], [0.3, 0.9], [0.7, 0.6]])
    log_prob = functools.partial(kind.log_prob, x=x)
    value, slopes = jax.jit(
        lambda o, r: (log_prob(o, raw=r), jax.grad(lambda o, r: log_prob(o, raw=r).sum(), (0, 1))(o, r))
    )(outputs, raw)
    assert value.shape == kind.mean(outputs, raw).shape == (4, 3, CHANNELS)
    assert value.dtype == kind.mean(outputs, raw).dtype == np.float32
    assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves((value, slopes)))
    assert isinstance(hash(kind), int)


def frozen(name, parts):
    """The distribution in scipy's words, of the numbers (R,) of one channel."""
    n = [float(p) for p in parts]
    if "student" in name:
        scale = float(KINDS[name].parameterization.std(jnp.float32(n[1])))
        return scipy.stats.t(float(KINDS[name].freedom.forward(jnp.float32(n[2]))), n[0], scale)
    if name == "laplace":
        return scipy.stats.laplace(n[0], math.exp(n[1] / 2))
    if name == "log-normal":
        return scipy.stats.lognorm(math.exp(n[1]), scale=math.exp(n[0]))
    if "gamma" in name:
        mean, shape = float(KINDS[name].transform.forward(jnp.float32(n[0]))), math.exp(n[1])
        return scipy.stats.gamma(shape, scale=mean / shape)
    if name == "beta":
        mean, total = 1 / (1 + math.exp(-n[0])), math.exp(n[1])
        return scipy.stats.beta(total * mean, total * (1 - mean))
    return scipy.stats.vonmises(math.exp(n[1]), n[0])


@pytest.mark.parametrize("name", each(KINDS, ("laplace",)))
def test_densities_and_draws_are_scipy_s(name):
    """Densities to 1e-5; draws by Kolmogorov and Smirnov."""
    kind, draws = KINDS[name], 5_000
    outputs, raw = numbers(kind, (1,), seed=4)
    parts = np.stack(kind._in_full(kind._joined(kind._parts(outputs), raw, None)), axis=-1)[0]
    x = np.float64(jax.jit(kind.sample)(jax.random.key(5), jnp.broadcast_to(outputs, (draws, outputs.size)), raw))
    log_prob = np.asarray(kind.log_prob(outputs, jnp.float32(x[:50]), raw))
    for c in range(CHANNELS):
        exact = frozen(name, parts[c])
        np.testing.assert_allclose(
            log_prob[:, c], exact.logpdf(np.float32(x[:50, c]).astype(float)), rtol=1e-5, atol=1e-5
        )
        if name != "von mises":
            assert scipy.stats.kstest(x[:, c], exact.cdf).pvalue > 1e-4
            assert kind.mean(outputs, raw)[0, c] == pytest.approx(exact.mean(), rel=1e-5)
        else:
            centred = np.angle(np.exp(1j * (x[:, c] - float(parts[c, 0]))))
            assert scipy.stats.kstest(centred, scipy.stats.vonmises(exact.args[0]).cdf).pvalue > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("log_concentration", [-5.0, 3.0, 20.0])
def test_angles_of_any_concentration(log_concentration):
    """Of 5,000 draws, E[sin²(φ / 2)] = (1 - I₁/I₀) / 2 to 5 standard errors."""
    outputs = jnp.broadcast_to(jnp.float32([0, log_concentration]), (5_000, 2))
    angle = np.float64(jax.jit(VonMises(scope="example").sample)(jax.random.key(6), outputs)[:, 0])
    kappa = math.exp(log_concentration)
    y = np.sin(angle / 2) ** 2
    mean = (1 - scipy.special.i1e(kappa) / scipy.special.i0e(kappa)) / 2 if kappa < 1e5 else 1 / (4 * kappa)
    assert abs(y.mean() - mean) <= 5 * y.std() / math.sqrt(5_000)


def test_where_a_positive_number_must_be():
    for name in ("log-normal", "gamma"):
        kind = KINDS[name]
        outputs, raw = numbers(kind, (1,))
        found = kind.log_prob(outputs, jnp.float32([[-1, 0]]), raw)[0]
        assert np.isnan(found[0])
        assert not np.isnan(found[1])


@pytest.mark.parametrize("kind", [StudentT, Laplace, Gamma, Beta, VonMises])
def test_an_unknown_scope_is_refused(kind):
    with pytest.raises(
        ValueError, match=rf"{kind.__name__}.scope must be one of example, feature, all, fixed, got 'row'"
    ):
        kind(scope="row")
