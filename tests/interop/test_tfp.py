import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from scores import BESIDE, LOC, NARROW, RAW, STANDARD, TAILS, X, close, gaussian, near, same
from tensorflow_probability.substrates.jax import bijectors as tfb
from tensorflow_probability.substrates.jax import distributions as tfd

import jaxvae as jv


@jax.jit
def theirs(d, n, many):
    events, prior = tfd.Independent(d, 1), tfd.Independent(tfd.Normal(jnp.zeros(3), jnp.ones(3)), 1)
    return {
        "moments": (d.mean(), d.mode(), d.variance(), d.stddev(), d.loc, d.scale, d.entropy()),
        "slopes": jax.grad(lambda d: d.log_prob(X).sum())(d).gaussian,
        "kl": (n.kl_divergence(n), d.kl_divergence(n)),
        "kl to theirs": n.kl_divergence(tfd.Normal(0.0, 1.0)),
        "kl from theirs": tfd.Normal(0.0, 1.0).kl_divergence(n),
        "events": (events.log_prob(X), events.kl_divergence(prior)),
        "transformed": tfd.TransformedDistribution(d, tfb.Scale(2.0)).log_prob(2 * X),
        "vmap": jax.vmap(lambda d, x: d.log_prob(x))(many, X),
        "scan": jax.lax.scan(lambda d, x: (d, d.log_prob(x)), d, X[None])[1][0],
    }


@jax.jit
def ours(q, n):
    log_prob = jv.log_prob(q, X)
    return {
        "moments": (q.mean, q.mean, q.variance, q.std, q.mean, q.std, jv.entropy(q)),
        "slopes": jax.grad(lambda q: jv.log_prob(q, X).sum())(q),
        "kl": (jv.kl_divergence(n, n), jv.kl_divergence(q, n)),
        "kl to theirs": jv.kl_divergence(n),
        "kl from theirs": jv.kl_divergence(STANDARD, n),
        "events": (log_prob.sum(-1), jv.kl_divergence(q, STANDARD).sum(-1)),
        "transformed": log_prob - jnp.log(2.0),
        "vmap": log_prob,
        "scan": log_prob,
    }


@pytest.fixture(scope="module")
def answers():
    many = jax.vmap(lambda loc: jv.to_tfp(jv.Gaussian(loc, RAW)))(LOC)
    return theirs(jv.to_tfp(gaussian()), jv.to_tfp(near()), many), ours(gaussian(), near())


@pytest.mark.parametrize("what", ["moments", "slopes", "kl", "kl from theirs", "vmap", "scan"])
def test_its_answers_are_the_librarys(answers, what):
    same(*(answer[what] for answer in answers))


@pytest.mark.parametrize("what", ["kl to theirs", "events", "transformed"])
def test_and_so_are_those_made_of_it(answers, what):
    close(*(answer[what] for answer in answers))


def test_it_is_a_normal_of_the_same_shape():
    d = jv.to_tfp(jv.Gaussian(jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)))
    assert isinstance(d, tfd.Normal)
    assert (d.batch_shape, d.event_shape, d.dtype) == ((2, 3), (), jnp.bfloat16)
    same(d.batch_shape_tensor(), (2, 3))


def test_samples():
    q = jv.Gaussian(np.full(10_000, 2, np.float32), np.float32(-2))
    z = jax.jit(lambda d: d.sample(2, seed=quick.key(0)))(jv.to_tfp(q))
    assert z.shape == (2, 10_000)
    std, z = np.exp(-1), np.asarray(z)
    assert abs(z.mean() - 2) < 4.5 * std / np.sqrt(20_000)
    assert abs(z.std() / std - 1) < 4.5 / np.sqrt(2 * 20_000)


def test_indexing():
    part = jv.to_tfp(gaussian())[1, 1:].gaussian
    same(part, jv.Gaussian(LOC[1, 1:], RAW[1:]))


def test_cdf_and_quantile():
    d = jv.to_tfp(jv.Gaussian(np.ones(3, np.float32), np.zeros(3, np.float32)))
    x, p = np.float32([1, 1, 2]), np.float32([0.5, 0.5, 0.8413447])
    close(jax.jit(lambda: (d.cdf(x[None])[0], d.quantile(p)))(), (p, x))


def test_tails_where_sigma_underflows():
    d = jv.to_tfp(NARROW)
    close({name: getattr(d, name)(BESIDE) for name in TAILS}, {name: np.float32(x) for name, x in TAILS.items()})
    close(d.survival_function(BESIDE), np.float32([1, 0.5, 0]))
    close(d.log_survival_function(BESIDE), np.float32([0, np.log(0.5), -np.inf]))
    assert d.quantile(np.float32(0.3)) == 0
    # It was NaN: Φ's slope, 0, times 1/σ, infinite.
    assert jax.grad(lambda raw: jv.to_tfp(jv.Gaussian(np.float32(0), raw)).log_cdf(1.0))(-200.0) == 0


@pytest.mark.parametrize("build", [tfd.Normal, tfd.MultivariateNormalDiag])
def test_back_from_theirs(build):
    loc, std = np.float32([[1, -2]]), np.float32([[0.5, 3]])
    default, natural = jax.jit(
        lambda loc, std: [jv.from_tfp(build(loc, std), parameterization=p) for p in (None, jv.natural_exp)]
    )(loc, std)
    assert (default.parameterization, natural.parameterization) == (jv.log_variance, jv.natural_exp)
    close([default.raw, natural.raw], [2 * np.log(std), -2 * np.log(std)])
    close([default.loc, natural.loc], [loc, loc / std**2])


def test_back_from_ones_own():
    q = gaussian()
    assert jv.from_tfp(tfd.Independent(jv.to_tfp(q), 2)) is q


def test_what_has_no_way_back():
    with pytest.raises(TypeError, match=r"from_tfp takes a Normal, .* got a Laplace"):
        jv.from_tfp(tfd.Laplace(0.0, 1.0))


def test_its_distribution_function_is_that_of_a_normal():
    q, x = jv.Gaussian(np.float32([0.5, -1.0]), np.float32([-2.0, 0.6])), np.float32([0.4, 2.0])
    close(jv.to_tfp(q).cdf(x), tfd.Normal(q.mean, q.std).cdf(x))
