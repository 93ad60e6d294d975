import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quick import key

from jaxvae.objectives import (
    GecoState,
    dual_ascent,
    geco,
    lagrangian,
    lower_bound_violation,
    reconstruction_constraint,
)
from jaxvae.training import init_state, make_train_step, train_step

EPS = float(np.finfo(np.float32).eps)
LABELS = {"model": "model", "multipliers": "multipliers"}


def trained(loss, params, dual, steps, rate=0.1):
    """The parameters after each step of gradient descent in the model and ``dual`` in the multipliers."""
    tx = optax.partition({"model": optax.sgd(rate), "multipliers": dual}, LABELS)
    step = train_step(lambda params, batch, key: (loss(params), {}), tx)

    @jax.jit
    def run(params):
        state = init_state(params, tx, key(0))
        return jax.lax.scan(lambda state, _: (step(state, None)[0], state.params), state, None, steps)[1]

    return run(params)


def steps_to(accuracy, *jacobian):
    """How many steps of a linear map bring an error down to this, and its spectral radius."""
    radius = np.abs(np.linalg.eigvals(np.array(*jacobian))).max()
    assert radius < 1
    return int(np.ceil(np.log(accuracy) / np.log(radius))), radius


# min ½ Σ h (x - a)² where Σ x ≤ 1 and x₁ ≤ 10: x = a - λ/h with λ = (Σ a - 1) / Σ 1/h, and 0 for the second.
H, A = np.float32([1, 2]), np.float32([2, 1])


def quadratic(params):
    x = params["model"]
    constraints = jnp.stack([jnp.sum(x) - 1, x[0] - 10])
    return lagrangian(jnp.sum(H * jnp.square(x - A)) / 2, constraints, params["multipliers"])


def start(x=(-3.0, -3.0), multipliers=(0.0, 1.0)):
    return {"model": jnp.asarray(x), "multipliers": jnp.asarray(multipliers)}


def test_descent_and_ascent_meet_at_the_constrained_optimum_and_its_multiplier():
    map_ = [[1 - 0.1 * H[0], 0, -0.1], [0, 1 - 0.1 * H[1], -0.1], [0.1, 0.1, 1]]
    steps, radius = steps_to(1e-8, map_)
    history = trained(quadratic, start(), dual_ascent(0.1), steps + 100)  # those before λ leaves 0
    tolerance = 16 * EPS / (1 - radius)  # each step's rounding, and what is left of those before
    np.testing.assert_allclose(history["model"][-1], [2 / 3, 1 / 3], atol=tolerance)
    np.testing.assert_allclose(history["multipliers"][-1], [4 / 3, 0], atol=tolerance)
    assert (history["multipliers"] >= 0).all()
    assert (history["multipliers"][:5, 0] == 0).all()  # feasible, as yet
    assert (history["multipliers"][5:, 1] == 0).all()  # inactive


def test_each_ascent_is_projected():
    tx, multipliers = dual_ascent(0.5), jnp.asarray([0.0, 1.0, 1.0, 0.3])
    updates, _ = tx.update(jnp.asarray([-1.0, -4.0, 3.0, -0.2]), tx.init(multipliers), multipliers)
    np.testing.assert_allclose(optax.apply_updates(multipliers, updates), [0, 0, 2.5, 0.2], rtol=1e-6)


def test_many_runs_at_once():
    xs = np.float32([[-3, -3], [0, 0], [5, 1]])
    together = jax.vmap(lambda x: trained(quadratic, start(x), dual_ascent(0.1), 30))(xs)
    for i, x in enumerate(xs):
        alone = trained(quadratic, start(x), dual_ascent(0.1), 30)
        chex.assert_trees_all_close(jax.tree.map(lambda h, i=i: h[i], together), alone, atol=1e-5)


@pytest.mark.parametrize("dual", [dual_ascent(0.1), geco(0.1)], ids=["dual_ascent", "geco"])
def test_the_train_step_need_not_know(dual):
    tx = optax.chain(optax.identity(), optax.partition({"model": optax.adam(0.1), "multipliers": dual}, LABELS))
    traces = []

    def loss(params, batch, key):
        traces.append(params)
        return quadratic(params), {}

    step, state = make_train_step(loss, tx), init_state(start((3.0, 3.0), (1.0, 1.0)), tx, key(0))
    for _ in range(3):
        state, metrics = step(state, None)
        assert metrics["skipped"] == 0
    first, second = state.params["multipliers"]
    assert first > 1
    assert second < 1
    assert len(traces) == 1


