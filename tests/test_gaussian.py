import functools
import math

import chex
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import oracles
import pytest
import quick
from jax.sharding import PartitionSpec
from representatives import each

import jaxvae as jv
from jaxvae import special
from jaxvae.gaussian import standard_log_prob

NAMES = sorted(jv.PARAMETERIZATIONS)
POSITIVE_RAW_ONLY = ("direct_std", "direct_variance", "square_std", "abs_std")
CLIPPED_AT = {"diffusers_log_variance": (-30.0, 20.0), "sac_log_std": (-20.0, 2.0), "projected_std": (1e-4,)}
LOCS = (0.0, 1e-4, -1e-4, 1.0, -1.0, 1e3, -1e3)
LARGEST = float(np.finfo(np.float32).max)


def raws_for_kl(name):
    """float32 raws with log σ in [-100, 40], through the extremes and about σ = 1, and off the kinks."""
    p = jv.PARAMETERIZATIONS[name]
    powers = 10.0 ** np.arange(-7, 18, 2)
    raw = np.concatenate([np.linspace(-200, 200, 33), np.linspace(-3, 3, 13), powers, -powers])
    if p.std_range.low < 1 < p.std_range.high:
        unit = np.float32(p.raw_from_std(1.0))
        raw = np.concatenate([raw, unit + np.float32([0, 1e-3, -1e-2, 0.1]), [np.nextafter(unit, np.float32(9))]])
    raw = np.unique(raw.astype(np.float32))
    raw = raw[~np.isin(raw, np.float32(CLIPPED_AT.get(name, ())))]
    raw = raw[raw > 0] if name in POSITIVE_RAW_ONLY else raw
    return np.array([r for r in raw if -100 <= oracles.log_std(name, float(r)) <= 40])


@pytest.mark.parametrize("name", NAMES)
def test_kl_to_the_standard_normal_is_exact(name):
    """To 1e-6, or to what 4 ulp of the stored raw change: value and both gradients."""
    raw = raws_for_kl(name)
    kl = jax.value_and_grad(lambda loc, r: jv.kl_divergence(jv.Gaussian(loc, r, jv.PARAMETERIZATIONS[name])), (0, 1))
    values, slopes = jax.jit(jax.vmap(kl))(*map(np.ravel, np.meshgrid(np.float32(LOCS), raw, indexing="ij")))
    got = np.stack([values, *slopes], axis=-1).astype(np.float64).reshape(len(LOCS), len(raw), 3)
    assert np.all(got[..., 0] >= 0)
    for loc, of_loc in zip(np.float32(LOCS), got, strict=True):

        def true(r, loc=loc):
            return oracles.kl_standard(name, float(loc), r), *oracles.kl_standard_gradient(name, float(loc), r)

        for r, values in zip(raw, of_loc, strict=True):
            exact, moved = true(float(r)), None
            for i, value in enumerate(values):
                if abs(exact[i]) > LARGEST:
                    assert abs(value) >= 0.999 * LARGEST
                    assert math.copysign(1, value) == mpmath.sign(exact[i])
                    continue
                error = abs(value - exact[i])
                # 4e-38: a factor of the product may have been subnormal, and flushed.
                if error > max(1e-6 * abs(exact[i]), 4e-38):
                    step = 4 * float(np.spacing(np.abs(r)))
                    moved = moved or [true(float(r) - step), true(float(r) + step)]
                    assert error <= max(abs(m[i] - exact[i]) for m in moved), (loc, r, i, value, float(exact[i]))


def test_kl_near_collapse():
    # ½ (e^L - 1 - L) at L = 1e-4 is 2.500083e-9 (L²/4 + L³/12); many forms give 0, 8e-9 or a negative number.
    kl = jv.kl_divergence(jv.Gaussian(0.0, 1e-4))
    np.testing.assert_allclose(kl, float(oracles.kl_standard("log_variance", 0.0, float(np.float32(1e-4)))), rtol=2e-7)
    np.testing.assert_allclose(kl, 2.500083e-9, rtol=1e-6)


@pytest.mark.parametrize("name", each(n for n in NAMES if not n.startswith("direct")))
def test_equal_gaussians_have_kl_exactly_zero(name):
    # DALLE2-pytorch#138: NaN from exp(logvar1 - logvar2).
    raw = np.float32([*np.linspace(-200, 200, 41), -1e30, 1e30, 1e-30])
    loc, raw = np.meshgrid(np.float32([0, 1e-3, -1e3]), raw, indexing="ij")
    q = jv.Gaussian(loc, raw, jv.PARAMETERIZATIONS[name])
    # Two arguments, so that the compiler doesn't know that they are equal.
    for distances in jax.jit(lambda q, p: (jv.kl_divergence(q, p), jv.wasserstein2(q, p)))(q, q):
        assert np.all(np.asarray(distances) == 0)


