import dataclasses
import functools

import jax
import jax.numpy as jnp
import linear
import numpy as np
import optax
import pytest
import quick

from jaxvae.data import Split
from jaxvae.training import TrainConfig, init_state, make_experiment, train_step
from jaxvae.training.batches import ResidentFeed, StreamingFeed
from jaxvae.training.devices import replicated
from jaxvae.training.step import zero_sums

COUNT, SIZE = 70, 16  # four batches an epoch, and six images left over
FEEDS = [ResidentFeed, StreamingFeed]


@pytest.fixture(scope="module")
def experiment():
    """Of images whose pixels are their number in binary digits, and whose labels are the number's last digit."""
    config = TrainConfig(
        hidden=(4,), latents=2, batch_size=SIZE, binarization="none", epochs=3, beta_schedule="linear", conditional=True
    )
    made = make_experiment(config)
    numbers = np.arange(COUNT)
    images = np.uint8(16 * (numbers[:, None] >> np.arange(64) & 1)).reshape(COUNT, 8, 8, 1)
    train = Split(images, np.int32(numbers % 10))
    return made._replace(dataset=dataclasses.replace(made.dataset, train=train))


def with_config(experiment, **changes):
    return experiment._replace(config=dataclasses.replace(experiment.config, **changes))


def rows(batch):
    bits = np.asarray(batch["image"]).reshape(-1, 64)[:, :7] // 16
    numbers = bits @ (1 << np.arange(7))
    assert (np.asarray(batch["label"]) == numbers % 10).all()
    return numbers.tolist()


WEIGHTS = 1 + np.arange(SIZE)[:, None, None, None]


def loss(params, batch, key):
    """Depends on batch, key and β; its metric tells the batch's images and their order."""
    x = batch["image"].reshape(SIZE, 64) / 16 + jax.random.normal(key, (SIZE, 64))
    error = jnp.mean(jnp.square(x @ params - batch["label"])) + batch["beta"] * jnp.sum(jnp.abs(params))
    return error, {"trained_on": jnp.sum(batch["image"] * WEIGHTS)}


STEP = train_step(loss, optax.adam(0.01))


@pytest.mark.parametrize("kind", FEEDS)
def test_every_epoch_has_an_order_of_its_own_and_no_image_twice(kind, experiment):
    feed = kind(experiment, STEP)
    epochs = [[i for step in range(4 * e, 4 * e + 4) for i in rows(feed.batch(step))] for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 64
        assert epoch != sorted(epoch)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert set(epochs[0]) != set(epochs[1])  # not always the same six are left over


@pytest.mark.parametrize("kind", FEEDS)
def test_the_order_follows_from_the_seed(kind, experiment):
    def order(**changes):
        changed = with_config(experiment, **changes)
        feed = kind(changed, STEP)
        return [rows(feed.batch(step)) for step in (5, 0)]  # in any order

    assert order() == order()
    assert order()[0] != order(seed=1)[0]


@pytest.mark.parametrize("kind", FEEDS)
def test_batches_are_as_stored_with_beta_and_shared_out(kind, experiment):
    batch = kind(experiment, STEP).batch(3)
    assert batch["image"].dtype == np.uint8
    assert batch["image"].shape == (SIZE, 8, 8, 1)
    assert batch["image"].sharding.shard_shape(batch["image"].shape)[0] == SIZE // 8
    assert float(batch["beta"]) == pytest.approx(float(experiment.beta(3)))
    unconditional = experiment._replace(model=experiment.model.clone(classes=0))
    assert set(kind(unconditional, STEP).batch(0)) == {"image", "beta"}


def progress(experiment, step):
    """The state before the first step, and sums of nothing."""
    state = init_state(np.zeros(64, np.float32), optax.adam(0.01), quick.key(0))
    batch = jax.eval_shape(lambda: ResidentFeed(experiment, step).batch(0))
    sums = zero_sums(jax.eval_shape(step, state, batch)[1])
    return jax.device_put((state, sums), replicated(experiment.mesh))


@pytest.mark.parametrize("kind", [*FEEDS, functools.partial(ResidentFeed, fused=False)])
def test_training_that_is_interrupted_ends_as_one_that_is_not(kind, experiment):
    experiment = experiment._replace(mesh=linear.mesh(1))
    used, fresh = kind(experiment, STEP), kind(experiment, STEP)

    def end(*feeds_and_stops):
        carry = progress(experiment, STEP)
        for feed, stop in feeds_and_stops:
            carry = feed.advance(*carry, stop)
            assert int(carry[0].step) == stop
        state, sums = jax.device_get((carry[0]._replace(key=None), carry[1]))
        return jax.tree.leaves((state, sums)), int(sums.metrics["trained_on"])

    whole, trained_on = end((used, 4), (used, 8))
    assert trained_on == sum((np.asarray(used.batch(t)["image"]).astype(int) * WEIGHTS).sum() for t in range(8))
    interrupted, _ = end((used, 3), (fresh, 4), (fresh, 6), (used, 8))  # in mid-epoch, and from the step last seen
    for a, b in zip(whole, interrupted, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", FEEDS)
def test_training_ends_after_too_many_skipped_updates(kind, experiment):
    limited = with_config(experiment, max_skipped=2)
    step = train_step(lambda *arguments: (jnp.nan * loss(*arguments)[0], {}), optax.adam(0.01))
    state, _ = kind(limited, step).advance(*progress(experiment, step), 4)
    assert (int(state.step), int(state.skipped_in_row)) == (2, 2)