def test_the_lagrangian_and_its_slopes():
    c, multipliers = np.float32([[0.5, -1.0]]), np.float32([[2.0, 3.0]])
    assert lagrangian(jnp.float32(7.0), c, multipliers) == 5
    loss, constraint, multiplier = jax.grad(lagrangian, (0, 1, 2))(jnp.float32(7.0), c, multipliers)
    assert loss == 1
    np.testing.assert_array_equal([constraint, multiplier], [multipliers, c])


def test_the_violation_of_a_lower_bound():
    x = np.float32([[0.5, 2, -1], [0.25, 4, 0], [3, 1, -2]])
    np.testing.assert_array_equal(lower_bound_violation(x, 0.5), [0.25, -0.5, 2.5])
    slopes = jax.grad(lambda x: lower_bound_violation(x, 0.5).sum())(x)
    np.testing.assert_array_equal(slopes, -(x == x.min(axis=0)).astype(np.float32))
    assert np.isnan(lower_bound_violation(np.float32([[np.nan], [1.0]]), 0.5)).all()


def test_one_multiplier_bounds_every_example():
    a = np.float32([[-1, 3], [0.5, 4], [2, 5]])

    def loss(params):
        violation = lower_bound_violation(params["model"], 1.0)
        return lagrangian(jnp.sum(jnp.square(params["model"] - a)) / 2, violation, params["multipliers"])

    rate = 0.01
    history = trained(loss, {"model": jnp.zeros((3, 2)), "multipliers": jnp.zeros(2)}, dual_ascent(0.2), 2000, rate)
    x, multipliers = history["model"][-1], history["multipliers"][-1]
    # Each example's own multiplier is bound - a where this is above 0. Whichever is lowest is pushed by rate times
    # the sum, and slides back by rate times its own: x swings by no more, and the slope's balance by as much.
    total = (1 + 1) + (1 - 0.5)
    np.testing.assert_allclose(x[:, 0], [1, 1, 2], atol=2 * rate * total)
    np.testing.assert_allclose(multipliers[0], total, atol=2 * rate * total * 2)
    np.testing.assert_allclose(x[:, 1], a[:, 1], rtol=EPS / rate)
    assert multipliers[1] == 0


def test_the_reconstruction_constraint():
    x, mean = np.float32([[1, 2], [0, 1]]), np.float32([[1, 1], [2, 1]])
    constraint = reconstruction_constraint(jnp.sum(jnp.square(x - mean), axis=1), 0.5**2)
    assert constraint == (1 + 4) / 2 - 0.25


def test_geco_is_that_of_the_paper():
    rate, decay, low, high = 0.3, 0.9, 0.1, 20.0
    constraints = np.float32(np.random.default_rng(0).normal([1, -1, -0.4], size=(40, 3)))
    tx = geco(rate, decay, low, high)
    got, want, average = jnp.ones(3), np.ones(3), np.float64(constraints[0])
    state, update = tx.init(got), jax.jit(tx.update)
    for t, c in enumerate(constraints):
        updates, state = update(c, state, got)
        got = optax.apply_updates(got, updates)
        average = decay * average + (1 - decay) * c  # of equals, at first
        want = np.clip(want * np.exp(rate * average), low, high)
        np.testing.assert_allclose(got, want, rtol=8 * (t + 1) * EPS)
    assert want[:2].tolist() == [high, low]
    assert low < want[2] < 1


def test_geco_stays_in_its_range_and_comes_back():
    tx, multipliers = geco(1.0, decay=0.0), jnp.asarray([1e6, 1e6, 0.0, -1.0, 1.0])
    state = tx.init(multipliers)
    for sign in (-1, 1, -1):
        updates, state = tx.update(sign * jnp.asarray([1e3, 30.0, 1e3, 1e3, 0.0]), state, multipliers)
        multipliers = optax.apply_updates(multipliers, updates)
        assert ((multipliers >= 0) & (multipliers <= 1e6)).all()
        assert multipliers[4] == 1
        if sign > 0:
            assert (multipliers[:4] > 1e-6).all()


