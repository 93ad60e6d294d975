import functools

import chex
import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
from flax import nnx
from representatives import each

from jaxvae.training import step as stepping
from jaxvae.training.checkpoint import Checkpoints
from jaxvae.training.step import init_state, make_train_loop, make_train_step, summing_step, train_step, zero_sums


def zeros(step, state, batch):
    return zero_sums(jax.eval_shape(step, state, batch)[1])


def data(count=32):
    x = np.random.default_rng(0).normal(size=(count, 3))
    return {"x": np.float32(x), "y": np.float32(np.tanh(x @ [1.0, -2.0, 0.5]))}


def squared_error(predict):
    """A loss of noisy inputs, so that it depends on its key."""

    def loss(params, batch, key):
        x = batch["x"] + 0.01 * jax.random.normal(key, batch["x"].shape)
        error = jnp.mean(jnp.square(predict(params, x)[:, 0] - batch["y"])) * batch.get("scale", 1.0)
        return error, {"size": jnp.mean(jnp.abs(batch["y"]))}

    return loss


def hand_written():
    rng = np.random.default_rng(1)
    params = {"w": np.float32(rng.normal(size=(3, 8))), "v": np.float32(rng.normal(size=(8, 1)))}
    return jax.tree.map(jnp.asarray, params), lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"]


def linen():
    model = nn.Sequential([nn.Dense(8), nn.tanh, nn.Dense(1)])
    return jax.jit(model.init)(quick.key(1), data()["x"]), model.apply


def nnx_module():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.tanh(self.first(x)))

    graph, state = nnx.split(Model(nnx.Rngs(quick.key(1))))
    return nnx.as_pure(state), lambda params, x: nnx.merge(graph, params)(x)


def equinox():
    first, last = jax.random.split(quick.key(1))
    model = eqx.nn.Sequential([eqx.nn.Linear(3, 8, key=first), eqx.nn.Lambda(jnp.tanh), eqx.nn.Linear(8, 1, key=last)])
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return params, lambda params, x: jax.vmap(eqx.combine(params, static))(x)


def start(tx, *, ema=False, seed=3):
    return init_state(hand_written()[0], tx, jax.random.key(seed), ema=ema)


def copied(tree):
    """On the host, as what is donated is gone."""
    return jax.tree.map(np.array, tree)


def assert_same(a, b):
    chex.assert_trees_all_equal(copied(a), copied(b), strict=True)


LOSS = squared_error(lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"])


def counted(loss):
    """The loss, and a list that grows whenever it is traced."""
    traces = []

    def traced(*arguments):
        traces.append(None)
        return loss(*arguments)

    return traced, traces


@pytest.mark.parametrize("make", each((hand_written, linen, nnx_module, equinox), kept=(linen, nnx_module)))
def test_any_model_trains(make):
    params, predict = make()
    tx = optax.adam(0.05)
    step, state = make_train_step(squared_error(predict), tx), init_state(params, tx, jax.random.key(0))
    losses = []
    for _ in range(10):
        state, metrics = step(state, data())
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    assert int(state.step) == 10
    assert int(state.skipped) == 0
    assert set(metrics) == {"size", "loss", "gradient_norm", "skipped"}


def assert_close(a, b, ulps):
    """To so many units in the last place of each array's largest number."""
    for x, y in zip(*map(jax.tree.leaves, (copied(a), copied(b))), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=ulps * np.finfo(np.float32).eps * np.abs(y).max())


def test_a_step_is_that_of_optax():
    tx = optax.adam(0.05)

    @jax.jit
    def plain(params, opt_state, key, t):
        grads = jax.grad(lambda p: LOSS(p, data(), jax.random.fold_in(key, t))[0])(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    step, state = make_train_step(LOSS, tx), start(tx)
    for t in range(4):
        params, opt_state = plain(state.params, state.opt_state, state.key, t)
        state, _ = step(state, data())
        # The same operations; what XLA fuses in one program and not in the other is rounded once less.
        assert_close((state.params, state.opt_state), (params, opt_state), ulps=2)


def test_the_metrics_are_those_of_the_loss_and_the_gradient():
    step, state = make_train_step(LOSS, optax.sgd(0.1)), start(optax.sgd(0.1))
    params, key = hand_written()[0], jax.random.fold_in(jax.random.key(3), 0)
    (loss, _), grads = jax.jit(jax.value_and_grad(LOSS, has_aux=True))(params, data(), key)
    _, metrics = step(state, data())
    squares = sum(np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(grads))
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], np.sqrt(squares), rtol=1e-5)
    np.testing.assert_allclose(metrics["size"], np.abs(data()["y"]).mean(), rtol=1e-6)


