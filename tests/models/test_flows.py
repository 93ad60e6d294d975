import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
from representatives import each
from ulp import ulp_error

import jaxvae as jv
from jaxvae.models import CouplingFlow

EPS = float(np.finfo(np.float32).eps)
SIZES = ((2, 3, "log_std"), (3, 2, "squareplus_std"), (5, 2, "log_std"))
"""Latents, steps and parameterization."""


def make(steps=2, parameterization=None, **options):
    options = {"hidden": (8, 8), "activation": "tanh"} | options
    if parameterization is not None:
        options["parameterization"] = parameterization
    return CouplingFlow(steps, **options)


def inputs(latents=3, samples=4, batch=5, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    z, context = rng.normal(size=(samples, batch, latents)), rng.normal(size=(batch, 6))
    return jnp.asarray(z, dtype), jnp.asarray(context, dtype)


def randomized(flow, latents=3, size=0.5):
    """Parameters away from the start: none is 0, so that every output depends on every input that it may."""
    shapes = jax.eval_shape(flow.init, quick.key(0), *inputs(latents))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(size * rng.normal(size=leaf.shape), leaf.dtype), shapes)


def there_and_back(flow):
    """Compiled: f(z), then the inverse of that, each with its log_scale."""

    def run(variables, z, context):
        there = flow.apply(variables, z, context)
        return there, flow.apply(variables, there[0], context, method="inverse")

    return jax.jit(run)


def test_it_starts_as_the_identity_exactly():
    flow, (z, context) = make(2, hidden=(8, 7)), inputs()
    (moved, log_scale), variables = jax.jit(flow.init_with_output)(quick.key(0), z, context)
    assert all(coupling["raw"]["kernel"].shape[0] == 7 for coupling in variables["params"].values())
    np.testing.assert_array_equal(moved, z)
    assert (log_scale == 0).all()


@pytest.mark.parametrize("size", each(SIZES, kept=SIZES[1:2]), ids=str)
def test_the_inverse_undoes_it_and_log_scale_is_that_of_the_jacobian(size):
    latents, steps, name = size
    flow = make(steps, jv.parameterization(name))
    variables, (z, context) = randomized(flow, latents), inputs(latents)
    (moved, log_scale), (back, log_scale_back) = there_and_back(flow)(variables, z, context)
    assert moved.shape == log_scale.shape == back.shape == z.shape

    def one(z, context):
        return flow.apply(variables, z[None, None], context[None])[0][0, 0]

    jacobian = jax.vmap(jax.jacfwd(one))
    jacobians = np.float64(jax.jit(jax.vmap(jacobian, (0, None)))(z, context))
    sign, log_det = np.linalg.slogdet(jacobians)
    undone = np.abs(np.linalg.inv(jacobians))  # (K, B, L, L)
    # Every step rounds z, and what its scale and shift are made of, some 16 times: the inverse carries that back by
    # J^-1, and log |det J| has it as tr(J^-1 dJ).
    rounding = steps * 16 * EPS
    assert (np.abs(back - z) <= rounding * (undone @ np.abs(moved)[..., None])[..., 0]).all()
    assert (sign == 1).all()
    size = np.sum(undone * np.abs(np.swapaxes(jacobians, -1, -2)), axis=(-1, -2))
    assert (np.abs(np.sum(log_scale, -1) - log_det) <= rounding * size).all()
    assert (np.abs(np.sum(log_scale_back - log_scale, -1)) <= rounding * size).all()
    # Neither is a small matter here.
    assert (np.abs(moved - z).max((0, 1)) > 0.5).all()
    assert (np.abs(log_scale).max((0, 1)) > 0.1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["natural_exp", "scvi_variance"])
def test_how_the_scale_arises_is_the_parameterizations_affair(name):
    flow = make(2, jv.parameterization(name), hidden=(8,))
    variables, (z, context) = randomized(flow, size=0.3), inputs()
    run = there_and_back(flow)
    (moved, log_scale), (back, _) = run(variables, z, context)
    np.testing.assert_allclose(back, z, rtol=1e-5, atol=1e-5)
    # In two steps each latent moves once: z' = shift + scale z, where two z that differ in it alone have one scale.
    slope = run(variables, z.at[..., 1].add(1.0), context)[0][0][..., 1] - moved[..., 1]
    np.testing.assert_allclose(np.exp(log_scale[..., 1]), slope, rtol=1e-5, atol=1e-5)
    (moved, log_scale), _ = run(jax.jit(flow.init)(quick.key(0), z, context), z, context)
    np.testing.assert_array_equal(moved, z)
    assert np.abs(log_scale).max() <= EPS  # the log of a σ of 1, whose raw is rounded, and below 1