def test_kl_is_exactly_zero_at_the_standard_normal():
    names = ("log_variance", "log_std", "log_precision", "exp_linear_std", "squareplus_std", "efficient_vdvae_std")
    at = np.float32(0)
    found = jax.jit(lambda x: {n: jv.kl_divergence(jv.Gaussian(x, x, jv.PARAMETERIZATIONS[n])) for n in names})(at)
    assert found == dict.fromkeys(names, 0)


def test_kl_between_extremes():
    assert jv.kl_divergence(jv.Gaussian(0.0, -100.0), jv.Gaussian(0.0, 100.0)) == 99.5
    for a, b in ((-60.0, 60.0), (-200.0, -199.0), (3.0, 3.0001)):
        q, p = jv.Gaussian(0.3, a), jv.Gaussian(0.3, b)
        want = oracles.kl(0, mpmath.mpf(float(np.float32(a))) / 2, 0, mpmath.mpf(float(np.float32(b))) / 2)
        np.testing.assert_allclose(jv.kl_divergence(q, p), float(want), rtol=1e-6)


def test_overflow_comes_only_with_the_true_value():
    assert jv.kl_divergence(jv.Gaussian(0.0, 89.3)) < jnp.inf  # σ² is beyond float32, ½σ² is not
    assert jv.kl_divergence(jv.Gaussian(2.5e19, 0.0)) < jnp.inf
    assert jv.kl_divergence(jv.Gaussian(0.0, 89.5)) == jnp.inf
    apart = jv.Gaussian(-3e38, 0.0), jv.Gaussian(2e38, 1e30)  # whose means differ by more than there are numbers
    assert jv.kl_divergence(*apart) == jnp.float32(5e29)
    assert not any(jnp.isnan(g) for g in jax.tree.leaves(jax.grad(jv.kl_divergence)(*apart)))
    for x, kl in ((jnp.inf, jnp.inf), (-jnp.inf, jnp.inf), (jnp.nan, jnp.nan)):
        np.testing.assert_equal(float(jv.kl_divergence(jv.Gaussian(x, 0.0), jv.Gaussian(0.0, 100.0))), kl)
    assert jax.grad(lambda r: jv.kl_divergence(jv.Gaussian(0.0, r, jv.log_std)))(44.3) < jnp.inf


@pytest.mark.parametrize("name", each(NAMES))
def test_kl_between_two_parameterizations(name):
    raw = np.float32([0.2, 1.0, 3.0])
    q, other = jv.Gaussian(0.5, raw, jv.PARAMETERIZATIONS[name]), jv.Gaussian(-1.0, 0.4, jv.softplus_variance)
    there, back = jax.jit(lambda q, p: (jv.kl_divergence(q, p), jv.kl_divergence(p, q)))(q, other)
    at = [(oracles.mean(name, 0.5, float(r)), oracles.log_std(name, float(r))) for r in raw]
    to = mpmath.mpf(-1), oracles.log_std("softplus_variance", float(np.float32(0.4)))
    np.testing.assert_allclose(there, [float(oracles.kl(*moments, *to)) for moments in at], rtol=2e-6)
    np.testing.assert_allclose(back, [float(oracles.kl(*to, *moments)) for moments in at], rtol=2e-6)


@pytest.mark.parametrize("name", ["softplus_std", "softplus_variance"])
def test_softplus_has_all_its_digits_near_the_prior(name):
    # softplus is 1 at log(e - 1): rounded to a float32, it would cost 1.4e-5.
    p = jv.PARAMETERIZATIONS[name]
    raw = float(p.raw_from_std(1.0)) + np.array([-1e-2, -1e-3, -1e-4, 1e-4, 1e-3, 1e-2], np.float32)
    got = jax.jit(lambda r: jv.kl_divergence(jv.Gaussian(0.0, r, p)))(raw)
    np.testing.assert_allclose(got, [float(oracles.kl_standard(name, 0.0, float(r))) for r in raw], rtol=1e-6)


def test_a_natural_parameterization_at_its_ends_has_no_nan_of_its_own():
    q, p = jv.Gaussian(jnp.nan, 0.001, "natural_exp"), jv.Gaussian(5.6, -616.5, "natural_exp")
    assert jnp.isnan(jv.kl_divergence(q, p))  # whose mean is NaN, however far away p's is
    q, p = jv.Gaussian(7e13, 0.0, "natural_exp"), jv.Gaussian(-2.8e38, 2e9, "natural_exp")
    assert not any(jnp.isnan(g) for g in jax.tree.leaves(jax.grad(jv.kl_divergence, (0, 1))(q, p)))


def test_a_variance_that_overflows_has_a_std_that_does_not():
    q = jv.Gaussian(0.0, 89.0, jv.scvi_variance)
    np.testing.assert_allclose(q.std, math.exp(44.5), rtol=1e-6)
    np.testing.assert_allclose(jv.kl_divergence(q), math.exp(89) / 2, rtol=1e-6)