def test_the_state_is_donated_and_many_steps_need_one_trace():
    tx = optax.adam(0.05)
    loss, traces = counted(LOSS)
    step = make_train_step(loss, tx, ema_decay=0.9)
    first = state = start(tx, ema=True)
    for _ in range(5):
        state, _ = step(state, data())
    donated = [*jax.tree.leaves((first.params, first.opt_state, first.ema)), first.step, first.skipped]
    assert all(leaf.is_deleted() for leaf in donated)
    assert len(traces) == 1
    program = step.lower(state, data())
    assert len(traces) == 1
    assert int(program.compile()(state, data())[0].step) == 6


@pytest.mark.parametrize(("scale", "platform"), [(np.nan, "cpu"), (np.inf, "cpu"), (1e37, "cpu"), (np.nan, "default")])
def test_an_update_that_is_not_finite_is_skipped_and_counted(scale, platform, monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *old, **branches: branches[platform](*old))
    tx = optax.adam(0.05)
    step, state = make_train_step(LOSS, tx, ema_decay=0.9), start(tx, ema=True)
    good, bad = {**data(), "scale": np.float32(1)}, {**data(), "scale": np.float32(scale)}
    counts = []
    for batch in (good, bad, bad, good, bad):
        before = copied((state.params, state.opt_state, state.ema))
        state, metrics = step(state, batch)
        after = (state.params, state.opt_state, state.ema)
        assert int(metrics["skipped"]) == (batch is bad)
        assert np.isfinite(metrics["loss"]) == (batch is good or scale == 1e37)  # whose gradient's norm overflows
        if batch is bad:
            assert_same(before, after)
        else:
            assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (before, copied(after))), strict=True))
        counts.append((int(state.step), int(state.skipped), int(state.skipped_in_row)))
    assert counts == [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 2, 0), (5, 3, 1)]


def test_the_average_is_that_of_its_formula():
    tx = optax.sgd(0.1)
    step, state = make_train_step(LOSS, tx, ema_decay=0.75), start(tx, ema=True)
    average = np.asarray(state.params["w"], np.float64)
    for _ in range(4):
        state, _ = step(state, data())
        average = 0.75 * average + 0.25 * np.asarray(state.params["w"], np.float64)
    np.testing.assert_allclose(state.ema["w"], average, rtol=1e-6)


def rows(data, step):
    """Four rows of the data by step; every third one is spoilt."""
    part = {name: jax.lax.dynamic_slice_in_dim(x, 4 * (step % 8), 4) for name, x in data.items()}
    return {**part, "scale": jnp.where(step % 3 == 2, jnp.nan, 1.0)}