def test_log_scale_is_told_latent_by_latent():
    flow = make(1, jv.log_std)
    variables, (z, context) = randomized(flow, 5), inputs(5)
    run = jax.jit(flow.apply)
    moved, log_scale = run(variables, z, context)
    np.testing.assert_array_equal(moved[..., 0::2], z[..., 0::2])
    assert (log_scale[..., 0::2] == 0).all()
    assert (log_scale[..., 1::2] != 0).all()
    far, _ = run(variables, z.at[..., 1::2].add(8.0), context)
    # A product, two sums and a difference, of numbers up to some 10 times 8 scale.
    np.testing.assert_allclose((far - moved)[..., 1::2] / 8, np.exp(log_scale[..., 1::2]), rtol=64 * EPS)


def test_every_output_depends_on_every_latent_and_feature_of_its_own_example():
    flow = make(3, jv.log_std)
    variables, (z, context) = randomized(flow), inputs(batch=2)

    def outputs(z, context):
        return jnp.concatenate(flow.apply(variables, z, context), -1)

    by_z, by_context = jax.jit(jax.jacfwd(outputs, (0, 1)))(z[:1], context)  # (1, B, 2 L, 1, B, L), (1, B, 2 L, B, F)
    for b in range(2):
        assert (by_z[0, b, :3, 0, b] != 0).all()
        assert (by_context[0, b, :, b] != 0).all()
        assert (by_z[0, b, :, 0, 1 - b] == 0).all()
        assert (by_context[0, b, :, 1 - b] == 0).all()


def test_the_density_integrates_to_one():
    flow, base = make(3), jv.Gaussian(jnp.array([0.3, -0.2]), jnp.array([0.1, -0.3]))
    variables, context = randomized(flow, 2, 0.4), inputs(batch=1)[1]
    spacing, axis = 0.08, np.arange(-14, 14, 0.08, dtype=np.float32)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 1, 2))

    @jax.jit
    def density(z):
        z, log_scale = flow.apply(variables, z, context, method="inverse")
        q = jv.Gaussian(*(jnp.broadcast_to(x, z.shape) for x in (base.loc, base.raw)))
        return jnp.exp(jnp.sum(jv.log_prob(q, z) - log_scale, -1))

    mass = np.float64(density(grid))[:, 0].reshape(len(axis), len(axis)) * spacing**2
    edges = np.concatenate([mass[0], mass[-1], mass[:, 0], mass[:, -1]])
    assert edges.sum() < 1e-8  # all of it is on the grid
    # The rule's error falls faster than any power of the spacing, and shows as the difference of two coarser grids.
    rule = abs(4 * mass[::2, ::2].sum() - 4 * mass[1::2, 1::2].sum())
    assert rule < 1e-4
    assert abs(mass.sum() - 1) <= rule + 64 * EPS


@pytest.mark.slow
@pytest.mark.parametrize("method", [None, "inverse"])
def test_values_and_gradients_are_finite_at_large_raws(method):
    z, context = inputs()

    def run(flow):
        def total(variables):
            moved, log_scale = flow.apply(variables, z, context, method=method)
            return jnp.sum(moved) + jnp.sum(log_scale), (moved, log_scale)

        return jax.jit(jax.grad(total, has_aux=True))

    def at(raw, variables):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full_like(leaf, raw) if "raw" in str(path) and leaf.ndim == 1 else leaf, variables
        )

    flow = make(3, hidden=(8,))
    variables, tame = randomized(flow), run(flow)
    for raw in (-60.0, 60.0):
        gradients, (moved, log_scale) = tame(at(raw, variables))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((moved, log_scale, gradients)))
        assert all((coupling["raw"]["bias"] != 0).all() for coupling in gradients["params"].values())
        # Two moves of the odd latent, one of the even ones; the kernel's eight numbers change raw by less than 15.
        assert (np.sign(raw) * log_scale > np.array([1, 2, 1])[None, None] * np.log(45)).all()
    # The reason for the default: the e^120 of another.
    _, (moved, _) = run(make(3, jv.log_std, hidden=(8,)))(at(-60.0 if method else 60.0, variables))
    assert not np.isfinite(moved).all()


def test_the_inverse_has_a_slope_also_where_the_square_of_a_scale_underflows():
    flow, (z, context) = make(1, jv.log_std, hidden=(8,)), inputs()
    start = jax.jit(flow.init)(quick.key(0), z, context)
    narrow = jax.tree.map(lambda leaf: leaf, start)
    narrow["params"]["couplings_0"]["raw"]["bias"] -= 60.0  # 1/scale is e^60, in float32's range; e^120 is not

    def total(variables):
        return jnp.sum(flow.apply(variables, z, context, method="inverse")[0])

    gradients = jax.jit(jax.grad(total))(narrow)["params"]["couplings_0"]
    # z' = z e^-raw, whose slope in raw is -z'.
    want = -np.sum(np.float64(z[..., 1])) * np.exp(60.0)
    np.testing.assert_allclose(gradients["raw"]["bias"], [want], rtol=1e-5)


