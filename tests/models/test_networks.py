import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick

from jaxvae.models import ACTIVATIONS, networks
from jaxvae.models.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder, ResidualBlock

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3), (7, 5, 3), (1, 9, 2), (9, 1, 1), (1, 1, 1)]
ENCODERS = [MLPEncoder, functools.partial(ConvEncoder, features=6)]
DECODERS = [MLPDecoder, functools.partial(ConvDecoder, features=6)]
KINDS = ["mlp", "conv"]


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def init(model, *inputs):
    return jax.jit(model.init)(quick.key(0), *inputs)


def decoder(make, shape=(7, 5, 2), bias=(0.5, -1.0), hidden=(4, 6), **options):
    return make(shape=shape, output_bias=bias, hidden=hidden, activation="relu", **options)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", ENCODERS, ids=KINDS)
def test_encoders_take_any_image(make, shape, dtype):
    encoder = make(hidden=(4, 6), activation="relu", dtype=dtype)
    x = jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    features, variables = jax.eval_shape(encoder.init_with_output, quick.key(0), x)
    assert features.shape == (3, 6)
    assert features.dtype == dtype
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", DECODERS, ids=KINDS)
def test_decoders_make_any_image_under_any_leading_axes(make, shape, dtype):
    model = decoder(make, shape, (0.0,) * shape[2], dtype=dtype)
    for leading in ((), (3,), (2, 3)):
        z = jax.ShapeDtypeStruct((*leading, 4), jnp.float32)
        outputs, variables = jax.eval_shape(model.init_with_output, quick.key(0), z)
        assert outputs.shape == (*leading, *shape)
        assert outputs.dtype == jnp.float32
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize("make", DECODERS, ids=KINDS)
def test_leading_axes_are_independent(make):
    model, z = decoder(make), random(2, 3, 4)
    variables, apply = init(model, z), jax.jit(model.apply)
    together, apart = apply(variables, z), jnp.stack([apply(variables, z[k]) for k in range(2)])
    np.testing.assert_allclose(together, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", ENCODERS, ids=KINDS)
def test_encoders_see_every_pixel(make):
    encoder, x = make(hidden=(4, 6), activation="gelu"), random(1, 7, 5, 3)
    slopes = jax.jit(jax.grad(lambda x: jnp.sum(encoder.init_with_output(quick.key(0), x)[0])))(x)
    assert (slopes != 0).all()


@pytest.mark.parametrize("make", DECODERS, ids=KINDS)
def test_decoders_start_about_the_output_bias(make):
    model, z = decoder(make), random(3, 4)
    variables = init(model, z)
    silent = jax.tree_util.tree_map_with_path(lambda path, x: 0 * x if "kernel" in str(path[-1]) else x, variables)
    outputs = jax.jit(model.apply)(silent, z)
    assert (outputs[..., 0] == 0.5).all()
    assert (outputs[..., 1] == -1.0).all()


def test_a_convolutional_decoder_starts_without_a_checkerboard():
    model, z = decoder(ConvDecoder, shape=(8, 8, 2)), random(3, 4)
    images = jax.jit(model.apply)(init(model, z), z)
    squares = images.reshape(3, 4, 2, 4, 2, 2)
    assert (squares == squares[:, :, :1, :, :1]).all()
    assert jnp.std(images[..., 0]) > 0


@pytest.mark.parametrize("make", DECODERS, ids=KINDS)
def test_bfloat16_is_what_is_computed_in(make):
    model, z = decoder(make), random(3, 4)
    variables = init(model, z)
    exact, rounded = (jax.jit(m.apply)(variables, z) for m in (model, decoder(make, dtype=jnp.bfloat16)))
    assert (rounded == rounded.astype(jnp.bfloat16)).all()
    assert (rounded != exact).any()
    # Ten layers or fewer, each of which rounds its numbers, no larger than the largest, to 2^-8 of themselves.
    assert jnp.abs(rounded - exact).max() <= 10 * 2.0**-8 * jnp.abs(exact).max()


@pytest.mark.slow
@pytest.mark.parametrize("make", [*ENCODERS, *(functools.partial(decoder, d) for d in DECODERS)])
def test_what_is_beside_is_seen(make):
    model = make(hidden=(4, 6), activation="relu") if make in ENCODERS else make()
    x = random(2, 7, 5, 2) if make in ENCODERS else random(2, 4)
    apples, pears = jnp.eye(3)[:2], jnp.eye(3)[np.array([0, 2])]
    variables, apply = init(model, x, apples), jax.jit(model.apply)
    a, b = (apply(variables, x, beside) for beside in (apples, pears))
    assert (a[0] == b[0]).all()
    assert (a[1] != b[1]).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_residual_block_starts_as_the_identity_and_learns(name):
    x = random(2, 3, 5, 4)
    block = ResidualBlock(name)
    y, variables = jax.jit(block.init_with_output)(quick.key(0), x)
    assert (y == x).all()
    slopes = jax.jit(jax.grad(lambda v: jnp.sum(jnp.square(block.apply(v, x)))))(variables)["params"]
    assert (slopes["Conv_1"]["kernel"] != 0).any()


def test_pixels_are_unshuffled_into_channels_and_back():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    y = networks._pixel_unshuffle(x)
    assert y.shape == (2, 2, 3, 12)
    for a in (0, 1):
        for b in (0, 1):
            start = (2 * a + b) * 3
            assert (y[..., start : start + 3] == x[:, a::2, b::2]).all()
    assert (networks._pixel_shuffle(y, (2, 2)) == x).all()


def test_odd_sizes_are_filled_up_with_zeros():
    x = 1 + np.arange(15.0).reshape(1, 3, 5, 1)
    back = networks._pixel_shuffle(networks._pixel_unshuffle(x), (2, 2))
    assert back.shape == (1, 4, 6, 1)
    assert (back[:, :3, :5] == x).all()
    assert back.sum() == x.sum()


@pytest.mark.parametrize("shape", [(1, 7, 1, 2), (1, 1, 7, 2)])
def test_an_axis_of_length_1_is_not_filled_up(shape):
    x = np.ones(shape)
    y = networks._pixel_unshuffle(x)
    assert (sorted(y.shape[1:3]), y.shape[3], y.sum()) == ([1, 4], 4, x.sum())
    factors = networks._factors(shape[1:3])
    assert networks._pixel_shuffle(y, factors).shape == tuple(8 if n == 7 else n for n in shape)
