import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
import quick
from numpyro.distributions.batch_util import promote_batch_shape
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import log_density
from scores import BESIDE, LOC, NARROW, RAW, STANDARD, TAILS, X, close, gaussian, near, same

import jaxvae as jv

KEY = quick.key(0)


@jax.jit
def theirs(d, n, many):
    events, prior = d.to_event(1), dist.Normal(0.0, 1.0).expand((3,)).to_event(1)
    return {
        "moments": (d.mean, d.variance, d.entropy()),
        "samples": d.sample(KEY, (4,)),
        "slopes": jax.grad(lambda d: d.log_prob(X).sum())(d).gaussian,
        "kl": (dist.kl_divergence(n, n), dist.kl_divergence(d, n)),
        "kl to theirs": dist.kl_divergence(n, dist.Normal(0.0, 1.0)),
        "kl from theirs": dist.kl_divergence(dist.Normal(0.0, 1.0), n),
        "events": (events.log_prob(X), dist.kl_divergence(events, prior)),
        "vmap": jax.vmap(lambda d, x: d.log_prob(x))(many, X),
    }


@jax.jit
def ours(q, n):
    log_prob = jv.log_prob(q, X)
    return {
        "moments": (q.mean, q.variance, jv.entropy(q)),
        "samples": jv.sample(KEY, q, (4,)),
        "slopes": jax.grad(lambda q: jv.log_prob(q, X).sum())(q),
        "kl": (jv.kl_divergence(n, n), jv.kl_divergence(q, n)),
        "kl to theirs": jv.kl_divergence(n),
        "kl from theirs": jv.kl_divergence(STANDARD, n),
        "events": (log_prob.sum(-1), jv.kl_divergence(q, STANDARD).sum(-1)),
        "vmap": log_prob,
    }


@pytest.fixture(scope="module")
def many():
    """Made under ``vmap``."""
    return jax.vmap(lambda loc, raw: jv.to_numpyro(jv.Gaussian(loc, raw)))(LOC, np.stack([RAW, RAW]))


@pytest.fixture(scope="module")
def answers(many):
    return theirs(jv.to_numpyro(gaussian()), jv.to_numpyro(near()), many), ours(gaussian(), near())


@pytest.mark.parametrize("what", ["moments", "samples", "slopes", "kl", "kl from theirs", "vmap"])
def test_its_answers_are_the_librarys(answers, what):
    same(*(answer[what] for answer in answers))


@pytest.mark.parametrize("what", ["kl to theirs", "events"])
def test_and_so_are_those_made_of_it(answers, what):
    close(*(answer[what] for answer in answers))


def test_shapes(many):
    d = jv.to_numpyro(gaussian())
    assert (d.batch_shape, d.event_shape, d.has_rsample) == ((2, 3), (), True)
    promoted = promote_batch_shape(many)
    draw = jax.jit(lambda: (promoted.sample(KEY), jv.to_numpyro(near()).expand((5, 3)).sample(KEY)))
    assert promoted.batch_shape == (2, 3)
    assert [z.shape for z in draw()] == [(2, 3), (5, 3)]
    assert len(np.unique(draw()[1])) == 15


def test_cdf():
    d = jv.to_numpyro(jv.Gaussian(np.ones(3, np.float32), np.zeros(3, np.float32)))
    x, p = np.float32([1, 1, 2]), np.float32([0.5, 0.5, 0.8413447])
    close(jax.jit(lambda: (d.cdf(x), d.log_cdf(x), d.icdf(p)))(), (p, np.log(p), x))


def test_tails_where_sigma_underflows():
    d = jv.to_numpyro(NARROW)
    close({name: getattr(d, name)(BESIDE) for name in TAILS}, {name: np.float32(x) for name, x in TAILS.items()})
    assert d.icdf(np.float32(0.3)) == 0


@pytest.mark.parametrize("centered", [0.0, 0.3])
@pytest.mark.parametrize("p", [jv.softplus_std, jv.natural_softplus])
def test_a_location_and_a_scale_for_the_reparameterizers(centered, p):
    """The site's value is mean + σ^(1 - c) (y - c mean), where y has the mean c mean and the scale σ^c."""
    q = jv.Gaussian(np.float32([0.7, -2]), np.float32([0.3, 1]), p)
    model = numpyro.handlers.reparam(
        lambda: numpyro.sample("z", jv.to_numpyro(q).to_event(1)), config={"z": LocScaleReparam(centered)}
    )
    sites = numpyro.handlers.trace(numpyro.handlers.seed(model, KEY)).get_trace()
    site, y = sites["z_decentered"]["fn"].base_dist, sites["z_decentered"]["value"]
    assert isinstance(site, type(jv.to_numpyro(q)))
    np.testing.assert_allclose(site.loc, centered * q.mean, rtol=2e-6)
    np.testing.assert_allclose(site.scale, q.std**centered, rtol=2e-6)
    np.testing.assert_allclose(sites["z"]["value"], q.mean + q.std ** (1 - centered) * (y - site.loc), rtol=2e-6)