def test_float64_keeps_its_digits_far_from_1():
    def score(x, log_std):
        return jv.log_prob(jv.Gaussian(0.0, log_std, jv.log_std), x)

    log_std = np.array([-300.0, -100.0, 100.0, 300.0])
    x = 1.3 * np.exp(log_std)
    with jax.enable_x64(True):
        got, slope = jax.jit(jax.vmap(jax.value_and_grad(score)))(x, log_std)
    exact = [
        oracles.log_prob(mpmath.mpf(at), mpmath.mpf(0), mpmath.mpf(std)) for at, std in zip(x, log_std, strict=True)
    ]
    np.testing.assert_allclose(got, np.array(exact, float), rtol=4e-16)
    np.testing.assert_allclose(slope, -x * np.exp(-2 * log_std), rtol=4e-15)


ARGUMENTS = ("loc", "raw", "loc_p", "raw_p", "x", "same", "size")


def public(p, loc, raw, loc_p, raw_p, x, same, size):
    """What the public functions make of two Gaussians, one of them in other parameterizations, too."""
    q, other = jv.Gaussian(loc, raw, p), jv.Gaussian(loc_p, raw_p, p)
    softplus, back = jv.Gaussian(loc_p, raw_p, jv.softplus_std), jv.Gaussian(same, size, jv.abs_std)
    return {
        **{name: getattr(q, name) for name in ("mean", "log_std", "std", "variance", "precision")},
        **{f"{f.__name__} of one": f(q) for f in (jv.kl_divergence, jv.entropy)},
        **{
            f"{f.__name__} {i}": f(*pair)
            for f in (jv.kl_divergence, jv.cross_entropy, jv.wasserstein2)
            for i, pair in enumerate([(q, other), (q, softplus), (softplus, q), (q, back), (back, q)])
        },
        "jeffreys": jv.jeffreys(q, other),
        "log_prob": jv.log_prob(q, x),
        "reparameterize": jv.reparameterize(q, x),
        "fisher": jv.fisher(q),
        "natural_parameters": jv.natural_parameters(q),
        "expectation_parameters": jv.expectation_parameters(q),
        "convert": jv.convert(q, jv.log_variance),
        "product": jv.product(q, other, parameterization=jv.softplus_std),
        "precondition": jv.precondition(q),
    }


def extremes(name, dtype):
    """Pairs of (loc, raw) over [-200, 200], those of which a gradient was NaN once, a point, loc again, and |raw|.

    The last two have columns of their own, because in 16 bits two slopes may be inf, and inf - inf is NaN.
    """
    raw = np.float32([-200, -95, -89, -44.4, -20, -1, 0, 1e-4, 1, 3.3, 44.4, 89, 95, 120, 200])
    raw = raw[raw >= 0] if name.startswith("direct") else raw  # below 0 their values are NaN
    grid = np.stack(np.meshgrid(np.float32([0, 3.3]), raw, np.float32([2.3]), raw, np.float32([0.7])), -1)
    rows = [(3.3323, 93.903, 2.2852, 193.48, 0), (-2.6, 95.8, 3.6, 85.4, 0), (1e30, 60, -1e30, 120, 1)]
    rows = np.float32([*rows, *([a, -b, c, -d, x] for a, b, c, d, x in rows if raw[0] < 0)])
    columns = np.concatenate([grid.reshape(-1, 5), rows]).T
    return [jnp.asarray(column, dtype) for column in (*columns, columns[0], np.abs(columns[1]))]


@pytest.mark.parametrize("dtype", each(("float32", "bfloat16"), kept=("float32",)))
@pytest.mark.parametrize("name", each(NAMES, kept=("softplus_std",)))
def test_gradients_are_numbers(name, dtype):
    """A cotangent of 0, as a mask or a clip sends it, gives 0, and one of 1 a number: one row for each output."""
    at = extremes(name, dtype)
    # Operation by operation: a compiled program for each name would take ten times as long.
    with jax.disable_jit():
        values, pull = jax.vjp(functools.partial(public, jv.PARAMETERIZATIONS[name]), *at)
        leaves, structure = jax.tree.flatten(values)
        rows = jnp.eye(len(leaves) + 1, len(leaves))
        cotangents = [jnp.tile(rows[:, i : i + 1], len(at[0])).astype(leaf.dtype) for i, leaf in enumerate(leaves)]
        slopes = jax.vmap(pull)(jax.tree.unflatten(structure, cotangents))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(values)]
    for argument, slope in zip(ARGUMENTS, np.asarray(slopes, np.float32), strict=True):
        assert np.all(slope[-1] == 0), (argument, [float(column[np.argmax(slope[-1] != 0)]) for column in at])
        for path, row in zip(paths, slope, strict=False):
            bad = np.isnan(row)
            assert not bad.any(), (path, argument, [float(column[np.argmax(bad)]) for column in at])