@pytest.mark.parametrize("fused", [True, False])
def test_a_loop_is_as_many_steps(fused):
    tx = optax.adam(0.05)
    step = train_step(LOSS, tx)
    loss, traces = counted(LOSS)
    loop = make_train_loop(train_step(loss, tx), rows, max_skipped=2, fused=fused)
    state = start(tx)
    sums = zeros(step, state, jax.eval_shape(rows, data(), 0))
    for stop in (1, 4, 10):
        state, sums = loop(state, sums, data(), stop)
        assert int(state.step) == stop
    assert len(traces) == 1

    one_by_one, losses, norms = jax.jit(step), [], []
    want = start(tx)
    for t in range(10):
        want, metrics = one_by_one(want, jax.jit(rows)(data(), t))
        if not metrics["skipped"]:
            losses.append(metrics["loss"])
            norms.append(metrics["gradient_norm"])
    assert len(losses) == 7
    assert int(sums.updates) == 7
    # Ten steps, each with a few roundings that another program may do without.
    assert_close((state.params, state.opt_state), (want.params, want.opt_state), ulps=50)
    assert (int(state.skipped), int(state.skipped_in_row)) == (int(want.skipped), int(want.skipped_in_row)) == (3, 0)
    means = sums.means()
    assert means["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert means["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
    assert means["skipped"] == 0


@pytest.mark.parametrize("fused", [True, False])
def test_a_loop_ends_after_too_many_skipped_updates_in_a_row(fused):
    def spoilt_from_six_on(data, step):
        return {**data, "scale": jnp.where((step == 2) | (step >= 6), jnp.inf, 1.0)}

    tx = optax.sgd(0.1)
    step = train_step(LOSS, tx)
    loop = make_train_loop(step, spoilt_from_six_on, max_skipped=3, fused=fused)
    state = start(tx)
    state, sums = loop(state, zeros(step, state, {**data(), "scale": np.float32(1)}), data(), 100)
    assert (int(state.step), int(state.skipped), int(state.skipped_in_row), int(sums.updates)) == (9, 4, 3, 5)
    assert np.isfinite(sums.means()["loss"])


def test_the_mean_of_nothing_is_not_a_number():
    sums = stepping.Sums({"loss": jnp.zeros(())}, jnp.zeros((), jnp.int32))
    assert np.isnan(sums.means()["loss"])


def test_a_whole_training_can_be_mapped_over_seeds():
    tx = optax.adam(0.05)
    summed = summing_step(train_step(LOSS, tx, ema_decay=0.9))

    def training(seed, spoilt):
        state = start(tx, ema=True, seed=seed)
        batch = {**data(), "scale": jnp.float32(1)}
        sums = zeros(train_step(LOSS, tx, ema_decay=0.9), state, batch)

        def body(carry, t):
            return summed(*carry, {**batch, "scale": jnp.where(t < spoilt, jnp.nan, 1.0)}), None

        return jax.lax.scan(body, (state, sums), jnp.arange(6))[0]

    seeds, spoilt = np.arange(3), np.array([0, 2, 6])
    states, sums = jax.jit(jax.vmap(training))(seeds, spoilt)
    assert states.skipped.tolist() == [0, 2, 6]
    assert sums.updates.tolist() == [6, 4, 0]
    alone = jax.jit(training)
    for i, (state, kept) in enumerate(alone(*arguments) for arguments in zip(seeds, spoilt, strict=True)):
        one = jax.tree.map(lambda x, i=i: x[i], (states.params, states.ema, sums))
        chex.assert_trees_all_close(one, (state.params, state.ema, kept), rtol=1e-5, atol=1e-7)
    assert (states.params["w"][0] != states.params["w"][1]).any()


def test_a_state_without_average_stays_without():
    tx = optax.sgd(0.1)
    state, _ = make_train_step(LOSS, tx)(start(tx), data())
    assert state.ema is None
    shapes = jax.eval_shape(functools.partial(init_state, tx=tx, ema=True), hand_written()[0], key=jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(shapes.ema, shapes.params)


def changing(change):
    """An optimizer that keeps one number, and does this to update and state."""
    return optax.GradientTransformation(
        lambda params: jnp.zeros(()), lambda grads, state, params: jax.tree.map(change, (grads, state))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(jnp.bfloat16), r"the optimizer's new state must be .* float32\[\], got bfloat16\[\]"),
        (
            lambda x: x[None] if x.ndim else x,
            r"the updated params\['v'\] must be .* float32\[8,1\], got float32\[1,8,1\]",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*rank")
def test_an_optimizer_that_changes_a_shape_or_dtype_is_refused(change, message):
    params, predict = hand_written()
    step = train_step(squared_error(predict), changing(change))
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=message):
        jax.eval_shape(step, init_state(params, changing(change), quick.key(0)), data())


ONE_LEAF_EACH = {
    # They keep the parameters they began with, or a key of their own.
    "prodigy": optax.contrib.prodigy(),
    "dog": optax.contrib.dog(1.0),
    "dowg": optax.contrib.dowg(1.0),
    "cocob": optax.contrib.cocob(),
    "mechanize": optax.contrib.mechanize(optax.sgd(1e-2)),
    "add_noise": optax.chain(optax.add_noise(0.1, 0.5, key=quick.key(3)), optax.sgd(0.1)),
    # They want the loss.
    "reduce_on_plateau": optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
    "polyak_sgd": optax.polyak_sgd(0.1),
    "momo": optax.contrib.momo(0.1),
    "momo_adam": optax.contrib.momo_adam(0.1),
}
OPTIMIZERS = {
    "one leaf each": optax.partition(ONE_LEAF_EACH, {name: name for name in ONE_LEAF_EACH}),
    "lbfgs": optax.chain(optax.clip_by_global_norm(1.0), optax.lbfgs(memory_size=2)),
    "sophia": optax.contrib.sophia(0.1),
    "sam": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True),
    "sam by turns": optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),  # which takes no more than it asks for
    "accumulating": optax.MultiSteps(optax.polyak_sgd(0.1), 2),
}


