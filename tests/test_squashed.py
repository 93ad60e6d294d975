import dataclasses
import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import oracles
import pytest
import quick
from representatives import each
from ulp import ulp

import jaxvae as jv

NAMES = ("log_variance", "softplus_std", "natural_softplus")
"""One whose σ is e^(raw/2), one whose σ is raw where that is large, and one that moves the mean."""
RAWS = np.float32([-20, -7, -1, 0, 0.5, 4, 11, 20])
LOCS = np.float32([-3, 0, 0.7, 9])
LAST = np.nextafter(np.float32(1), np.float32(0))
STEP = 1e-25
"""Of differences at 50 digits."""


def grid(name):
    return jv.TanhGaussian(*np.meshgrid(LOCS, RAWS), name)


def effect(f, *inputs):
    """What 4 ulp of each input, in float32, make of f."""
    point, h = [mpmath.mpf(float(x)) for x in inputs], mpmath.mpf(STEP)
    moved = [[x + h * (i == j) for j, x in enumerate(point)] for i in range(len(point))]
    slopes = [(f(*other) - f(*point)) / h for other in moved]
    return float(sum(4 * abs(slope) * ulp(x, np.float32) for slope, x in zip(slopes, inputs, strict=True)))


def right(found, f, *inputs, relative=1e-6, within=0.0):
    """Whether a number is f of the inputs, to a relative error or to what 4 ulp of the inputs, or ``within``, make."""
    want = float(f(*(mpmath.mpf(float(x)) for x in inputs)))
    return abs(found - want) <= max(relative * abs(want), effect(f, *inputs) + within)


def x_of(name, noise, loc, raw):
    return oracles.mean(name, loc, raw) + mpmath.exp(oracles.log_std(name, raw)) * noise


def density_of_x(name, x, noise, raw):
    """log p(y) of x = mean + σ noise."""
    return oracles.log_prob(noise, 0, 0) - oracles.log_std(name, raw) - oracles.log_slope(x, 2)


def density_along_the_path(name, noise, loc, raw):
    return density_of_x(name, x_of(name, noise, loc, raw), noise, raw)