def test_what_is_masked_or_clipped_has_a_gradient_of_zero():
    # ray#8551, SkyRL#1633, pyro#2447: σ² at raw 95 is beyond float32.
    mask = np.array([True, False])

    @jax.jit
    def slopes(raw):
        masked = jax.grad(lambda r: jnp.where(mask, jv.kl_divergence(jv.Gaussian(jnp.zeros(2), r)), 0).sum())
        clipped = jax.grad(lambda r: jnp.minimum(jv.kl_divergence(jv.Gaussian(jnp.zeros(2), r)), 1e3).sum())
        return masked(raw), clipped(raw)

    np.testing.assert_array_equal(slopes(np.float32([0, 95])), np.zeros((2, 2)))


@pytest.mark.parametrize(
    "name", each(("abs_std", "square_std", "direct_std", "direct_variance"), kept=("abs_std", "direct_variance"))
)
def test_a_std_of_zero(name):
    """A point mass: its KL is inf, but between equals, and so is its density at the mean; its slopes are finite."""
    p, one = jv.PARAMETERIZATIONS[name], np.float32(1)
    others = [jv.PARAMETERIZATIONS[n] for n in ("abs_std", "square_std", "log_variance", "natural_softplus")]

    @jax.jit
    def found(raw):
        q = jv.Gaussian(0.0, raw, p)
        wide = [jv.Gaussian(0.0, raw + 1, other) for other in (p, *others)]
        same = [jv.Gaussian(0.0, raw, other) for other in (p, *others[:2])]
        infinite = [jv.kl_divergence(q), *(jv.kl_divergence(*pair) for w in wide for pair in ((q, w), (w, q)))]
        infinite += [jv.cross_entropy(w, q) for w in wide] + [-jv.log_prob(q, one), jv.log_prob(q, 0 * one)]
        slopes = jax.grad(lambda r: jv.kl_divergence(jv.Gaussian(0.0, r, p)))(raw)
        return jnp.stack(infinite), jnp.stack([jv.kl_divergence(q, s) for s in same]), slopes, p.log_std_gain(raw)

    infinite, equal, slope, gain = found(0 * one)
    assert np.all(infinite == np.inf)
    assert np.all(equal == 0)
    assert -LARGEST <= slope <= -LARGEST / 2
    assert LARGEST / 2 <= gain <= LARGEST


def test_log_prob_and_entropy_at_log_variance_minus_210():
    q = jv.Gaussian(1.0, -210.0)
    np.testing.assert_allclose(jv.entropy(q), -105 + 0.5 * math.log(2 * math.pi * math.e), rtol=1e-6)
    np.testing.assert_allclose(jv.log_prob(q, 1.0), 105 - 0.5 * math.log(2 * math.pi), rtol=1e-6)
    narrow = jv.Gaussian(0.0, -210.0)
    want = oracles.log_prob(mpmath.mpf(float(np.float32(1e-30))), 0, -105)
    np.testing.assert_allclose(jv.log_prob(narrow, 1e-30), float(want), rtol=2e-5)  # 4 ulp of e^105
    assert jv.log_prob(q, 2.0) == -jnp.inf
    for x in (1.0, 2.0):
        assert not any(jnp.isnan(g) for g in jax.tree.leaves(jax.grad(lambda q, x=x: jv.log_prob(q, x))(q)))


@pytest.mark.parametrize("name", each(NAMES))
def test_log_prob_matches_the_oracle(name):
    raw, x = np.meshgrid(np.float32([0.1, 0.9, 4.0]), np.float32([-2.0, 0.4, 30.0]))
    got = jax.jit(jv.log_prob)(jv.Gaussian(np.full_like(raw, 0.5), raw, jv.PARAMETERIZATIONS[name]), x)
    for at, value, density in zip(*(np.ravel(a) for a in (raw, x, got)), strict=True):
        moments = oracles.mean(name, 0.5, float(at)), oracles.log_std(name, float(at))
        np.testing.assert_allclose(density, float(oracles.log_prob(mpmath.mpf(float(value)), *moments)), rtol=3e-6)


def test_standard_log_prob_is_the_log_prob_of_a_standard_normal():
    z = np.linspace(-40, 40, 81, dtype=np.float32)
    want = jv.log_prob(jv.Gaussian(0.0, np.float32(0)), z)
    np.testing.assert_allclose(standard_log_prob(z), want, rtol=2.5e-7)  # 2 ulp


@pytest.mark.parametrize("name", each(NAMES, kept=("log_variance", "softplus_std", "natural_softplus")))
def test_fisher_is_the_hessian_of_kl(name):
    p = jv.PARAMETERIZATIONS[name]

    def kl(theta, q):
        return jv.kl_divergence(q, jv.Gaussian(theta[0], theta[1], p))

    @jax.jit
    @jax.vmap
    def both(theta):
        q = jv.Gaussian(theta[0], theta[1], p)
        return jv.fisher(q), jax.hessian(kl)(theta, q)

    with jax.enable_x64(True):
        metric, hessian = both(np.array([[0.3, 0.7], [-1.2, 1.9]]))
    matrices = np.array([[metric.loc, metric.cross], [metric.cross, metric.raw]])
    np.testing.assert_allclose(np.moveaxis(matrices, -1, 0), hessian, rtol=1e-9, atol=1e-12)


