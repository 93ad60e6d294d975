import jax
import linear
import numpy as np
import optax
import pytest
import quick

from jaxvae.training import TrainConfig, init_state, make_experiment, make_train_step, train_step
from jaxvae.training.batches import ResidentFeed
from jaxvae.training.devices import data_mesh, put, replicated, shared_out
from jaxvae.training.step import zero_sums


def test_the_mesh_has_all_devices():
    assert data_mesh(16).size == jax.device_count() == 8


@pytest.mark.parametrize("batch_size", [1, 12, 100])
def test_a_batch_must_be_shared_equally(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be a multiple of the 8 devices, got {batch_size}"):
        data_mesh(batch_size)


def test_arrays_are_copied_or_shared_out():
    mesh, x = data_mesh(16), np.arange(32.0).reshape(16, 2)
    everywhere, shares = put(replicated(mesh), {"x": x})["x"], put(shared_out(mesh), {"x": x})["x"]
    assert [s.data.shape for s in everywhere.addressable_shards] == [(16, 2)] * 8
    assert [s.data[0, 0] for s in shares.addressable_shards] == [4.0 * i for i in range(8)]
    assert (np.asarray(everywhere) == x).all()
    assert (np.asarray(shares) == x).all()


def trained(devices):
    """Losses and parameters of a few steps on so many devices."""
    config = TrainConfig(hidden=(8,), latents=2, batch_size=64, binarization="none")
    experiment = make_experiment(config)._replace(mesh=linear.mesh(devices), tx=optax.sgd(1e-3))
    step = train_step(experiment.loss, experiment.tx)
    state = init_state(jax.jit(experiment.init)(quick.key(0)), experiment.tx, jax.random.key(0))
    state = jax.device_put(state, replicated(experiment.mesh))
    feed, losses = ResidentFeed(experiment, step), []
    for stop in range(1, 5):
        state, sums = feed.advance(state, zero_sums(experiment.metrics), stop)
        losses.append(sums.means()["loss"])
    assert all(len(leaf.sharding.device_set) == devices for leaf in jax.tree.leaves(state.params))
    return losses, jax.device_get(state.params)


def test_eight_devices_train_as_one_does():
    """Sums over the batch are added up in another order: a few units in the last place for every step."""
    (losses, params), (more_losses, more_params) = trained(1), trained(8)
    assert len(set(losses)) == 4
    np.testing.assert_allclose(more_losses, losses, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(more_params), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * max(np.abs(a).max(), 1e-2))


def test_a_step_in_a_loop_of_ones_own():
    mesh, tx = data_mesh(16), optax.sgd(0.1)
    step = make_train_step(lambda p, batch, key: (((batch["x"] - p) ** 2).mean(), {}), tx)
    state = jax.device_put(init_state(np.float32(0), tx, jax.random.key(0)), replicated(mesh))
    batch = put(shared_out(mesh), {"x": np.arange(16, dtype=np.float32)})
    for _ in range(3):
        state, metrics = jax.block_until_ready(step(state, batch))
    assert float(state.params) == pytest.approx(7.5 * (1 - 0.8**3), rel=1e-6)
    assert not metrics["skipped"]


def test_statistics_that_are_not_trained_are_those_of_the_whole_batch():
    def loss(params, model_state, batch, key):
        return ((batch - params) ** 2).mean(), {}, 0.5 * model_state + 0.5 * batch.mean()

    mesh, tx = data_mesh(16), optax.sgd(0.1)
    state = init_state(np.float32(0), tx, jax.random.key(0), model_state=np.float32(0))
    state = jax.device_put(state, replicated(mesh))
    step, batch = make_train_step(loss, tx), put(shared_out(mesh), np.arange(16, dtype=np.float32))
    for _ in range(3):
        state, _ = jax.block_until_ready(step(state, batch))
    assert float(state.model_state) == pytest.approx(7.5 * (1 - 0.5**3), rel=1e-6)
    assert state.model_state.sharding.is_fully_replicated
