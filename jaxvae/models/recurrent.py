"""Encoder and decoder of sequences, as gated recurrent units (Cho et al. 2014, arXiv:1406.1078) that JAX scans.

A sequence is an image (T, W, C), T its steps, each of W·C numbers. Every step sees ``beside``, as of ``networks``.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxvae.models.networks import repeated, with_beside


class RecurrentEncoder(nn.Module):
    """Layers of gated recurrent units, whose last states at both ends are the features: (B, T, W, C) to (B, 2 F).

    The first layers run forwards; the last runs forwards and, with weights of its own, backwards, so that neither end
    of a sequence is far from the features.

    Attributes:
        hidden: the width of each layer's state; F is the last one.
        dtype: what is computed in; states, which gather rounding errors over time, are float32.
    """

    hidden: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, beside: Array | None = None) -> Array:
        steps = jax.lax.collapse(x, 2).astype(self.dtype)
        steps = with_beside(steps, None if beside is None else beside[:, None])
        for width in self.hidden[:-1]:
            steps = nn.RNN(nn.GRUCell(width, dtype=self.dtype))(steps)
        ends = []
        for reverse in (False, True):
            cell = nn.GRUCell(self.hidden[-1], dtype=self.dtype)
            ends.append(nn.RNN(cell, return_carry=True, reverse=reverse)(steps)[0])
        return jnp.concatenate(ends, axis=-1).astype(self.dtype)


class RecurrentDecoder(nn.Module):
    """The mirror image of ``RecurrentEncoder``: (..., L) to (..., *shape).

    A layer's first state is a dense function of the latents, which every step sees, too; none sees what an earlier one
    gave out, so that the latents alone say what a sequence is.

    Attributes:
        shape: that of one sequence's outputs, (T, W, K).
        output_bias: the outputs at the start, of every step's position.
        hidden: the width of each layer's state, as the encoder has them.
        dtype: what is computed in.
    """

    shape: tuple[int, int, int]
    output_bias: tuple[float, ...]
    hidden: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Array, beside: Array | None = None) -> Array:
        given = with_beside(z.astype(self.dtype), beside)
        given = given.reshape(-1, given.shape[-1])
        steps = jnp.broadcast_to(given[:, None], (len(given), self.shape[0], given.shape[-1]))
        for width in self.hidden[::-1]:
            first = nn.tanh(nn.Dense(width, dtype=self.dtype)(given))
            steps = nn.RNN(nn.GRUCell(width, dtype=self.dtype))(steps, initial_carry=first)
        size = math.prod(self.shape[1:])
        outputs = nn.Dense(size, dtype=self.dtype, bias_init=repeated(self.output_bias), name="outputs")(steps)
        return outputs.reshape(*z.shape[:-1], *self.shape).astype(jnp.float32)