def test_natural_parameters_round_trip():
    eta1, eta2 = jnp.asarray([0.3, -2.0, 0.0]), jnp.asarray([-0.5, -20.0, -1e-3])

    @jax.jit
    def round_trips(eta1, eta2):
        ps = jv.log_variance, jv.softplus_std, jv.natural_exp, jv.natural_softplus
        qs = [jv.from_natural_parameters(eta1, eta2, p) for p in ps]
        return [(jv.natural_parameters(q), jv.expectation_parameters(q), q.variance) for q in qs]

    for back, (first, second), variance in jax.tree.map(np.asarray, round_trips(eta1, eta2)):
        np.testing.assert_allclose(back[0], eta1, rtol=3e-6)
        np.testing.assert_allclose(back[1], eta2, rtol=3e-6)
        np.testing.assert_allclose(second - first**2, variance, rtol=1e-5)
    natural = jv.Gaussian(0.7, 0.0, jv.natural_exp)
    np.testing.assert_allclose(jv.natural_parameters(natural), (0.7, -0.5), rtol=1e-6)
    with pytest.raises(ValueError, match=r"eta2 must be negative, got 1\.0"):
        jv.from_natural_parameters(0.0, 1.0)


@pytest.mark.parametrize("name", each(NAMES))
def test_convert_keeps_the_distribution(name):
    p = jv.PARAMETERIZATIONS[name]
    std = np.float32([0.6, 0.9 if p.std_range.high < 2 else 1.7])
    q = jv.Gaussian(np.float32([0.3, -1.0]), 2 * np.log(std))

    @jax.jit
    def there_and_back(q):
        there = jv.convert(q, p)
        return there.mean, there.std, jv.convert(there, jv.log_variance).raw

    mean, there, back = there_and_back(q)
    np.testing.assert_allclose(mean, q.loc, rtol=1e-6)
    np.testing.assert_allclose(there, std, rtol=1e-6)
    np.testing.assert_allclose(back, q.raw, rtol=2e-6, atol=2e-6)
    assert jv.convert(q, jv.log_variance) is q


def test_convert_refuses_what_the_range_lacks():
    q = jv.Gaussian(0.0, 2 * math.log(5.0))
    with pytest.raises(ValueError, match=r"log_std must be in \(-∞, 0\) for sigmoid_std, got 1\.609"):
        jv.convert(q, jv.sigmoid_std)
    assert jnp.isnan(jax.jit(lambda q: jv.convert(q, jv.sigmoid_std))(q).raw)


def test_product_adds_precisions():
    q, p = jv.Gaussian(np.float32([1, 0]), 0.3), jv.Gaussian(-2.0, np.float32([0.1, 4.0]), jv.softplus_std)
    x = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]

    @jax.jit
    def multiplied(q, p):
        joint = jv.product(q, p)
        moments = [(one.mean, one.precision) for one in (q, p, joint)]
        extreme = jv.product(jv.Gaussian(q.loc, -200.0), jv.Gaussian(q.loc + 2, -200.0))
        densities = [jv.log_prob(one, x) for one in (q, p, joint)]
        return joint, moments, densities, (extreme.mean, extreme.log_std)

    joint, moments, densities, extreme = multiplied(q, p)
    (mean_q, precision_q), (mean_p, precision_p), (mean, precision) = jax.tree.map(np.asarray, moments)
    np.testing.assert_allclose(precision, precision_q + precision_p, rtol=2e-6)
    np.testing.assert_allclose(mean, (mean_q * precision_q + mean_p * precision_p) / precision, rtol=2e-6)
    assert joint.parameterization == jv.log_variance
    offset = np.asarray(densities[0]) + densities[1] - densities[2]
    np.testing.assert_allclose(offset - offset[:1], 0, atol=2e-5)
    assert (
        jax.eval_shape(lambda q: jv.product(q, parameterization=jv.natural_exp), q).parameterization == jv.natural_exp
    )
    np.testing.assert_allclose(extreme[0], [2, 1], rtol=1e-6)
    np.testing.assert_allclose(extreme[1], [-100 - math.log(2) / 2] * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="at least one"):
        jv.product()


