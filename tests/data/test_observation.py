import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvae.data import binarize, from_arrays, load
from jaxvae.data import observe as observe_eagerly
from jaxvae.data.dataset import assemble

KEY = jax.random.key(0)
observe = jax.jit(observe_eagerly, static_argnames=("levels", "dynamic", "dtype"))


def greys(levels, rows):
    """Every grey level once a row."""
    return np.tile(np.arange(levels, dtype=np.uint8), (rows, 1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("levels", [2, 17, 42, 256])  # 41 * float32(1/41) is not 1
def test_static_observation_is_the_fraction(levels, dtype):
    x = observe(KEY, greys(levels, 1), levels, dynamic=False, dtype=dtype)
    assert x.dtype == dtype
    expected = np.arange(levels) / (levels - 1)
    # 1.5 ulp for the product with a rounded reciprocal, and half an ulp for the rounding to dtype.
    tolerance = 2 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(x[0], np.float64), expected, rtol=tolerance, atol=0)
    assert (float(x[0, 0]), float(x[0, -1])) == (0, 1)


@pytest.mark.parametrize("levels", [3, 17, 256])
def test_probabilities_are_right_to_2_to_the_minus_17(levels, monkeypatch):
    # All 2^16 halves once, so that the mean is the probability itself.
    halves = np.arange(2**16, dtype=np.uint32)
    words = halves[::2] | halves[1::2] << 16
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: jnp.broadcast_to(jnp.asarray(words), shape))
    images = np.repeat(np.arange(levels, dtype=np.uint8)[:, None], 2**16, axis=1)
    probabilities = np.asarray(observe_eagerly(KEY, images, levels, dynamic=True)).mean(axis=1, dtype=np.float64)
    error = np.abs(probabilities - np.arange(levels) / (levels - 1))
    assert error.max() <= 2.0**-17 + 2.0**-40
    assert (probabilities[0], probabilities[-1]) == (0, 1)


@pytest.mark.parametrize("levels", [17, 256])
def test_frequencies_are_those_of_the_greys(levels):
    rows = 20_000
    x = np.asarray(observe(KEY, greys(levels, rows), levels, dynamic=True))
    assert set(np.unique(x)) == {0, 1}
    p = np.arange(levels) / (levels - 1)
    assert (x[:, 0] == 0).all()
    assert (x[:, -1] == 1).all()
    z = (x.mean(axis=0) - p)[1:-1] / np.sqrt(p * (1 - p) / rows)[1:-1]
    assert np.abs(z).max() < 4.5
    # The mean of (levels - 2) squares of standard normals, whose variance is 2.
    assert abs(np.mean(z**2) - 1) < 4 * np.sqrt(2 / (levels - 2))


def test_pixels_that_share_a_word_are_independent():
    x = np.asarray(observe(KEY, np.full((1000, 200), 8, np.uint8), 17, dynamic=True)) - 0.5
    for product in (x[:, ::2] * x[:, 1::2], x[:, 1:-1:2] * x[:, 2::2], x[:-1] * x[1:]):
        assert abs(product.mean()) < 4 * 0.25 / np.sqrt(product.size)  # of values +-1/4


def test_each_key_draws_its_own():
    images = np.full((4, 28, 28, 1), 8, np.uint8)
    first, again = observe(KEY, images, 17, dynamic=True), observe_eagerly(KEY, images, 17, dynamic=True)
    other = observe(jax.random.key(1), images, 17, dynamic=True)
    np.testing.assert_array_equal(first, again)
    disagree = np.mean(np.asarray(first) != np.asarray(other))
    assert abs(disagree - 0.5) < 4 * 0.5 / np.sqrt(images.size)


@pytest.mark.parametrize(("levels", "shape"), [(17, ()), (17, (3,)), (17, (2, 3, 5, 1)), (None, ()), (None, (5, 7))])
def test_any_shape_goes(levels, shape):
    images = np.ones(shape, np.float32) if levels is None else np.full(shape, levels - 1, np.uint8)
    for dynamic in (False, True):
        x = observe(KEY, images, levels, dynamic, dtype=jnp.bfloat16)
        assert (x.shape, x.dtype) == (shape, jnp.bfloat16)
        assert (np.asarray(x) == 1).all()


def test_floats_are_seen_as_they_are_or_drawn_in_full_precision():
    p = np.array([0, 1e-5, 0.3, 1 - 1e-5, 1], np.float32)
    images = np.tile(p, (400_000, 1))
    np.testing.assert_array_equal(observe(KEY, images, None, dynamic=False), images)
    x = np.asarray(observe(KEY, images, None, dynamic=True))
    assert set(np.unique(x)) == {0, 1}
    p = p.astype(np.float64)
    assert (np.abs(x.mean(axis=0, dtype=np.float64) - p) <= 4 * np.sqrt(p * (1 - p) / len(x))).all()
    assert 0 < x[:, 1].sum() < 20  # of a mean of 4