def test_geco_reaches_the_tolerance_at_the_least_kl():
    """q(z) = N(m, s²) and x ~ w z: for a given λ, q is the exact posterior at pixel variance 1/(2λ)."""
    x, w, tolerance, rate = 1.5, 2.0, 0.3, 0.02

    def optimum(multiplier):
        variance = 1 / (1 + 2 * multiplier * w**2)
        mean = 2 * multiplier * w * x * variance
        return (mean, np.log(variance) / 2), (x - w * mean) ** 2 + w**2 * variance - tolerance

    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if optimum(middle)[1] > 0 else (low, middle)

    def constraint(q):
        return reconstruction_constraint(jnp.square(x - w * q[:1]) + w**2 * jnp.exp(2 * q[1:]), tolerance)

    def loss(params):
        mean, log_std = params["model"]
        kl = (jnp.square(mean) + jnp.exp(2 * log_std) - 1) / 2 - log_std
        return lagrangian(kl, constraint(params["model"]), params["multipliers"])

    dual = geco(0.02, decay=0.9, high=10.0)  # beyond, descent at this rate is unstable

    def step(v):
        params = {"model": v[:2], "multipliers": v[2]}
        slopes = jax.grad(loss)(params)
        update, state = dual.update(slopes["multipliers"], GecoState(v[3], jnp.ones((), jnp.int32)), v[2])
        return jnp.concatenate([v[:2] - rate * slopes["model"], jnp.stack([v[2] + update, state.average])])

    with jax.enable_x64(True):
        fixed = np.array([*optimum(low)[0], low, 0.0])
        steps, _ = steps_to(1e-10, jax.jit(jax.jacfwd(step))(fixed))
        params = {"model": jnp.zeros(2), "multipliers": jnp.ones(())}
        history = trained(loss, params, dual, steps + 200, rate)
    np.testing.assert_allclose([*history["model"][-1], history["multipliers"][-1]], fixed[:3], rtol=1e-6)
    assert (np.asarray(history["multipliers"]) > 0).all()


def test_wrong_shapes_are_refused():
    one = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="shape"):
        lagrangian(one, one, one)
    with pytest.raises(ValueError, match="shape"):
        lagrangian(one[0], one, one[:2])
    for x, bound in ((one[None], one), (one[:0, None], 0.5), (np.float32(1), 0.5)):
        with pytest.raises(ValueError, match="shape"):
            lower_bound_violation(x, bound)
    for distortion, tolerance in ((one[None], 0.5), (one, one), (one[:0], 0.5)):
        with pytest.raises(ValueError, match="shape"):
            reconstruction_constraint(distortion, tolerance)


def test_axes_of_the_event_are_told():
    x = np.float32(np.random.default_rng(0).normal(size=(2, 3, 4)))
    np.testing.assert_array_equal(lower_bound_violation(x, 1.0), (1 - x).max(axis=(0, 1)))
    np.testing.assert_array_equal(lower_bound_violation(x, 1.0, event_axes=(1, 2)), (1 - x).max(axis=0))
    np.testing.assert_array_equal(lower_bound_violation(x[0, 0], 1.0), 1 - x[0, 0])  # one example
    for axes, want in (((), x.mean()), (-1, x.sum(axis=-1).mean()), ((1, 2), x.sum(axis=(1, 2)).mean())):
        np.testing.assert_allclose(reconstruction_constraint(x, 0.5, axes), want - 0.5, rtol=8 * EPS, atol=8 * EPS)
    np.testing.assert_array_equal(reconstruction_constraint(x[0, 0, 0], 0.5), x[0, 0, 0] - 0.5)
    with pytest.raises(ValueError, match=r"^event_axes must be given for a distortion of shape \(2, 3, 4\): the axes"):
        reconstruction_constraint(x, 0.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: dual_ascent(0.0), "rate must be above 0, got 0.0"),
        (lambda: dual_ascent(float("nan")), "rate must be above 0, got nan"),
        (lambda: geco(-1.0), "rate must be above 0, got -1.0"),
        (lambda: geco(1.0, decay=1.0), r"decay must be in \[0, 1\), got 1.0"),
        (lambda: geco(1.0, low=0.0), "low must be above 0, got 0.0"),
        (lambda: geco(1.0, low=2.0, high=1.0), "high must be above low = 2.0 and finite, got 1.0"),
    ],
)
def test_refused_values(build, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build()


@pytest.mark.parametrize("dual", [dual_ascent(0.1), geco(0.1)], ids=["dual_ascent", "geco"])
def test_multipliers_are_needed(dual):
    with pytest.raises(ValueError, match="params"):
        dual.update(jnp.ones(2), dual.init(jnp.ones(2)))