def test_distances():
    q, p = jv.Gaussian(0.0, 1.0, jv.log_std), jv.Gaussian(2.0, -0.5)

    @jax.jit
    def distances(q, p, near):
        there, back = jv.kl_divergence(q, p), jv.kl_divergence(p, q)
        return {
            "jeffreys": (jv.jeffreys(q, p), there + back),
            "cross_entropy": (jv.cross_entropy(q, p), there + jv.entropy(q)),
            "wasserstein2": (jv.wasserstein2(q, p), jv.wasserstein2(q, near)),
            "slopes": jax.grad(lambda q: jv.wasserstein2(q, q))(q),
        }

    found = distances(q, p, jv.Gaussian(0.0, 1.00001, jv.log_std))
    np.testing.assert_allclose(*found["jeffreys"])
    np.testing.assert_allclose(*found["cross_entropy"], rtol=1e-6)
    far, near = found["wasserstein2"]
    np.testing.assert_allclose(far, math.hypot(2.0, math.e - math.exp(-0.25)), rtol=1e-6)
    np.testing.assert_allclose(near, math.e * math.expm1(float(np.float32(1.00001)) - 1), rtol=1e-5)
    assert not any(np.isnan(g) for g in jax.tree.leaves(found["slopes"]))


def test_second_derivatives_of_the_wasserstein_distance():
    # With Δmean = 1: sqrt(1 + (σ_q - σ_p)²), whose second derivative by log σ² at σ_q = σ_p = 1 is 1/4.
    def distance(raw_q, raw_p):
        return jv.wasserstein2(jv.Gaussian(1.0, raw_q), jv.Gaussian(0.0, raw_p))

    hessian = jax.jit(jax.hessian(distance, (0, 1)))(0.0, 0.0)
    np.testing.assert_allclose(hessian, [[0.25, -0.25], [-0.25, 0.25]], rtol=1e-6)


def test_natural_parameters_at_extremes():
    eta1, eta2 = jv.natural_parameters(jv.Gaussian(0.0, -89.0))
    assert eta1 == 0
    np.testing.assert_allclose(eta2, -math.exp(89) / 2, rtol=1e-5)
    for raw in (-100.0, 100.0):
        assert jv.natural_parameters(jv.Gaussian(0.7, raw, jv.natural_exp))[0] == jnp.float32(0.7)


def test_product_keeps_its_slope_beside_a_sharp_factor():
    def loc(raw):
        return jv.product(jv.Gaussian(0.7, raw), jv.Gaussian(0.3, 0.5)).loc

    # mean = 0.3 + 0.4 w with w = sigmoid(0.5 - raw); dw/draw = -w (1 - w).
    w = 1 / (1 + math.exp(-15.5))
    np.testing.assert_allclose(jax.jit(jax.grad(loc))(-15.0), -0.4 * w * math.exp(-15.5) * w, rtol=1e-5)


def test_low_precision_under_strict_promotion():
    def computed(x):
        q = jv.Gaussian(x, x)
        return jv.kl_divergence(q), jv.log_prob(q, x), jv.sample(quick.key(0), q), jv.convert(q, jv.nvae_log_std)

    with jax.numpy_dtype_promotion("strict"):
        kl, density, z, converted = jax.eval_shape(computed, jnp.zeros(3, jnp.bfloat16))
    assert kl.dtype == density.dtype == jnp.float32
    assert z.dtype == converted.raw.dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(), (4,), (3, 2)])
def test_sample_shapes_and_dtypes(shape):
    def computed(q):
        z = jv.sample(quick.key(0), q, shape)
        return z, jv.kl_divergence(q), jv.log_prob(q, z), jv.entropy(q)

    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        z, *scores = jax.eval_shape(computed, jv.Gaussian(jnp.zeros((2, 5), dtype), jnp.zeros(5, dtype)))
        assert z.shape == (*shape, 2, 5)
        assert z.dtype == dtype
        assert {x.dtype for x in scores} == {jnp.dtype(jnp.float32)}
    with jax.enable_x64(True):
        assert jax.eval_shape(computed, jv.Gaussian(jnp.zeros(2), 0.0))[0].dtype == jnp.float64


def test_samples_are_reparameterized():
    draw = jax.jit(jax.value_and_grad(lambda q: jv.sample(quick.key(0), q)))
    _, gradient = draw(jv.Gaussian(0.0, 0.6, jv.log_std))
    noise, _ = draw(jv.Gaussian(0.0, 0.0, jv.log_std))
    assert gradient.loc == 1
    np.testing.assert_allclose(gradient.raw, noise * math.exp(0.6), rtol=1e-6)


def test_noise_of_ones_own_may_be_shared_or_antithetic():
    q = jv.Gaussian(jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), jnp.zeros(3, jnp.bfloat16), jv.softplus_std)
    noise = np.random.default_rng(0).normal(size=(4, 1, 3)).astype(np.float32)
    z, mirrored = jax.jit(lambda q: (jv.reparameterize(q, noise), jv.reparameterize(q, -noise)))(q)
    assert z.shape == (4, 2, 3)
    assert z.dtype == jnp.bfloat16
    # σ = log 2; z is rounded to bfloat16 once, to half an ulp of at most 8.
    np.testing.assert_allclose(np.float32(z) - np.float32(q.mean), math.log(2) * np.tile(noise, (1, 2, 1)), atol=2**-6)
    np.testing.assert_allclose((np.float32(z) + np.float32(mirrored)) / 2, np.tile(q.mean, (4, 1, 1)), atol=2**-6)