def density(name, y, loc, raw, low=-1, high=1):
    x = mpmath.atanh((2 * y - low - high) / (high - low))
    return oracles.log_prob(x, oracles.mean(name, loc, raw), oracles.log_std(name, raw)) - oracles.log_slope(
        x, high - low
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", each(NAMES, kept=("softplus_std",)))
def test_samples_and_their_densities(name):
    """The noise is known, and with it the exact sample."""
    q, key = grid(name), quick.key(0)
    y, log_prob = jax.jit(lambda q: jv.sample_and_log_prob(key, q, (3,)))(q)
    assert np.all(np.abs(y) < 1)
    noise = np.asarray(jax.random.normal(key, (3, *q.shape)))
    with mpmath.workdps(50):
        for i in np.ndindex(noise.shape):
            inputs = noise[i], q.loc[i[1:]], q.raw[i[1:]]
            x = float(x_of(name, *(mpmath.mpf(float(v)) for v in inputs)))
            rest = mpmath.mpf(float(inputs[0])), mpmath.mpf(float(inputs[2]))
            sample = effect(lambda x, rest=rest: density_of_x(name, x, *rest), x)
            close = right(log_prob[i], lambda *v: density_along_the_path(name, *v), *inputs, within=sample)
            assert close, (i, *inputs)
            squashed = right(y[i], lambda *x: mpmath.tanh(x_of(name, *x)), *inputs, relative=2**-23)
            assert squashed or abs(y[i]) == LAST, (i, *inputs)


@pytest.mark.parametrize("name", each(NAMES, kept=("softplus_std",)))
def test_densities_up_to_the_last_number_inside(name):
    q = grid(name)
    points = np.float32([0, 1e-30, 1e-4, 0.3, 0.5, 0.77, 0.9999, np.nextafter(LAST, np.float32(0)), LAST])
    y = np.concatenate([-points[1:], points])
    found = jax.jit(jv.log_prob)(q, y[:, None, None])
    with mpmath.workdps(50):
        for i in np.ndindex(found.shape):
            inputs = y[i[0]], q.loc[i[1:]], q.raw[i[1:]]
            want = float(density(name, *(mpmath.mpf(float(x)) for x in inputs)))
            overflown = want < -3e38 and found[i] == -np.inf
            assert overflown or right(found[i], lambda *x: density(name, *x), *inputs), (i, *inputs, found[i], want)


def test_no_density_of_an_own_sample_is_infinite():
    """At σ = e² more than a quarter are for distrax and TFP, whose samples are 1 and have lost what they came of."""
    dtypes, key = (jnp.float32, jnp.bfloat16, jnp.float16), quick.key(1)

    def drawn():
        for dtype in dtypes:
            q = jv.TanhGaussian(jnp.zeros((), dtype), jnp.full((), 2, dtype), jv.log_std)
            y, log_prob = jv.sample_and_log_prob(key, q, (10_000,))
            yield y, log_prob, jv.log_prob(q, y)

    for dtype, (y, log_prob, again) in zip(dtypes, jax.jit(lambda: list(drawn()))(), strict=True):
        assert (y.dtype, log_prob.dtype) == (dtype, jnp.float32)
        assert np.all((y > -1) & (y < 1))
        assert np.all(np.isfinite(log_prob)) & np.all(np.isfinite(again))


def test_others_lose_more_than_a_quarter():
    distrax = pytest.importorskip("distrax")
    tfp = pytest.importorskip("tensorflow_probability.substrates.jax")
    loc, std, key = jnp.zeros(()), jnp.exp(2.0), quick.key(1)
    peers = {
        "distrax": distrax.Transformed(distrax.Normal(loc, std), distrax.Tanh()),
        "TFP": tfp.distributions.TransformedDistribution(tfp.distributions.Normal(loc, std), tfp.bijectors.Tanh()),
    }
    for name, peer in peers.items():
        y = jnp.copy(peer.sample(seed=key, sample_shape=(10_000,)))  # a copy, as TFP remembers x of its own array
        assert np.mean(~np.isfinite(peer.log_prob(y))) > 0.25, name


@pytest.mark.slow
def test_sixteen_bits_are_scored_before_they_are_rounded():
    q = jv.TanhGaussian(*(x.astype(jnp.bfloat16) for x in (jnp.asarray([0.0, 3.0]), jnp.asarray([0.0, 1.0]))))
    wide = jv.TanhGaussian(q.loc.astype(jnp.float32), q.raw.astype(jnp.float32))
    found, exact = (jv.sample_and_log_prob(quick.key(2), x, (50,)) for x in (q, wide))
    np.testing.assert_array_equal(found[1], exact[1])
    np.testing.assert_allclose(found[0].astype(np.float32), exact[0], rtol=2**-8)


def test_at_the_bounds_and_outside_the_density_is_zero():
    q = jv.TanhGaussian(0.3, 1.0, low=-1.0, high=3.0)
    y = jnp.asarray([-jnp.inf, -1.5, -1.0, 3.0, 4.0, jnp.inf])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda y, q: jv.log_prob(q, y), (0, 1)), (0, None)))(y, q)
    assert np.all(value == -np.inf)
    assert all(np.all(x == 0) for x in jax.tree.leaves(slope))
    assert np.isnan(jv.log_prob(q, jnp.nan))
    np.testing.assert_array_equal(q.unsquash(jnp.asarray([-1.0, 1.0, 3.0])), [-np.inf, 0, np.inf])
    assert np.isnan(q.unsquash(3.5))


RANGES = [(0.0, 1.0), (-2.0, 0.0), (-1e-3, 5.0), (100.0, 101.0), (-3e30, 1e30), (0.0, 1e-30)]


