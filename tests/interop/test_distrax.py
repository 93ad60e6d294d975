import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from scores import BESIDE, LOC, NARROW, RAW, STANDARD, TAILS, X, close, gaussian, near, same
from tensorflow_probability.substrates.jax import distributions as tfd

import jaxvae as jv

KEY = quick.key(0)


@jax.jit
def theirs(d, n, many):
    z, log_prob = d.sample_and_log_prob(seed=KEY, sample_shape=(2, 2))
    events, prior = distrax.Independent(d, 1), distrax.Independent(distrax.Normal(jnp.zeros(3), jnp.ones(3)), 1)
    return {
        "moments": (d.mean(), d.mode(), d.variance(), d.stddev(), d.loc, d.scale, d.entropy()),
        "samples": (z, log_prob),
        "slopes": jax.grad(lambda d: d.log_prob(X).sum())(d).gaussian,
        "kl": [x.kl_divergence(n) for x in (n, d)] + [d.kl_divergence(jv.to_tfp(n.gaussian))],
        "kl to theirs": (n.kl_divergence(distrax.Normal(0.0, 1.0)), n.kl_divergence(tfd.Normal(0.0, 1.0))),
        "kl from theirs": (distrax.Normal(0.0, 1.0).kl_divergence(n), tfd.Normal(0.0, 1.0).kl_divergence(n)),
        "events": (events.log_prob(X), events.kl_divergence(prior)),
        "transformed": distrax.Transformed(d, distrax.ScalarAffine(0.0, 2.0)).log_prob(2 * X),
        "vmap": jax.vmap(lambda d, x: d.log_prob(x))(many, X),
    }


@jax.jit
def ours(q, n):
    z = jv.sample(KEY, q, (4,)).reshape(2, 2, 2, 3)
    log_prob, back = jv.log_prob(q, X), jv.kl_divergence(STANDARD, n)
    return {
        "moments": (q.mean, q.mean, q.variance, q.std, q.mean, q.std, jv.entropy(q)),
        "samples": (z, jv.log_prob(q, z)),
        "slopes": jax.grad(lambda q: jv.log_prob(q, X).sum())(q),
        "kl": [jv.kl_divergence(n, n), *[jv.kl_divergence(q, n)] * 2],
        "kl to theirs": (jv.kl_divergence(n),) * 2,
        "kl from theirs": (back, back),
        "events": (log_prob.sum(-1), jv.kl_divergence(q, STANDARD).sum(-1)),
        "transformed": log_prob - jnp.log(2.0),
        "vmap": log_prob,
    }


@pytest.fixture(scope="module")
def answers():
    many = jax.vmap(lambda loc: jv.to_distrax(jv.Gaussian(loc, RAW)))(LOC)
    return theirs(jv.to_distrax(gaussian()), jv.to_distrax(near()), many), ours(gaussian(), near())


@pytest.mark.parametrize("what", ["moments", "samples", "slopes", "kl", "kl from theirs", "vmap"])
def test_its_answers_are_the_librarys(answers, what):
    same(*(answer[what] for answer in answers))


@pytest.mark.parametrize("what", ["kl to theirs", "events", "transformed"])
def test_and_so_are_those_made_of_it(answers, what):
    close(*(answer[what] for answer in answers))


def test_it_is_a_normal_of_the_same_shape():
    d = jv.to_distrax(jv.Gaussian(jnp.zeros((2, 3), jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)))
    assert isinstance(d, distrax.Normal)
    assert (d.batch_shape, d.event_shape, d.dtype) == ((2, 3), (), jnp.bfloat16)


def test_indexing():
    part = jv.to_distrax(gaussian())[1, 1:].gaussian
    same(part, jv.Gaussian(LOC[1, 1:], RAW[1:]))


def test_cdf():
    d = jv.to_distrax(jv.Gaussian(np.ones(3, np.float32), np.zeros(3, np.float32)))
    close(jax.jit(d.cdf)(np.float32([[1, 1, 2]])), np.float32([[0.5, 0.5, 0.8413447]]))


def test_tails_where_sigma_underflows():
    d = jv.to_distrax(NARROW)
    close({name: getattr(d, name)(BESIDE) for name in TAILS}, {name: np.float32(x) for name, x in TAILS.items()})
    close(d.survival_function(BESIDE), np.float32([1, 0.5, 0]))
    close(d.log_survival_function(BESIDE), np.float32([0, np.log(0.5), -np.inf]))


@pytest.mark.parametrize(
    "build",
    [
        lambda loc, std: distrax.Normal(loc, std),
        lambda loc, std: distrax.LogStddevNormal(loc, jnp.log(std)),
        lambda loc, std: distrax.Independent(distrax.MultivariateNormalDiag(loc, std)),
    ],
    ids=["Normal", "LogStddevNormal", "MultivariateNormalDiag"],
)
def test_back_from_theirs(build):
    loc, std = np.float32([[1, -2]]), np.float32([[0.5, 3]])
    default, natural = jax.jit(
        lambda loc, std: [jv.from_distrax(build(loc, std), parameterization=p) for p in (None, jv.natural_exp)]
    )(loc, std)
    assert (default.parameterization, natural.parameterization) == (jv.log_variance, jv.natural_exp)
    close([default.raw, natural.raw], [2 * np.log(std), -2 * np.log(std)])
    close([default.loc, natural.loc], [loc, loc / std**2])


def test_back_from_ones_own():
    q, direct = gaussian(), jv.Gaussian(np.zeros(2), np.ones(2), jv.direct_std)
    assert jv.from_distrax(distrax.Independent(jv.to_distrax(q), 2)) is q
    assert jv.from_distrax(jv.to_distrax(direct)) is direct
    same(jv.from_distrax(jv.to_distrax(q), jv.log_std).raw, np.broadcast_to(RAW / 2, (2, 3)))


def test_what_has_no_way_back():
    with pytest.raises(TypeError, match=r"from_distrax takes a Normal, .* got a Bernoulli"):
        jv.from_distrax(distrax.Bernoulli(0.0))
    with pytest.raises(ValueError, match=r"std must be in \(0, ∞\) for log_variance, got 0"):
        jv.from_distrax(distrax.Normal(0.0, 0.0))
