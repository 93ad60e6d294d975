import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvae as jv
from jaxvae import objectives
from jaxvae.data.synthetic import heteroscedastic_toy

SHAPE = (5, 3)
beta_nll, faithful = jax.jit(objectives.beta_nll), jax.jit(objectives.faithful)


@functools.partial(jax.jit, static_argnums=0)
def slopes(loss, q, *arguments):
    return jax.grad(lambda q: jnp.sum(loss(q, *arguments)))(q)


def draw(p=jv.log_variance, seed=0):
    rng = np.random.default_rng(seed)
    loc, raw, y = np.float32(rng.normal(size=(3, *SHAPE)))
    return jv.Gaussian(loc, raw, p), y


def by_hand(q, y):
    """The mean, σ and the NLL, in float64."""
    mean, std = np.float64(q.mean), np.float64(q.std)
    return mean, std, ((y - mean) / std) ** 2 / 2 + np.log(std) + math.log(2 * math.pi) / 2


@pytest.mark.parametrize("p", [jv.log_variance, jv.natural_softplus], ids=lambda p: p.name)
def test_the_formulas(p):
    q, y = draw(p)
    mean, std, nll = by_hand(q, y)
    for beta in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(beta_nll(q, y, beta), std ** (2 * beta) * nll, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(faithful(q, y), (y - mean) ** 2 / 2 + nll, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(beta_nll(q, y, 0.0), -jv.log_prob(q, y), rtol=1e-6)


def test_the_weight_has_no_gradient():
    q, y = draw()
    mean, std, _ = by_hand(q, y)
    for beta in (0.0, 0.5, 1.0):
        slope = slopes(beta_nll, q, y, beta)
        weight = std ** (2 * beta)
        np.testing.assert_allclose(slope.loc, weight * (mean - y) / std**2, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(slope.raw, weight * (1 - ((y - mean) / std) ** 2) / 2, rtol=1e-5, atol=1e-6)


def test_the_mean_is_learned_from_squared_errors_and_std_from_the_nll():
    q, y = draw()
    mean, std, _ = by_hand(q, y)
    slope = slopes(faithful, q, y)
    np.testing.assert_allclose(slope.loc, mean - y, rtol=1e-6)
    np.testing.assert_allclose(slope.raw, (1 - ((y - mean) / std) ** 2) / 2, rtol=1e-5, atol=1e-6)


def test_a_natural_mean_is_stopped_with_all_that_it_depends_on():
    """What is left of raw's slope is that of σ by the NLL, and that of the mean by the squared error."""
    q, y = draw(jv.natural_softplus)
    mean, std, _ = by_hand(q, y)
    slope = slopes(faithful, q, y)
    gain = np.float64(q.parameterization.log_std_gain(q.raw))
    want = gain * (1 - ((y - mean) / std) ** 2) + (mean - y) * 2 * mean * gain
    np.testing.assert_allclose(slope.raw, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope.loc, (mean - y) * std**2, rtol=1e-5, atol=1e-6)


def test_points_and_parameters_broadcast():
    q, y = draw()
    narrow = jv.Gaussian(q.loc, q.raw[0])
    for loss in (functools.partial(beta_nll, beta=0.5), faithful):
        many = loss(narrow, np.stack([y, y + 1]))
        assert many.shape == (2, *SHAPE)
        full = jv.Gaussian(q.loc, np.broadcast_to(q.raw[0], SHAPE))
        np.testing.assert_allclose(many[1], loss(full, y + 1), rtol=1e-6)
        assert loss(jax.tree.map(lambda x: x.astype(jnp.bfloat16), q), y).dtype == np.float32


def test_betas_need_one_trace_and_are_scalars():
    q, y = draw()
    traced = jax.jit(chex.assert_max_traces(objectives.beta_nll, n=1))
    for beta in np.linspace(0, 1, 10, dtype=np.float32):
        np.testing.assert_allclose(traced(q, y, beta), beta_nll(q, y, beta), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        beta_nll(q, y, np.ones(3))


POINTS, STEPS, BATCH, WIDTH = 4000, 2500, 256, 32


def regressor(params, x, p, stopped):
    """Two hidden layers, and a Gaussian; ``stopped`` features on their way to σ."""
    for kernel, bias in params["hidden"]:
        x = jnp.tanh(x @ kernel + bias[None])
    (loc, loc_bias), (raw, raw_bias) = params["loc"], params["raw"]
    features = jax.lax.stop_gradient(x) if stopped else x
    return jv.Gaussian((x @ loc + loc_bias[None])[:, 0], (features @ raw + raw_bias[None])[:, 0], p)


def start(p):
    rng = np.random.default_rng(0)

    def dense(inputs, outputs, scale=1.0):
        return rng.normal(scale=scale / math.sqrt(inputs), size=(inputs, outputs)), np.zeros(outputs)

    params = {
        "hidden": [dense(1, WIDTH, 3.0), dense(WIDTH, WIDTH)],
        "loc": dense(WIDTH, 1),
        "raw": dense(WIDTH, 1, 0.0),
    }
    params["hidden"][0][1][:] = rng.uniform(-3, 3, WIDTH)  # kinks all over the inputs, which are of size 1
    params["raw"][1][:] = p.raw_from_std(2.0)
    return jax.tree.map(np.float32, params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def train(loss, p, stopped, beta, params, batches):
    """Adam, whose steps shrink to 0."""
    tx = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    def step(carry, batch):
        params, state = carry
        x, y = batch
        slope = jax.grad(lambda params: jnp.mean(loss(regressor(params, x, p, stopped), y, beta)))(params)
        update, state = tx.update(slope, state)
        return (optax.apply_updates(params, update), state), None

    return jax.lax.scan(step, (params, tx.init(params)), batches)[0][0]


@functools.cache
def toy():
    """Batches (STEPS, BATCH) of standardized x and of y."""
    data = heteroscedastic_toy(POINTS, seed=0)
    rows = np.random.default_rng(0).integers(0, POINTS, (STEPS, BATCH))
    return ((data.x - 5) / 3)[rows][..., None], data.y[rows]


def faithful_loss(q, y, beta):
    del beta
    return faithful(q, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "p", "stopped", "beta"),
    [
        pytest.param(beta_nll, jv.log_variance, False, 0.0, id="nll"),
        pytest.param(beta_nll, jv.log_variance, False, 0.5, id="beta_nll"),
        pytest.param(faithful_loss, jv.log_variance, True, 0.0, id="faithful"),
        pytest.param(beta_nll, jv.natural_softplus, False, 0.0, id="natural"),
    ],
)
def test_the_noise_of_the_toy_is_found(loss, p, stopped, beta):
    params = train(loss, p, stopped, np.float32(beta), start(p), toy())
    truth = heteroscedastic_toy(2000, seed=1)
    inside = (truth.x > 0.5) & (truth.x < 9.5)
    q = regressor(params, ((truth.x - 5) / 3)[:, None], p, stopped)
    error = (np.asarray(q.log_std) - np.log(truth.std))[inside]
    # log σ as a function of k parameters, fitted to n points, is off by √(k/2n) on the root mean square, as its Fisher
    # information is 2 a point, and by √(2/π) of that on average. To be beaten: k = 40, a σ for every 100 points.
    bound = math.sqrt(2 / math.pi) * math.sqrt(40 / (2 * POINTS))
    assert np.mean(np.abs(error)) < bound
    assert np.std(np.log(truth.std[inside])) > 10 * bound  # which a constant σ is off by
