"""Encoder and decoder of sequences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import quick
from representatives import each

from jaxvae.models.recurrent import RecurrentDecoder, RecurrentEncoder

HIDDEN = (3, 4)


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def made(model, *inputs):
    return jax.jit(model.init)(quick.key(0), *inputs)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", each((jnp.float32, jnp.bfloat16), kept=(jnp.float32,)))
def test_features_are_the_states_at_both_ends_and_see_every_step(dtype):
    encoder, x = RecurrentEncoder(HIDDEN, dtype=dtype), random(2, 6, 1, 3)
    variables = made(encoder, x)
    features, back = jax.vjp(jax.jit(lambda x: encoder.apply(variables, x)), x)
    assert (features.shape, features.dtype) == ((2, 8), dtype)
    assert (back(jnp.ones_like(features))[0] != 0).all()


def test_features_know_the_order_of_time():
    encoder, x = RecurrentEncoder(HIDDEN), random(2, 6, 1, 3)
    apply, variables = jax.jit(encoder.apply), made(encoder, x)
    assert jnp.abs(apply(variables, x) - apply(variables, x[:, ::-1])).max() > 1e-2


@pytest.mark.slow
def test_a_decoder_takes_any_leading_axes_and_starts_at_its_bias():
    decoder, z = RecurrentDecoder((5, 1, 2), (0.5, -1.0), HIDDEN), random(3, 2, 4)
    variables = made(decoder, z)
    apply = jax.jit(decoder.apply)
    together = apply(variables, z)
    assert (together.shape, together.dtype) == ((3, 2, 5, 1, 2), jnp.float32)
    np.testing.assert_allclose(together[1], apply(variables, z[1]), rtol=1e-5, atol=1e-6)
    silent = jax.tree_util.tree_map_with_path(
        lambda path, x: 0 * x if "outputs" in str(path) and x.ndim > 1 else x, variables
    )
    assert (np.asarray(apply(silent, z)) == [0.5, -1.0]).all()


@pytest.mark.slow
def test_what_is_beside_is_seen():
    x, z, beside = random(2, 6, 1, 3), random(2, 4), jnp.eye(2)
    for model, given in ((RecurrentEncoder(HIDDEN), x), (RecurrentDecoder((6, 1, 3), (0.0,), HIDDEN), z)):
        variables, apply = made(model, given, beside), jax.jit(model.apply)
        assert (apply(variables, given, beside) != apply(variables, given, beside[::-1])).any()


@pytest.mark.slow
def test_latents_can_say_when_something_happens():
    decoder, z = RecurrentDecoder((6, 1, 1), (0.0,), (8,)), jnp.eye(6)
    tx = optax.adam(3e-2)

    def loss(variables):
        return jnp.mean((decoder.apply(variables, z)[..., 0, 0] - jnp.eye(6)) ** 2)

    def step(carry, _):
        variables, state = carry
        updates, state = tx.update(jax.grad(loss)(variables), state)
        return (optax.apply_updates(variables, updates), state), None

    @jax.jit
    def trained(variables):
        return jax.lax.scan(step, (variables, tx.init(variables)), None, 300)[0][0]

    assert loss(trained(made(decoder, z))) < 0.01 < 0.1 < loss(made(decoder, z))