def test_bfloat16_samples_have_float32_noise():
    # bfloat16 noise has 128 distinct values, of which the largest is 2.89.
    z = np.asarray(jv.sample(quick.key(1), jv.Gaussian(jnp.bfloat16(0), jnp.bfloat16(0)), (10_000_000,)))
    assert z.dtype == jnp.bfloat16
    assert np.abs(np.float32(z)).max() > 4.5
    assert np.unique(z[:1_000_000].view(np.uint16)).size > 1000


def test_std_mix_ups_show():
    # keras#9972, stable-baselines#1059: logvar, log σ and σ taken for one another.
    @jax.jit
    def drawn(raw):
        qs = {n: jv.Gaussian(0.0, raw, jv.PARAMETERIZATIONS[n]) for n in ("log_variance", "log_std", "softplus_std")}
        return {name: (q.std, jv.sample(quick.key(0), q, (200_000,))) for name, q in qs.items()}

    found = jax.tree.map(np.float64, drawn(0.8))
    for name, (std, _) in found.items():
        for other, (_, draws) in found.items():
            error = abs(np.std(draws) - std) / (std / math.sqrt(2 * 200_000))
            assert (error < 4) == (name == other), (name, other, error)


def test_shapes_of_events_are_free():
    # representations4d#14: hard-coded reduction axes.
    shapes = [(3, *range(2, 2 + rank)) for rank in range(1, 5)]
    qs = [jv.Gaussian(np.ones(shape, np.float32), np.zeros(shape, np.float32)) for shape in shapes]
    for shape, kl in zip(shapes, jax.jit(lambda qs: [jv.kl_divergence(q) for q in qs])(qs), strict=True):
        assert kl.shape == shape
        total = np.asarray(kl).sum(tuple(range(1, len(shape))))
        np.testing.assert_allclose(total, 0.5 * math.prod(shape[1:]) * np.ones(3))


def test_nothing_is_averaged():
    # sigma-vae-tensorflow#2, alibi-detect#90: tiling the batch tiles the result, doubling the latents doubles the sum.
    loc, raw = (np.linspace(low, low + 2, 6, dtype=np.float32).reshape(2, 3) for low in (-1, -2))
    divergence = jax.jit(lambda loc, raw: jv.kl_divergence(jv.Gaussian(loc, raw)))
    kl = np.asarray(divergence(loc, raw))
    np.testing.assert_array_equal(divergence(np.tile(loc, (4, 1)), np.tile(raw, (4, 1))), np.tile(kl, (4, 1)))
    double = np.asarray(divergence(np.tile(loc, (1, 2)), np.tile(raw, (1, 2))))
    np.testing.assert_allclose(double.sum(), 2 * kl.sum(), rtol=1e-6)


def test_the_aggregate_posterior_is_finite():
    # PyTorch-VAE#16: NaN in pairwise log densities.
    @jax.jit
    def aggregate(q):
        z = jv.sample(quick.key(0), q)
        pairwise = jv.log_prob(jax.tree.map(lambda x: x[None], q), z[:, None]).sum(-1)  # (5, 5)
        return special.log_mean_exp(pairwise, axis=1)

    q = jv.Gaussian(np.linspace(-1, 1, 5, dtype=np.float32)[:, None], np.full((5, 2), -60, np.float32))
    assert np.all(np.isfinite(aggregate(q)))