def test_any_range():
    low, high = np.float32(RANGES).T
    q = jv.TanhGaussian(jnp.asarray(0.4), jnp.asarray(0.2), jv.softplus_std, low, high)
    x = np.float32([[-40], [-3], [-0.5], [0], [0.1], [0.9], [2], [40]])
    y = np.asarray(jax.jit(lambda q: q.squash(x))(q))
    assert np.all((y > low) & (y < high))
    with mpmath.workdps(50):
        for i in np.ndindex(y.shape):
            a, b, v = float(low[i[1]]), float(high[i[1]]), float(x[i[0], 0])
            nearer = min(b - float(y[i]), float(y[i]) - a)
            want = a + (b - a) / (1 + mpmath.exp(-2 * mpmath.mpf(v)))
            # Half an ulp of y, and of what it is made of; where it is the last number inside, that one.
            size = max(abs(a), abs(b)) if nearer > (b - a) / 8 else y[i]
            assert abs(y[i] - float(want)) <= max(2 * ulp(size, np.float32), np.finfo(np.float32).tiny), (i, a, b)
    found = jax.jit(jv.log_prob)(q, y)
    with mpmath.workdps(50):
        for i in np.ndindex(y.shape):
            a, b = float(low[i[1]]), float(high[i[1]])
            assert right(found[i], lambda *v: density("softplus_std", *v), y[i], 0.4, 0.2, a, b), (i, a, b, y[i])


@pytest.mark.slow
def test_a_range_of_few_numbers():
    """Of bfloat16 there are 2 between 100 and 101.5; of float16's, which may be subnormal, none that XLA may flush."""
    q = jv.TanhGaussian(jnp.zeros((), jnp.bfloat16), jnp.asarray(4.0, jnp.bfloat16), low=100.0, high=101.5)
    assert set(jv.sample(quick.key(0), q, (99,)).tolist()) == {100.5, 101.0}
    half = jv.TanhGaussian(jnp.zeros((), jnp.float16), jnp.asarray(12.0, jnp.float16), low=0.0)
    assert np.min(jv.sample(quick.key(0), half, (99,))) == np.finfo(np.float16).tiny


def moments(mean, std, f):
    """E[f(x)] in float64, by a sum over points that are so near to one another that its error is below rounding."""
    z, step = np.linspace(-12, 12, 200_001, retstep=True)
    mean, std = float(mean), float(std)
    return float(np.sum(f(mean + std * z) * np.exp(-np.square(z) / 2)) * step / np.sqrt(2 * np.pi))


def log_sech2(x):
    return 2 * (np.log(2) - np.abs(x) - np.log1p(np.exp(-2 * np.abs(x))))


@pytest.mark.slow
def test_the_entropy_and_its_gradient():
    """The quadrature against a finer one, in float32 and float64."""
    mean, std = (
        x.ravel() for x in np.meshgrid(np.float32([0, 0.4, -2.5, 30]), np.float32([1e-3, 0.3, 0.99, 1, 7.4, 90]))
    )
    want = [[moments(m, s, f) for m, s in zip(mean, std, strict=True)] for f in (log_sech2, np.tanh)]
    by_std = [moments(m, s, lambda x, m=m, s=s: (x - m) / s * np.tanh(x)) for m, s in zip(mean, std, strict=True)]

    def entropy(mean, std):
        return jv.entropy(jv.TanhGaussian(mean, std, jv.direct_std, low=-3.0, high=1.0))

    def checked(mean, std, tolerance):
        value, slopes = jax.jit(jax.vmap(jax.value_and_grad(entropy, (0, 1))))(mean, std)
        base = np.log(std.astype(float)) + np.log(2 * np.pi * np.e) / 2 + np.log(2)
        close = {"rtol": tolerance, "atol": 8 * tolerance}  # of terms of up to 8
        np.testing.assert_allclose(value, base + want[0], **close)
        np.testing.assert_allclose(slopes[0], -2 * np.asarray(want[1]), **close)
        np.testing.assert_allclose(slopes[1], 1 / std.astype(float) - 2 * np.asarray(by_std), **close)

    checked(mean, std, 2 * 2**-23)
    with jax.enable_x64(True):
        checked(mean.astype(float), std.astype(float), 1e-12)