def test_transformations_of_jax():
    flow = make(2, jv.log_std, hidden=(8,))
    variables, (z, context) = randomized(flow), inputs()
    models = jax.tree.map(lambda leaf: jnp.stack([2 * leaf, leaf]), variables)

    @jax.jit
    def all_of_them():
        by_sample = jax.vmap(flow.apply, (None, 0, None))(variables, z, context)
        by_model = jax.vmap(flow.apply, (0, None, None))(models, z, context)
        return flow.apply(variables, z, context), by_sample, by_model

    for want, got, both in zip(*all_of_them(), strict=True):
        # Sums in another order: two steps of some 30 roundings.
        np.testing.assert_allclose(got, want, rtol=64 * EPS, atol=64 * EPS)
        np.testing.assert_allclose(both[1], want, rtol=64 * EPS, atol=64 * EPS)
        assert np.abs(both[0] - want).max() > 0.1


def test_a_batch_may_be_permuted():
    flow, order = make(2, jv.log_std), np.array([3, 0, 4, 1, 2])
    variables, (z, context) = randomized(flow), inputs()
    run = jax.jit(flow.apply)
    plain, permuted = (run(variables, z[:, o], context[o]) for o in (np.arange(5), order))
    for x, y in zip(plain, permuted, strict=True):
        assert ulp_error(y, x[:, order], np.float32).max() <= 64
        assert np.abs(y - x).max() > 0.1


def test_it_computes_in_float32_whatever_its_inputs():
    flow, (z, context) = make(2, jv.log_std, hidden=(8,)), inputs(dtype=jnp.bfloat16)
    variables, run = randomized(flow), jax.jit(flow.apply)
    for got, want in zip(run(variables, z, context), run(variables, *map(jnp.float32, (z, context))), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, want)
    with jax.enable_x64(True):
        for dtype in (jnp.bfloat16, jnp.float64):
            outputs = jax.eval_shape(flow.init_with_output, quick.key(0), z.astype(dtype), context.astype(dtype))
            assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(outputs))


@pytest.mark.parametrize(
    ("options", "latents", "message"),
    [
        ({}, 1, "latents must be at least 2, .*, got 1"),
        ({"steps": 0}, 3, "steps must be at least 1, got 0"),
        ({"hidden": ()}, 3, r"hidden must be one or more widths, got \(\)"),
        ({"activation": "sine"}, 3, "activation must be one of elu, .*, got 'sine'"),
        ({"parameterization": jv.sigmoid_std}, 3, r"std must be in \(0, 1\) for sigmoid_std, got 1"),
    ],
)
def test_what_cannot_be_is_refused_while_traced(options, latents, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(make(**options).init, quick.key(0), *inputs(latents))


@pytest.mark.slow
def test_it_learns_correlations_that_no_diagonal_gaussian_has():
    # The correlation is 0.9 under one feature, -0.9 under the other. The best diagonal Gaussian has variances 1 - 0.9².
    flow, correlation = CouplingFlow(2, (16,), "tanh"), jnp.array([0.9, -0.9])
    diagonal = -np.log(1 - 0.9**2) / 2  # KL of 0.830 nats
    base, context = jv.Gaussian(jnp.zeros((2, 2)), jnp.zeros((2, 2))), jnp.eye(2)
    conditional = jv.log_std.raw_from_std(np.sqrt(1 - 0.9**2))

    def log_ratio(variables, key, samples):
        z0 = jv.sample(key, base, (samples,))
        z, log_scale = flow.apply(variables, z0, context)
        x, y = z[..., 0], z[..., 1]  # (K, B)
        p = jv.Gaussian(jnp.broadcast_to(correlation, x.shape) * x, conditional, jv.log_std)
        log_p = jv.log_prob(jv.Gaussian(jnp.zeros(()), jnp.zeros(())), x) + jv.log_prob(p, y)
        return jnp.sum(jv.log_prob(base, z0) - log_scale, -1) - log_p

    optimizer = optax.adam(optax.cosine_decay_schedule(3e-2, 200))

    def step(carry, key):
        variables, state = carry
        gradients = jax.grad(lambda v: jnp.mean(log_ratio(v, key, 64)))(variables)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(variables, updates), state), None

    @jax.jit
    def train(key):
        variables = flow.init(key, jnp.zeros((1, 2, 2)), context)
        (variables, _), _ = jax.lax.scan(step, (variables, optimizer.init(variables)), jax.random.split(key, 200))
        return log_ratio(variables, jax.random.fold_in(key, 200), 10_000)

    ratios = train(quick.key(0))  # (K, B)
    kl, error = np.mean(ratios, 0), np.std(ratios, 0) / np.sqrt(len(ratios))
    assert (kl + 4 * error < diagonal / 10).all()  # 0.023 and 0.024 nats
    assert (kl > -4 * error).all()