@pytest.mark.parametrize("name", each(OPTIMIZERS, ("one leaf each", "lbfgs")))
def test_any_optimizer_steps_and_the_callers_arrays_stay(name):
    tx, key, params = OPTIMIZERS[name], quick.key(3), {name: jnp.ones(2) for name in ONE_LEAF_EACH}
    state = init_state(params, tx, key)
    step = make_train_step(lambda p, batch, key: (sum(jnp.sum(jnp.square(x)) for x in p.values()), {}), tx)
    for _ in range(2):
        state, metrics = step(state, None)
        assert np.isfinite(metrics["loss"])
    assert int(state.skipped) == 0
    assert any((copied(x) < 1).all() for x in state.params.values())  # some begin with steps below one ulp
    assert_same(params, {name: np.ones(2, np.float32) for name in params})
    assert not key.is_deleted()
    init_state(params, tx, key)  # the optimizer's own arrays are its own still


def test_one_array_may_have_two_names():
    tx, shared = optax.sgd(0.5), jnp.ones(3)
    state = jax.jit(lambda: init_state({"a": shared, "b": shared}, tx, quick.key(0), ema=True))()
    again = init_state({"a": state.params["a"], "b": state.params["a"]}, tx, state.key, ema=True)
    step = make_train_step(lambda p, batch, key: (jnp.sum(p["a"] * p["b"] * batch), {}), tx)
    for one in (state, again):
        after, _ = step(one, jnp.ones(3))
        assert_same(after.params, {"a": np.full(3, 0.5, np.float32), "b": np.full(3, 0.5, np.float32)})