def test_the_entropy_of_what_overflows():
    q = jv.TanhGaussian(jnp.asarray([1.0, 1.0, 0.0]), jnp.asarray([-300.0, 100.0, 300.0]))
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(jv.entropy)))(q)
    np.testing.assert_allclose(
        value[:2], [-150 + 1.4189385 - 0.8675617, -2 * np.sqrt(2 / np.pi) * np.exp(50)], rtol=1e-6
    )
    assert value[2] == -np.inf
    assert all(np.all(np.isfinite(x[:2])) for x in jax.tree.leaves(slope))


@pytest.mark.slow
def test_median_and_mode():
    mean, std = np.meshgrid(np.float32([-1.5, -0.2, 0, 0.01, 3]), np.float32([1e-3, 0.5, 0.7, 0.8, 2, 9]))
    q = jv.TanhGaussian(mean, std, jv.direct_std, high=2.0)
    median, mode = jax.jit(lambda q: (jv.median(q), jv.mode(q)))(q)
    np.testing.assert_allclose(median, 0.5 + 1.5 * np.tanh(mean), rtol=1e-6, atol=1e-7)
    points = np.linspace(-1, 2, 3001, dtype=np.float32)[1:-1].reshape(-1, 1, 1)
    best, others = jax.jit(lambda q, y: (jv.log_prob(q, y), jnp.max(jv.log_prob(q, points), axis=0)))(q, mode)
    assert np.all(best >= others - 1e-6)
    assert np.all((mode > 0.5) == (mean >= 0) & ((mean != 0) | (std > np.sqrt(0.5))))  # the upper one of two
    slopes = jax.jit(jax.grad(lambda q: jnp.sum(q.mode)))(q)
    mode_of = jax.jit(lambda mean, std: jv.TanhGaussian(mean, std, jv.direct_std, high=2.0).mode)
    h = 1e-6
    with jax.enable_x64(True):
        mean, std, smooth = mean.astype(float), std.astype(float), (mean != 0) | (std < 0.7)
        by_mean = (mode_of(mean + h, std) - mode_of(mean - h, std)) / (2 * h)
        by_std = (mode_of(mean, std + h) - mode_of(mean, std - h)) / (2 * h)
    np.testing.assert_allclose(slopes.loc[smooth], by_mean[smooth], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(slopes.raw[smooth], by_std[smooth], rtol=1e-4, atol=1e-6)
    critical = jax.jit(jax.grad(lambda q: q.mode))(jv.TanhGaussian(0.0, 0.5**0.5, jv.direct_std))
    assert all(np.isfinite(x) for x in jax.tree.leaves(critical))


@pytest.mark.slow
def test_the_kl_is_that_of_the_gaussians():
    def policy(mean, high=4.0):
        return jv.TanhGaussian(mean, jnp.asarray([1.0, 2.0]), jv.softplus_std, low=0.0, high=high)

    q, p = policy(0.3), policy(0.1)
    np.testing.assert_array_equal(jv.kl_divergence(q, p), jv.kl_divergence(q.base, p.base))
    np.testing.assert_allclose(jv.cross_entropy(q, p), jv.kl_divergence(q, p) + jv.entropy(q), rtol=1e-6)
    np.testing.assert_array_equal(jv.jeffreys(q, p), jv.jeffreys(q.base, p.base))
    other = policy(0.1, jnp.asarray([4.0, 5.0]))
    with pytest.raises(ValueError, match=r"same bounds low and high.* got \[0\.0, 0\.0\], \[4\.0, 4\.0\] and"):
        jv.kl_divergence(q, other)
    np.testing.assert_array_equal(np.isnan(jax.jit(jv.kl_divergence)(q, other)), [False, True])
    for x, y in ((q, None), (q, q.base), (q.base, q)):
        with pytest.raises(TypeError, match=r"^[qp] must be a TanhGaussian of the same bounds"):
            jv.kl_divergence(x, y)


def test_bounds_are_checked():
    for low, high in ((1.0, 1.0), (1.0, -1.0), (jnp.nan, 1.0), (0.0, jnp.inf), (-3e38, 3e38)):
        with pytest.raises(ValueError, match=r"^TanhGaussian\.low must be below high, .*, got low = "):
            jv.TanhGaussian(jnp.zeros(2), 0.0, low=low, high=high)
        assert np.all(
            np.isnan(jax.jit(lambda a, b: jv.TanhGaussian(jnp.zeros(2), 0.0, low=a, high=b).median)(low, high))
        )
    with pytest.raises(ValueError, match="with numbers of dtype bfloat16 between"):
        jax.jit(lambda: jv.TanhGaussian(jnp.zeros(2, jnp.bfloat16), 0.0, low=100.0, high=100.5))()
    with pytest.raises(ValueError, match=r"leaves must broadcast, got shapes loc \(2,\), raw \(\), low \(3,\), high"):
        jv.TanhGaussian(jnp.zeros(2), 0.0, low=jnp.zeros(3))
    with pytest.raises(TypeError, match=r"^TanhGaussian\.low must be an array of real numbers"):
        jv.TanhGaussian(jnp.zeros(2), 0.0, low="a")


@pytest.mark.slow
def test_it_is_mapped_indexed_stacked_and_replaced():
    q = jv.TanhGaussian(jnp.zeros((4, 3)), jnp.ones((4, 3)), high=np.float32([1, 2, 3]))
    rows = jax.vmap(lambda q: q.median)(q)
    np.testing.assert_array_equal(rows, q.median)
    np.testing.assert_array_equal(jax.vmap(lambda q: q.median, in_axes=1)(q), q.median.T)
    np.testing.assert_array_equal(q[1:, 2].median, q.median[1:, 2])
    np.testing.assert_array_equal(jv.stack([q, q]).median, np.stack([q.median, q.median]))
    assert dataclasses.replace(q, low=0.0).median[0, 2] == 1.5
    assert jax.tree.map(lambda x: x, q).shape == (4, 3)
    assert "TanhGaussian(shape=(4, 3), dtype=float32" in repr(q)


def test_a_stored_x_keeps_what_a_stored_action_has_lost():
    """PPO's ratio of actions: with a mean of 20, y is the last number, and x still tells the densities apart."""
    q = jv.TanhGaussian(jnp.asarray(20.0), jnp.asarray(0.0))
    x = jv.sample(quick.key(0), q.base, (5,))
    log_prob = jv.log_prob(q.base, x) - q.log_det_jacobian(x)
    assert np.unique(q.squash(x)).size == 1
    np.testing.assert_allclose(log_prob, -np.square(x - 20) / 2 - np.log(2 * np.pi) / 2 + 2 * x - np.log(4), rtol=1e-6)


@pytest.mark.slow
def test_gradients_by_everything():
    """By loc, raw, both bounds and the noise, once and twice, against differences in float64."""

    def scores(loc, raw, low, high, noise):
        q = jv.TanhGaussian(loc, raw, jv.softplus_std, low, high)
        y = jv.reparameterize(q, noise)
        return jnp.stack([y, jv.log_prob(q, 0.9 * y + 0.1 * q.median), jv.entropy(q)])

    points = np.asarray([(0.3, -0.2, -1.0, 1.0, 0.7), (-1.0, 2.0, 0.05, 7.0, -0.4), (0.0, 0.5, -2.0, 2.0, 0.0)]).T
    first, steps = (
        jax.jacrev(scores, range(5)),
        1e-6 * np.concatenate([np.zeros((5, 1)), np.eye(5), -np.eye(5)], axis=1),
    )
    with jax.enable_x64(True):

        @jax.jit
        @functools.partial(jax.vmap, out_axes=-1)
        @functools.partial(jax.vmap, out_axes=-1)
        def orders(*point):
            return scores(*point), first(*point), jax.jacfwd(first, range(5))(*point)

        values, slopes, seconds = jax.device_get(orders(*(points[:, :, None] + steps[:, None, :])))
    for n, slope in enumerate(slopes):
        up, down = n + 1, n + 6
        difference = (values[..., up, :] - values[..., down, :]) / 2e-6
        np.testing.assert_allclose(slope[..., 0, :], difference, rtol=1e-6, atol=1e-8)
        for m in range(5):
            difference = (slopes[m][..., up, :] - slopes[m][..., down, :]) / 2e-6
            np.testing.assert_allclose(seconds[m][n][..., 0, :], difference, rtol=1e-5, atol=1e-7)


def test_what_is_masked_has_a_gradient_of_zero():
    loc, raw = (x.ravel() for x in np.meshgrid(np.float32([-100, 0, 0.5]), np.float32([-60, -20, 0, 20, 60])))

    def masked(loc, raw, y):
        q = jv.TanhGaussian(loc, raw)
        sample, log_prob = jv.sample_and_log_prob(quick.key(0), q)
        found = (sample, log_prob, jv.log_prob(q, y), jv.entropy(q), q.mode, q.median, jv.kl_divergence(q, q))
        return sum(jnp.sum(jnp.where(loc > 1e3, x, 0)) for x in found)

    for y in (0.0, LAST, 1.0):
        for x in jax.jit(jax.grad(masked, (0, 1, 2)))(loc, raw, np.full_like(loc, y)):
            np.testing.assert_array_equal(x, 0)


@pytest.mark.slow
def test_an_actor_learns():
    """Soft actor-critic's loss α log π(a|s) - Q(s, a) (Haarnoja et al. 2018, eq. 7) with Q = -8 (a - s)² + 3 s.

    Of all policies the best is e^(Q/α), here nearly a Gaussian about s of σ² = α/16; the loss then is the soft value.
    """
    states, alpha = jnp.linspace(-1.6, 1.7, 4).reshape(-1, 1), 0.1

    def policy(params):
        return jv.TanhGaussian(params["loc"], params["raw"], jv.sac_log_std, low=-2.0, high=2.0)

    def loss(params, key):
        action, log_prob = jv.sample_and_log_prob(key, policy(params), (64,))
        critic = -8 * jnp.square(action - states[None]) + 3 * states[None]
        return jnp.mean(alpha * log_prob - critic)

    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 300), b2=0.9)
    params = {"loc": jnp.zeros((4, 1)), "raw": jnp.zeros((4, 1))}

    def step(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(quick.key(0), 300)
    (params, _), losses = jax.jit(lambda c: jax.lax.scan(step, c, keys))((params, optimizer.init(params)))
    assert np.all(np.isfinite(losses))
    learned = policy(params)
    np.testing.assert_allclose(learned.median, states, atol=0.02)
    # -E[soft value], the least that the loss can be; the policy isn't a Gaussian, which costs it a little.
    best = -np.mean(3 * states) - alpha * np.log(np.sqrt(np.pi * alpha / 8))
    entropy = jv.entropy(learned)
    distance = 8 * np.square(np.asarray(jv.sample(quick.key(1), learned, (4000,))) - np.asarray(states))
    final = np.mean(distance) - np.mean(alpha * entropy + 3 * states)
    error = np.std(distance) / np.sqrt(distance.size)
    assert best - 4 * error <= final <= best + 4 * error + 0.01
    np.testing.assert_allclose(entropy, np.log(2 * np.pi * np.e * alpha / 16) / 2, atol=0.1)
