"""A Flax model and a jitted step, as one would write them down, fed from the host in float32."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxvae as jv
from benchmarks.contestants import Model
from benchmarks.peers import flax_vae, ours
from jaxvae.models.networks import ACTIVATIONS, ConvDecoder, ConvEncoder


def host_batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Rows of each batch, epoch after epoch."""
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            yield order[start : start + batch_size]


class Net(nn.Module):
    """Pixels (B, 784) to logits (B, 784) and KL (B, L); the networks of convolutions are the library's."""

    model: Model

    @nn.compact
    def __call__(self, x: jax.Array, noise: jax.Array, gaussian: Any) -> tuple[jax.Array, jax.Array]:
        model = self.model
        conv = {"hidden": model.hidden, "activation": model.activation}
        if model.architecture == "conv":
            h = ConvEncoder(**conv)(x.reshape(-1, 28, 28, 1))
        else:
            h = self.dense(x, model.hidden)
        z, kl = gaussian(nn.Dense(model.latents)(h), nn.Dense(model.latents)(h), noise)
        if model.architecture == "conv":
            return ConvDecoder((28, 28, 1), (0.0,), **conv)(z).reshape(x.shape), kl
        return nn.Dense(784)(self.dense(z, model.hidden[::-1])), kl

    def dense(self, x: jax.Array, widths: tuple[int, ...]) -> jax.Array:
        """Layers of these widths."""
        for width in widths:
            x = ACTIVATIONS[self.model.activation](nn.Dense(width)(x))
        return x


def by_hand(images: np.ndarray, model: Model, batch_size: int, *, exact: bool = False) -> tuple:
    """All by hand; or, ``exact``, all but (z, KL), which are the library's."""
    net, optimizer = Net(model), optax.adam(1e-3)
    form = ours(jv.log_variance).apply if exact else flax_vae

    def loss(params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        logits, kl = net.apply(params, x, jax.random.normal(key, (len(x), model.latents)), form)
        cross_entropy = -jnp.sum(x * nn.log_sigmoid(logits) + (1 - x) * nn.log_sigmoid(-logits), axis=-1)
        return jnp.mean(cross_entropy + jnp.sum(kl, axis=-1))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, opt_state: Any, x: np.ndarray, key: jax.Array, i: int) -> tuple:
        value, grads = jax.value_and_grad(loss)(params, x, jax.random.fold_in(key, i))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    key = jax.random.key(0)
    data = images.reshape(len(images), -1).astype(np.float32) / 255
    batches = enumerate(host_batches(images, batch_size))
    start = jax.jit(lambda key: net.init(key, data[:1], jnp.zeros((1, model.latents)), form))
    params = start(key)
    opt_state = optimizer.init(params)
    # Convolutions on a CPU are several times slower where calls overlap.
    waits = model.architecture == "conv" and jax.default_backend() == "cpu"

    def advance(steps: int) -> dict[str, Any]:
        nonlocal params, opt_state
        for _ in range(steps):
            i, rows = next(batches)
            params, opt_state, value = step(params, opt_state, data[rows], key, i)
            if waits:
                jax.block_until_ready(params)
        return {"loss": float(jax.block_until_ready((params, value))[1])}

    return jax.devices()[0].device_kind, advance
