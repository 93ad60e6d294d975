"""An encoder and a decoder of sequences, made of gated recurrent units (Cho et al. 2014, arXiv:1406.1078).

A sequence is an image (T, W, C), with T steps of W·C numbers each. JAX scans the steps. Every step sees ``beside``, as
in ``networks``.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxvae.models.networks import repeated, with_beside


class RecurrentEncoder(nn.Module):
    """An encoder of gated recurrent units, from (B, T, W, C) to (B, 2 F).

    The first layers run forwards. The last layer runs forwards and, with weights of its own, backwards. Its last states
    in both directions are the features, so that neither end of a sequence is far from them.

    Attributes:
        hidden: the width of each layer's state; F is the last one.
        dtype: the dtype to compute in; states, which accumulate rounding errors over time, are float32.
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
    """The mirror image of ``RecurrentEncoder``, from (..., L) to (..., *shape).

    A layer's first state is a dense function of the latents, and every step sees the latents, too. No step sees the
    outputs of an earlier step, so that the latents alone determine a sequence.

    Attributes:
        shape: the shape of one sequence's outputs, (T, W, K).
        output_bias: the outputs at the start, of every step's position.
        hidden: the width of each layer's state, in the encoder's order.
        dtype: the dtype to compute in.
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
