import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import linear
import numpy as np
import optax
import pytest
import quick

from jaxvae.data import Reading, Split, stream
from jaxvae.training import TrainConfig, init_state, make_experiment, train_step
from jaxvae.training.batches import IterableFeed, ResidentFeed, StreamingFeed
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
    assert (np.asarray(batch["given"])[:, 0] == numbers % 10).all()
    return numbers.tolist()


WEIGHTS = 1 + np.arange(SIZE)[:, None, None, None]


def loss(params, batch, key):
    """Depends on batch, key and β; its metric tells the batch's images and their order."""
    x = batch["image"].reshape(SIZE, 64) / 16 + jax.random.normal(key, (SIZE, 64))
    error = jnp.mean(jnp.square(x @ params - batch["given"][:, 0])) + batch["beta"] * jnp.sum(jnp.abs(params))
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
    unconditional = experiment._replace(model=experiment.model.clone(conditions=()))
    assert set(kind(unconditional, STEP).batch(0)) == {"image", "beta"}


def progress(experiment, step):
    """The state before the first step, and sums of nothing."""
    state = init_state(np.zeros(64, np.float32), optax.adam(0.01), quick.key(0))
    batch = jax.eval_shape(lambda: ResidentFeed(experiment, step).batch(0))
    sums = zero_sums(jax.eval_shape(step, state, batch)[1])
    return jax.device_put((state, sums), replicated(experiment.mesh))


@pytest.mark.slow
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


def given(experiment):
    """A loader of the batches that ``StreamingFeed`` has: two epochs, gone through again and again, with a rest."""
    train = experiment.dataset.train
    batches = list(itertools.islice(stream(train, SIZE, experiment.config.seed), 8))
    return [(batch["image"], batch["label"]) for batch in batches] + [(train.images[:3], train.labels[:3])]


def test_given_batches_train_as_the_same_ones_that_are_streamed(experiment):
    experiment = experiment._replace(mesh=linear.mesh(1))
    ends = []
    for feed in (StreamingFeed(experiment, STEP), IterableFeed(experiment, STEP, given(experiment))):
        carry = progress(experiment, STEP)
        for stop in (3, 4, 8):
            carry = feed.advance(*carry, stop)
        ends.append(jax.tree.leaves(jax.device_get((carry[0]._replace(key=None), carry[1]))))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


def test_given_batches_go_on_where_a_run_is_resumed_and_begin_again_where_they_end(experiment):
    loader = given(experiment)
    used, fresh = (IterableFeed(experiment, STEP, loader) for _ in range(2))
    carry = used.advance(*progress(experiment, STEP), 2)
    carry = fresh.advance(*carry, 11)  # the ninth is the first again
    assert int(carry[0].step) == 11
    for step in (2, 7, 8, 10):
        np.testing.assert_array_equal(fresh.batch(step)["image"], loader[step % 8][0])
        assert float(fresh.batch(step)["beta"]) == pytest.approx(float(experiment.beta(step)))
    assert int(carry[1].metrics["trained_on"]) == sum((loader[t % 8][0].astype(int) * WEIGHTS).sum() for t in range(11))


def test_given_batches_are_seen_as_the_data_are(experiment):
    def images(changes, **config):
        changed = with_config(experiment, **config)
        contract = dataclasses.replace(experiment.contract, **changes)
        feed = IterableFeed(changed._replace(contract=contract), STEP, [(x, labels)])
        next(feed._read(0))
        return np.asarray(feed.batch(0)["image"])

    x, labels = given(experiment)[0]
    np.testing.assert_array_equal(images({}), x)
    threshold = images({"binarization": "threshold"}, binarization="threshold")
    np.testing.assert_array_equal(threshold, x > 8)
    assert threshold.dtype == np.uint8
    x = x.astype(np.float32)
    ranged = images({"levels": None, "reading": Reading(value_range=(-16, 16))})
    np.testing.assert_array_equal(ranged, (x + 16) / 32)
    with pytest.raises(ValueError, match=r"^binarization must be another one for batches, .*, got 'fixed'$"):
        images({}, binarization="fixed")


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (
            lambda loader: iter(loader[:3]),
            "^batches must be enough for 12 steps, or an iterable that .*, got 'an iterator that ended after 3'$",
        ),
        (
            lambda loader: [(x[:8], y[:8]) for x, y in loader],
            "^batch 0: number of images must be 16, the batch size; only .*, got 8$",
        ),
        (lambda loader: [(x[:, :4], y) for x, y in loader], r"^batch of step 0: images must be as in training, "),
        (lambda loader: [x for x, _ in loader], "^labels must be given, 0 to 9: the model is conditional, got None$"),
    ],
)
def test_given_batches_that_do_not_fit_are_refused_in_one_line(experiment, batches, message):
    feed = IterableFeed(experiment, STEP, batches(given(experiment)))
    with pytest.raises(ValueError, match=message) as error:
        feed.advance(*progress(experiment, STEP), 12)
    assert "\n" not in str(error.value)


def test_given_batches_end_after_too_many_skipped_updates_and_the_first_is_known(experiment):
    limited = with_config(experiment, max_skipped=2)
    step = train_step(lambda *arguments: (jnp.nan * loss(*arguments)[0], {}), optax.adam(0.01))
    feed = IterableFeed(limited, step, iter(given(experiment)))
    state, _ = feed.advance(*progress(experiment, step), 4)
    assert (int(state.step), int(state.skipped_in_row)) == (2, 2)
    np.testing.assert_array_equal(feed.batch(0)["image"], given(experiment)[0][0])