def test_an_optimizer_is_given_the_loss_of_this_steps_batch_and_key():
    """One that asks for all there is, and keeps how much that was off."""

    def update(grads, state, params, *, value, grad, value_fn, obj_fn, grad_fn):
        again, slope = jax.value_and_grad(value_fn)(params)
        off = [jnp.abs(again - value), jnp.abs(obj_fn(params) - value)]
        pairs = [(grads, grad), (grads, slope), (grads, grad_fn(params, 0))]
        off += [jnp.max(jnp.abs(a[name] - b[name])) for a, b in pairs for name in grads]
        return jax.tree.map(lambda g: -0.1 * g, grads), jnp.maximum(state, jnp.max(jnp.stack(off)))

    tx = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    step, state = make_train_step(LOSS, tx), start(tx)
    for _ in range(3):
        state, metrics = step(state, data())
    # Losses and slopes are of the order of 1 to 100; another key's or batch's would be off by more than a hundredth.
    assert float(state.opt_state) <= 1e-4 * max(1.0, float(metrics["gradient_norm"]))


@pytest.mark.parametrize("loop", [False, True])
def test_a_state_that_a_step_took_over_is_refused_in_one_line(loop):
    tx = optax.sgd(0.1)
    if loop:
        run = make_train_loop(train_step(LOSS, tx), rows, max_skipped=2, fused=False)
        sums = functools.partial(zeros, train_step(LOSS, tx), start(tx), jax.eval_shape(rows, data(), 0))
        step = lambda state: run(state, sums(), data(), 1)  # noqa: E731
    else:
        jitted = make_train_step(LOSS, tx)
        step = lambda state: jitted(state, data())  # noqa: E731
    state = start(tx)
    step(state)
    with pytest.raises(ValueError, match=r"^state must be one that no step has had, got one .*: continue with .*$"):
        step(state)


def test_other_errors_of_a_step_are_its_own():
    def refusing(params, batch, key):
        raise ValueError("deleted by the loss")

    tx = optax.sgd(0.1)
    with pytest.raises(ValueError, match=r"^deleted by the loss"):
        make_train_step(refusing, tx)(start(tx), data())


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        return nn.Dense(1)(nn.BatchNorm(use_running_average=not train, momentum=0.75)(x))


def error(y, batch):
    return jnp.mean(jnp.square(y[:, 0] - batch["y"])) * batch.get("scale", 1.0)


def linen_with_statistics():
    model = Normalized()
    variables = model.init(quick.key(1), data()["x"])

    def loss(params, model_state, batch, key):
        y, model_state = model.apply({"params": params, **model_state}, batch["x"], mutable=["batch_stats"])
        return error(y, batch), {}, model_state

    params = variables.pop("params")
    return params, variables, loss, lambda state: state["batch_stats"]["BatchNorm_0"]["mean"]


def nnx_with_statistics():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.normalize = nnx.BatchNorm(3, momentum=0.75, rngs=rngs)
            self.last, self.drop = nnx.Linear(3, 1, rngs=rngs), nnx.Dropout(0.0, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(self.normalize(x)))

    graph, params, model_state = nnx.split(Model(nnx.Rngs(quick.key(1))), nnx.Param, ...)

    def loss(params, model_state, batch, key):
        model = nnx.merge(graph, params, model_state)
        value = error(model(batch["x"]), batch)
        return value, {}, nnx.split(model, nnx.Param, ...)[2]

    return params, model_state, loss, lambda state: state["normalize"]["mean"].get_value()