def test_a_scale_takes_the_place_of_raw():
    kind = type(jv.to_numpyro(gaussian()))
    assert kind(0.0, scale=2.0).gaussian.parameterization == jv.direct_std
    for wrong in ({}, {"raw": 0.0, "scale": 1.0}):
        with pytest.raises(ValueError, match="scale must be given where raw is not, and only there"):
            kind(0.0, **wrong)


NOISE, DATA = -0.7, np.float32([0.5, -0.3, 1.2, 0.8])


def model(x):
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    with numpyro.plate("examples", len(x)):
        numpyro.sample("x", jv.to_numpyro(jv.Gaussian(z, NOISE)), obs=x)


def guide(x):
    del x
    loc, raw = (numpyro.param(name, jnp.asarray(0.0)) for name in ("loc", "raw"))
    numpyro.sample("z", jv.to_numpyro(jv.Gaussian(loc, raw, jv.log_std)))


def posterior_and_evidence():
    """p(z|x) as (mean, σ), and log p(x): the model is conjugate, and both are known."""
    noise = math.exp(NOISE)
    precision = 1 + len(DATA) / noise
    covariance = noise * np.eye(4) + 1
    log_evidence = -(DATA @ np.linalg.solve(covariance, DATA) + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2
    return float(DATA.sum()) / noise / precision, precision**-0.5, log_evidence


def test_the_density_of_a_trace():
    got = jax.jit(lambda z: log_density(model, (DATA,), {}, {"z": z})[0])(0.3)
    noise = math.exp(NOISE)
    squares = 0.3**2 + float(((DATA - 0.3) ** 2).sum()) / noise
    np.testing.assert_allclose(got, -(squares + 4 * NOISE + 5 * math.log(2 * math.pi)) / 2, rtol=1e-6)


def test_the_elbo_at_the_posterior_is_the_evidence():
    """For every z, since log p(x, z) - log q(z) has no variance there."""
    mean, std, log_evidence = posterior_and_evidence()
    params = {"loc": jnp.asarray(mean), "raw": jnp.asarray(math.log(std))}
    loss = jax.jit(lambda seed: Trace_ELBO().loss(quick.key(seed), params, model, guide, DATA))
    np.testing.assert_allclose([loss(seed) for seed in range(4)], -log_evidence, rtol=2e-6)


def test_svi_trains_a_guide():
    mean, std, log_evidence = posterior_and_evidence()
    svi = SVI(model, guide, optax.adam(0.05), TraceMeanField_ELBO(num_particles=8))
    found = svi.run(quick.key(0), 300, DATA, progress_bar=False)
    loc, raw = (float(found.params[name]) for name in ("loc", "raw"))
    ratio = math.exp(2 * raw) / std**2
    kl = (ratio - 1 - math.log(ratio) + ((loc - mean) / std) ** 2) / 2
    assert kl < 0.05
    assert found.losses[0] > 1 - log_evidence


def test_back():
    loc, std = np.float32([1, -2]), np.float32([0.5, 3])
    default, natural = jax.jit(
        lambda loc, std: [
            jv.from_numpyro(dist.Normal(loc, std).to_event(1), parameterization=p) for p in (None, jv.natural_exp)
        ]
    )(loc, std)
    assert (default.parameterization, natural.parameterization) == (jv.log_variance, jv.natural_exp)
    close([default.raw, natural.raw], [2 * np.log(std), -2 * np.log(std)])
    close([default.loc, natural.loc], [loc, loc / std**2])
    assert jv.from_numpyro(dist.Normal(0, 1).expand((4, 2)).to_event(1)).shape == (4, 2)
    same(jv.from_numpyro(jv.to_numpyro(gaussian())), gaussian())
    assert jv.from_numpyro(jv.to_numpyro(gaussian()).expand((5, 2, 3))).shape == (5, 2, 3)


def test_what_is_refused():
    with pytest.raises(TypeError, match=r"from_numpyro takes a Normal, .* got a Gamma"):
        jv.from_numpyro(dist.Gamma(1.0, 1.0))
    with pytest.raises(ValueError, match="invalid raw"):
        jv.to_numpyro(jv.Gaussian(0.0, math.nan))