def test_a_gaussian_is_a_pytree_and_can_be_indexed():
    q = jv.Gaussian(jnp.arange(6.0).reshape(3, 2), jnp.linspace(-9, 9, 6).reshape(3, 2), jv.nvae_log_std)
    part = jax.tree.map(lambda x: x[1], q)
    np.testing.assert_array_equal(part.std, q.std[1])
    assert len(jax.tree.leaves(q)) == 2
    assert jax.tree.structure(q) == jax.tree.structure(part)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(q)]
    assert paths == [".loc", ".raw"]
    assert jax.tree.map(lambda _: None, q).loc is None


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: jv.Gaussian(jnp.zeros(3), jnp.zeros(4)),
            ValueError,
            r"raw must broadcast with loc of shape \(3,\), got shape \(4,\)",
        ),
        (
            lambda: jv.Gaussian(0.0, 0.0, jv.Exp()),
            TypeError,
            r"parameterization must be a Parameterization or the name of one, got Exp\(\)",
        ),
        (
            lambda: jv.kl_divergence(jv.Gaussian(jnp.zeros(3), 0.0), jv.Gaussian(jnp.zeros(4), 0.0)),
            ValueError,
            "shapes",
        ),
    ],
)
def test_bad_construction(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_python_numbers_take_the_others_dtype():
    assert jv.Gaussian(jnp.zeros(2, jnp.bfloat16), 0.0).dtype == jnp.bfloat16
    assert jv.Gaussian(1, 0).dtype == jnp.float32
    assert jv.Gaussian(np.zeros(2), np.zeros(2)).dtype == jnp.float32
    assert jv.Gaussian(jnp.arange(3), jnp.zeros(3, jnp.bfloat16)).dtype == jnp.float32


def loss(q, key):
    return (jv.kl_divergence(q) + jv.log_prob(q, jv.sample(key, q))).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", each(("log_variance", "softplus_std", "nvae_log_std", "natural_softplus"), kept=("softplus_std",))
)
def test_under_every_transformation(name):
    p = jv.PARAMETERIZATIONS[name]
    q = jv.Gaussian(jnp.linspace(-1, 1, 24).reshape(8, 3), jnp.linspace(-2, 2, 24).reshape(8, 3), p)
    keys = jax.random.split(jax.random.key(0), 8)
    slope = jax.jit(jax.grad(loss))
    one_by_one = [slope(jax.tree.map(lambda x, i=i: x[i], q), keys[i]) for i in range(8)]
    want = jax.tree.map(lambda *x: jnp.stack(x), *one_by_one)

    batched = jax.jit(jax.vmap(jax.grad(loss)))(q, keys)
    chex.assert_trees_all_close(batched, want, rtol=1e-5, atol=1e-6)

    _, scanned = jax.lax.scan(lambda c, x: (c, jax.grad(loss)(*x)), 0, (q, keys))
    chex.assert_trees_all_close(scanned, want, rtol=1e-5, atol=1e-6)

    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.shard_map(
        jax.vmap(jax.grad(loss)), mesh=mesh, in_specs=PartitionSpec("batch"), out_specs=PartitionSpec("batch")
    )
    chex.assert_trees_all_close(jax.jit(spread)(q, keys), want, rtol=1e-5, atol=1e-6)

    second = jax.jit(jax.vmap(jax.hessian(lambda r: jv.kl_divergence(jv.Gaussian(0.3, r, p)))))(q.raw[0])
    assert jnp.all(jnp.isfinite(second))


def test_one_trace_for_repeated_calls():
    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(q, key):
        return jax.value_and_grad(loss)(q, key)

    for i in range(5):
        step(jv.Gaussian(jnp.ones(3) * i, jnp.zeros(3), jv.Parameterization("std", jv.Softplus())), jax.random.key(i))


def test_parameterizations_are_static_arguments():
    f = jax.jit(lambda r, p: jv.kl_divergence(jv.Gaussian(0.0, r, p)), static_argnums=1)
    np.testing.assert_allclose(f(0.5, jv.log_std), jv.kl_divergence(jv.Gaussian(0.0, 0.5, jv.log_std)), rtol=1e-6)


@functools.cache
def draws():
    return np.random.default_rng(0).normal(size=400_000).astype(np.float32)


def test_a_learned_noise_finds_the_true_one():
    # diffusers#5731: a trainable decoder log-variance; here by Newton's method on the mean log-likelihood.
    x = jnp.asarray(0.37 * draws())
    for p in (jv.log_variance, jv.softplus_std, jv.log_precision):

        @jax.jit
        def newton(raw, x, p=p):
            slope = jax.grad(lambda raw: -jv.log_prob(jv.Gaussian(0.0, raw, p), x).mean())(raw)
            return raw - slope / jv.fisher(jv.Gaussian(0.0, raw, p)).raw

        raw = jnp.asarray(0.0)
        for _ in range(60):
            raw = newton(raw, x)
        assert abs(float(p.std(raw)) / 0.37 - 1) < 0.02


@pytest.mark.parametrize("name", ["log_variance", "softplus_std", "dreamer_std"])
def test_arguments_are_checked_once(name, monkeypatch):
    """The two leaves, as the Gaussian is made; nothing of what the library computes from them."""
    checked = []
    for module in (jv.distribution, jv.gaussian, jv.special):
        check = module.require_real
        monkeypatch.setattr(module, "require_real", lambda check=check, **x: (checked.extend(x), check(**x)))
    p, x = jv.PARAMETERIZATIONS[name], jnp.zeros(3)
    jax.make_jaxpr(jax.grad(lambda loc, raw: jv.kl_divergence(jv.Gaussian(loc, raw, p)).sum(), (0, 1)))(x, x)
    assert checked == ["Gaussian.loc", "Gaussian.raw"]


def test_as_many_samples_as_a_symbolic_batch():
    (b,) = jax.export.symbolic_shape("b")
    q = jv.Gaussian(jnp.zeros(3), jnp.zeros(3))
    draw = jax.jit(lambda x: jv.sample(jax.random.key(0), q, (x.shape[0],)))
    exported = jax.export.export(draw)(jax.ShapeDtypeStruct((b, 2), np.float32))
    for size in (1, 4):
        x = jnp.zeros((size, 2))
        np.testing.assert_array_equal(exported.call(x), draw(x))