def equinox_with_statistics():
    class Model(eqx.Module):
        normalize: eqx.nn.BatchNorm
        last: eqx.nn.Linear
        activation: object = jax.nn.tanh

        def __init__(self, key):
            self.normalize = eqx.nn.BatchNorm(3, axis_name="batch", mode="batch", momentum=0.75)
            self.last = eqx.nn.Linear(3, 1, key=key)

        def __call__(self, x, state):
            x, state = self.normalize(x, state)
            return self.last(x), state

    model, model_state = eqx.nn.make_with_state(Model)(quick.key(1))
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(params, model_state, batch, key):
        model = eqx.combine(params, static)
        each = jax.vmap(model, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
        y, model_state = each(batch["x"], model_state)
        return error(y, batch), {}, model_state

    return params, model_state, loss, lambda state: state.get(model.normalize.batch_state_index)[0]


STATEFUL = [linen_with_statistics, nnx_with_statistics, equinox_with_statistics]


@pytest.mark.parametrize("make", each(STATEFUL, kept=STATEFUL[:1]))
def test_a_state_that_is_not_trained_goes_along(make, tmp_path):
    """The running mean is that of its formula, stays where a step is skipped, and comes back from a checkpoint."""
    params, model_state, loss, mean = make()
    tx = optax.adam(0.05)
    step, state = make_train_step(loss, tx), init_state(params, tx, jax.random.key(0), model_state=model_state)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    running, losses = np.zeros(3), []
    for t in range(6):
        scale = np.float32(np.nan if t == 2 else 1)
        batch = {**data(), "x": data()["x"] + np.float32(t), "scale": scale}
        state, metrics = step(state, batch)
        if t != 2:
            running = 0.75 * running + 0.25 * batch["x"].mean(axis=0, dtype=np.float64)
            losses.append(float(metrics["loss"]))
        # Means of 32 numbers of up to 10: a few units of 2^-23 * 10.
        np.testing.assert_allclose(mean(state.model_state), running, rtol=0, atol=1e-5)
    assert losses[-1] < losses[0]
    assert int(state.skipped) == 1
    assert jax.tree.structure(state.model_state) == jax.tree.structure(model_state)
    with Checkpoints(tmp_path / "c", {}, scored=False) as checkpoints:
        checkpoints.save(6, state)
        checkpoints.save(7, state)
        found = checkpoints.restore(6, shapes)
    np.testing.assert_array_equal(mean(found.model_state), mean(state.model_state))
    step(found, batch)


def test_a_step_that_would_spoil_the_model_state_is_skipped():
    def loss(params, model_state, batch, key):
        spoilt = {"codes": model_state["codes"] / batch, "largest": jnp.maximum(model_state["largest"], batch)}
        return jnp.square(params), {}, {**model_state, **spoilt, "count": model_state["count"] + 1}

    tx = optax.sgd(0.1)
    begin = {"codes": jnp.ones(2), "largest": jnp.array(-jnp.inf), "unseen": jnp.array(jnp.inf), "count": jnp.array(0)}
    step, state = make_train_step(loss, tx), init_state(jnp.ones(()), tx, quick.key(0), model_state=begin)
    for batch, want in ((2.0, (0.5, 2.0, 1)), (0.0, (0.5, 2.0, 1)), (4.0, (0.125, 4.0, 2))):
        state, metrics = step(state, np.float32(batch))
        kept = state.model_state
        assert (float(kept["codes"][0]), float(kept["largest"]), int(kept["count"])) == want
        assert int(metrics["skipped"]) == (batch == 0)
    assert float(state.params) == pytest.approx(0.8**2)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"mean": jnp.zeros(3)}, r"returns\['mean'\] must be like the one it replaces, float32\[2\], got float32\[3\]"),
        ({}, r"returns\['mean'\] must be like the one it replaces, float32\[2\], got none"),
    ],
)
def test_a_loss_returns_a_model_state_like_the_one_it_was_given(returned, message):
    step = train_step(lambda params, model_state, batch, key: (params, {}, returned), optax.sgd(0.1))
    state = init_state(jnp.ones(()), optax.sgd(0.1), quick.key(0), model_state={"mean": jnp.zeros(2)})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(step, state, None)


def test_a_loop_carries_the_model_state():
    def loss(params, model_state, batch, key):
        return jnp.square(params), {}, model_state + batch

    tx = optax.sgd(0.1)
    step = train_step(loss, tx)
    loop = make_train_loop(step, lambda data, t: data * t, max_skipped=2)
    state = init_state(jnp.ones(()), tx, quick.key(0), model_state=jnp.zeros(()))
    state, _ = loop(state, zeros(step, state, jnp.ones(())), jnp.ones(()), 4)
    assert float(state.model_state) == 0 + 1 + 2 + 3
