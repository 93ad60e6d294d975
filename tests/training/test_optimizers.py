import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvae.gaussian import Gaussian
from jaxvae.natural import precondition
from jaxvae.parameterizations import log_variance, natural_exp
from jaxvae.training import learning_rate_schedule, make_optimizer
from jaxvae.training.optimizers import Adam, scale_by_fisher, stage_ends


def values(schedule, steps):
    return [float(schedule(step)) for step in steps]


def test_cosine_falls_from_the_peak_to_zero():
    schedule = learning_rate_schedule(0.4, 8)
    want = [0.4 * (1 + np.cos(np.pi * t / 8)) / 2 for t in range(9)]
    np.testing.assert_allclose(values(schedule, range(9)), want, rtol=1e-6, atol=1e-8)
    assert values(schedule, [0, 4]) == pytest.approx([0.4, 0.2])


def test_warm_up_rises_linearly_and_the_cosine_takes_the_rest():
    schedule = learning_rate_schedule(0.4, 12, warmup_steps=4)
    want = [0.0, 0.1, 0.2, 0.3, *(0.2 * (1 + np.cos(np.pi * t / 8)) for t in range(9))]
    np.testing.assert_allclose(values(schedule, range(13)), want, rtol=1e-6, atol=1e-8)


def test_constant_after_the_warm_up():
    assert values(learning_rate_schedule(0.5, 100, decay="constant"), [0, 50, 99]) == [0.5] * 3
    schedule = learning_rate_schedule(0.5, 100, warmup_steps=2, decay="constant")
    assert values(schedule, [0, 1, 2, 99]) == [0.0, 0.25, 0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"peak": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"peak": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"peak": float("inf")}, "learning_rate must be above 0, got inf"),
        ({"warmup_steps": -1}, "warmup_steps must be from 0 to below the 10 steps, got -1"),
        ({"warmup_steps": 10}, "warmup_steps must be from 0 to below the 10 steps, got 10"),
        ({"decay": "linear"}, "learning_rate_decay must be constant or cosine or drops or stages, got 'linear'"),
    ],
)
def test_refused_schedules(options, message):
    with pytest.raises(ValueError, match=message):
        learning_rate_schedule(**{"peak": 0.1, "steps": 10, **options})


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan")])
def test_refused_clipping(clip_norm):
    with pytest.raises(ValueError, match=f"clip_norm must be above 0, got {clip_norm}"):
        make_optimizer(0.1, clip_norm)


def updates(clip_norm, *gradients):
    tx = make_optimizer(optax.constant_schedule(0.1), clip_norm)
    state, result = tx.init(gradients[0]), []
    for g in gradients:
        update, state = jax.jit(tx.update)(g, state)
        result.append(update)
    return result