def test_dtype_and_levels_have_to_agree():
    with pytest.raises(TypeError, match="images must be integer for levels=17"):
        observe(KEY, np.zeros((2, 2), np.float32), 17, dynamic=True)
    with pytest.raises(TypeError, match="images must be float for levels=None"):
        observe(KEY, np.zeros((2, 2), np.uint8), None, dynamic=True)


def test_shards_draw_the_same_without_talking():
    images = np.random.default_rng(0).integers(0, 17, (16, 3, 5, 1), np.uint8)  # odd: a word is left half used
    draw = jax.jit(lambda key, x: observe(key, x, 17, dynamic=True))
    expected = draw(KEY, images)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    sharded = jax.device_put(images, sharding)
    x = draw(KEY, sharded)
    np.testing.assert_array_equal(x, expected)
    assert x.sharding.is_equivalent_to(sharding, x.ndim)
    program = draw.lower(KEY, sharded).compile().as_text()
    assert not [word for word in ("all-gather", "all-reduce", "all-to-all", "permute") if word in program]


def test_vmap_draws_as_one_by_one():
    images = np.random.default_rng(0).integers(0, 17, (3, 4, 8, 8, 1), np.uint8)
    keys = jax.random.split(KEY, 3)
    x = jax.vmap(lambda key, x: observe(key, x, 17, dynamic=True))(keys, images)
    for i in range(3):
        np.testing.assert_array_equal(x[i], observe(keys[i], images[i], 17, dynamic=True))


def floats(data):
    scaled = {name: split.images.astype(np.float32) / 16 for name, split in data.splits.items()}
    return assemble("floats", scaled, {name: split.labels for name, split in data.splits.items()}, None)


def test_none_and_dynamic_leave_the_dataset_alone():
    data = load("digits")
    assert binarize(data, "none", seed=0) is data
    assert binarize(data, "dynamic", seed=0) is data


@pytest.mark.parametrize("convert", [lambda data: data, floats])
def test_threshold_is_half_of_the_range(convert):
    data = load("digits")
    binary = binarize(convert(data), "threshold", seed=0)
    assert (binary.levels, binary.classes) == (2, 10)
    for name, split in binary.splits.items():
        np.testing.assert_array_equal(split.images, data.splits[name].images >= 8)
        assert split.images.dtype == np.uint8
        np.testing.assert_array_equal(split.labels, data.splits[name].labels)


@pytest.mark.parametrize("convert", [lambda data: data, floats])
def test_fixed_draws_once_with_the_right_frequencies(convert):
    data = load("digits")
    binary = binarize(convert(data), "fixed", seed=0)
    assert binary.levels == 2
    for name, split in binary.splits.items():
        greys = data.splits[name].images
        assert split.images.dtype == np.uint8
        assert (split.images[greys == 0] == 0).all()
        assert (split.images[greys == 16] == 1).all()
        for v in range(1, 16):
            drawn, p = split.images[greys == v], v / 16
            assert abs(drawn.mean() - p) < 4.5 * np.sqrt(p * (1 - p) / drawn.size)


def test_fixed_is_the_seeds_alone():
    data = load("digits")
    # Written down, so that another machine or another NumPy has to give the same.
    assert [int(s.images.sum()) for s in binarize(data, "fixed", seed=0).splits.values()] == [25219, 3935, 5849]
    first, again, other = (binarize(data, "fixed", seed=s).train.images for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    same = dataclasses.replace(data, test=data.train)
    streams = binarize(same, "fixed", seed=1)
    assert (streams.train.images != streams.test.images).any()  # each split has a stream of its own


def test_fixed_does_not_depend_on_the_chunk(monkeypatch):
    data = load("digits")
    expected = binarize(data, "fixed", seed=3).train.images
    monkeypatch.setattr("jaxvae.data.observation._CHUNK", 64)
    np.testing.assert_array_equal(binarize(data, "fixed", seed=3).train.images, expected)


def test_binary_data_stay_what_they_are():
    data = binarize(load("digits"), "threshold", seed=0)
    for method in ("threshold", "fixed"):
        np.testing.assert_array_equal(binarize(data, method, seed=0).train.images, data.train.images)


@pytest.mark.parametrize(
    ("method", "seed", "message"),
    [
        ("otsu", 0, "binarize must be 'none' or 'dynamic' or 'threshold' or 'fixed', got 'otsu'"),
        ("fixed", -1, r"seed must be at least 0 and below 2\*\*64, got -1"),
    ],
)
def test_binarize_is_checked(method, seed, message):
    with pytest.raises(ValueError, match=message):
        binarize(load("digits"), method, seed)


def test_nothing_is_made_of_what_is_missing():
    images = np.random.default_rng(0).random((10, 4))
    data = from_arrays(images, mask=np.arange(40).reshape(10, 4) == 7)
    assert binarize(data, "none", seed=0) is data
    with pytest.raises(ValueError, match="binarize must be none where entries are missing, got 'fixed'"):
        binarize(data, "fixed", seed=0)