def test_adam_is_that_of_the_paper():
    first, second = (
        {"a": jnp.array([3.0, -1e-3]), "b": jnp.array([0.5])},
        {"a": jnp.array([1.0, 2e-3]), "b": jnp.zeros(1)},
    )
    m, v = {"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}
    for t, (update, gradient) in enumerate(zip(updates(None, first, second), (first, second), strict=True), 1):
        for name in ("a", "b"):
            g = np.asarray(gradient[name], np.float64)
            m[name], v[name] = 0.9 * m[name] + 0.1 * g, 0.999 * v[name] + 0.001 * g**2
            want = -0.1 * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
            np.testing.assert_allclose(update[name], want, rtol=1e-4)  # 1 - 0.999² has 3 digits fewer than float32


def test_clipping_is_by_the_norm_of_all_parameters_together():
    small, large = {"a": jnp.array([0.3]), "b": jnp.array([0.4])}, {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    # Adam's second step tells how large a gradient is beside the first.
    clipped, by_hand = updates(0.5, small, large)[1], updates(None, small, small)[1]
    for name in ("a", "b"):
        np.testing.assert_allclose(clipped[name], by_hand[name], rtol=1e-5)
    assert abs(updates(None, small, large)[1]["a"][0] - clipped["a"][0]) > 0.01


def variational():
    return {
        "q": Gaussian(jnp.asarray([0.3, -1.0]), jnp.asarray([0.5, -2.0]), log_variance),
        "layers": [{"w": jnp.ones(2)}, Gaussian(jnp.ones(()), jnp.ones(()), natural_exp)],
    }


def loss(params, through=lambda q: q):
    q, (layer, p) = through(params["q"]), params["layers"]
    p = through(p)
    return jnp.sum(jnp.square(q.mean - layer["w"]) + q.std) + (p.mean + p.log_std) ** 2


def stepped(tx, params, gradients):
    update, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
    return optax.apply_updates(params, update)


def test_gaussians_optimized_directly_take_natural_steps():
    params, rate = variational(), 0.01
    got = stepped(optax.chain(scale_by_fisher(), optax.sgd(rate)), params, jax.grad(loss)(params))
    want = stepped(optax.sgd(rate), params, jax.grad(lambda params: loss(params, precondition))(params))
    chex.assert_trees_all_close(got, want, rtol=1e-6)
    plain = stepped(optax.sgd(rate), params, jax.grad(loss)(params))
    assert (got["layers"][0]["w"] == plain["layers"][0]["w"]).all()
    for a, b in ((got["q"], plain["q"]), (got["layers"][1], plain["layers"][1])):
        assert not any(jnp.isclose(x, y, rtol=1e-5).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_natural_steps_for_some_gaussians_only():
    params, rate = variational(), 0.01
    natural = optax.chain(scale_by_fisher(), optax.sgd(rate))
    labels = jax.tree.map(lambda _: "natural", params)
    labels["layers"] = jax.tree.map(lambda _: "plain", params["layers"])
    gradients = jax.grad(loss)(params)
    got = stepped(optax.partition({"natural": natural, "plain": optax.sgd(rate)}, labels), params, gradients)
    chex.assert_trees_all_equal(got["q"], stepped(natural, params, gradients)["q"])
    chex.assert_trees_all_equal(got["layers"], stepped(optax.sgd(rate), params, gradients)["layers"])


def test_natural_steps_need_the_parameters():
    with pytest.raises(ValueError, match="scale_by_fisher needs the parameters"):
        scale_by_fisher().update(variational(), optax.EmptyState())


def test_descent_with_momentum():
    tx = make_optimizer(0.1, optimizer="sgd")
    state = tx.init(jnp.zeros(1))
    first, state = tx.update(jnp.array([1.0]), state)
    second, _ = tx.update(jnp.array([2.0]), state)
    np.testing.assert_allclose([first[0], second[0]], [-0.1, -0.1 * (0.9 * 1 + 2)], rtol=1e-6)
    with pytest.raises(ValueError, match="optimizer must be adam or rmsprop or sgd, got 'adagrad'"):
        make_optimizer(0.1, optimizer="adagrad")


def test_stages_of_the_iwae_paper():
    assert stage_ends(3280) == [1, 4, 13, 40, 121, 364, 1093]
    schedule = learning_rate_schedule(1e-3, 2 * 3280, epochs=3280, decay="stages")
    rates = [1e-4 * round(10 ** (1 - i / 7), 1) for i in range(8)]
    for rate, start, end in zip(
        rates, (0, 1, 4, 13, 40, 121, 364, 1093), (1, 4, 13, 40, 121, 364, 1093, 3280), strict=True
    ):
        for epoch in (start, end - 1):
            np.testing.assert_allclose(schedule(2 * epoch + 1), rate, rtol=1e-6)


def test_drops():
    schedule = learning_rate_schedule(1.0, 10, decay="drops")
    drop = 10**-0.2
    np.testing.assert_allclose([schedule(step) for step in (3, 4, 6, 7)], [1, drop, drop, drop**2], rtol=1e-6)


def test_adam_with_a_second_moment_that_starts_elsewhere():
    """As the IWAE paper's code has it: gradients' sums over 20 are means with ε and the second moment scaled."""
    sums = make_optimizer(0.1, adam=Adam(b1=0.99, eps=1e-4, second_moment=1.0))
    means = make_optimizer(0.1, adam=Adam(b1=0.99, eps=1e-4 / 20, second_moment=1 / 400))
    states, m, v = [tx.init(jnp.zeros(1)) for tx in (sums, means)], 0.0, 1.0
    for t, gradient in enumerate((3.0, -1.0, 2.0), 1):
        m, v = 0.99 * m + 0.01 * gradient, 0.999 * v + 0.001 * gradient**2
        wanted = -0.1 * m / (1 - 0.99**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-4)
        for i, (tx, scale) in enumerate(((sums, 1), (means, 20))):
            update, states[i] = tx.update(jnp.array([gradient / scale]), states[i])
            np.testing.assert_allclose(update, [wanted], rtol=2e-5)


@pytest.mark.parametrize(("field", "value"), [("b1", 1.0), ("eps", 0.0), ("second_moment", -1.0)])
def test_numbers_of_adam_that_are_not_allowed(field, value):
    with pytest.raises(ValueError, match=f"adam_{field} must be .*, got {value}"):
        make_optimizer(0.1, adam=Adam(**{field: value}))


def test_rmsprop():
    tx = make_optimizer(0.1, optimizer="rmsprop")
    update, _ = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    np.testing.assert_allclose(update, [-0.1 * 2 / np.sqrt(0.1 * 4)], rtol=1e-5)


def test_decayed_weights_are_those_of_adamw():
    """Matrices as in optax; vectors and a likelihood's numbers as without decay."""
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    gradients = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape), params)

    def stepped(tx):
        state, found = tx.init(params), params
        for _ in range(3):
            updates, state = tx.update(gradients, state, found)
            found = optax.apply_updates(found, updates)
        return found

    found = stepped(make_optimizer(0.1, adam=Adam(weight_decay=0.5)))
    np.testing.assert_allclose(found["kernel"], stepped(optax.adamw(0.1, weight_decay=0.5))["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(found["bias"], stepped(make_optimizer(0.1))["bias"])
    for optimizer, decay, allowed in (("sgd", 0.5, "0 for the optimizer sgd"), ("adam", -1, "at least 0 and finite")):
        with pytest.raises(ValueError, match=f"weight_decay must be {allowed}, got {decay}"):
            make_optimizer(0.1, optimizer=optimizer, adam=Adam(weight_decay=decay))
