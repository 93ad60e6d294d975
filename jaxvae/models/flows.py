"""Normalizing flows: invertible maps of a Gaussian's samples, given the features, for a richer posterior.

With z₀ ~ q₀ and z = f(z₀), log q(z) = log q₀(z₀) - Σ_l log_scale_l (Rezende & Mohamed 2015, arXiv:1505.05770).
Latents are (..., B, L), such as (K, B, L), and features (B, F); everything is float32 whatever their dtype.
"""

from collections.abc import Callable, Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from jaxvae.arguments import require
from jaxvae.gaussian import Gaussian, reparameterize
from jaxvae.models.networks import ACTIVATIONS, MLP
from jaxvae.parameterizations import Parameterization, squareplus_std


def _standardize(q: Gaussian, x: Array) -> Array:
    """(x - mean) / σ, which undoes ``reparameterize``."""
    # By way of 1/σ: the slope of a quotient has a 1/σ², which overflows sooner.
    p = q.parameterization
    return (x - q.mean) * p.transform.power(q.raw, -p.exponent)


def _interleave(even: Array, odd: Array) -> Array:
    """x from x[..., 0::2] and x[..., 1::2]."""
    size = even.shape[-1] + odd.shape[-1]
    odd = jnp.pad(odd, [(0, 0)] * (odd.ndim - 1) + [(0, size % 2)])
    return jnp.stack([even, odd], axis=-1).reshape(*even.shape[:-1], -1)[..., :size]


class Coupling(nn.Module):
    """A network from some latents and the features to the shift and scale of the others: 0 and 1 at the start."""

    hidden: tuple[int, ...]
    activation: str
    parameterization: Parameterization = squareplus_std

    @nn.compact
    def __call__(self, kept: Array, moved: Array, context: Array) -> Gaussian:
        """A Gaussian of the shape of ``moved`` (..., B, M), from ``kept`` (..., B, N) and features (B, F)."""
        x = nn.Dense(self.hidden[0], name="latents")(kept)
        # The first layer's share of the features: once for all samples.
        shared = nn.Dense(self.hidden[0], use_bias=False, name="context")(context)
        x = ACTIVATIONS[self.activation](x + jnp.broadcast_to(shared, x.shape))
        x = MLP(self.hidden[1:], self.activation)(x)
        width, zeros = moved.shape[-1], nn.initializers.zeros
        loc = nn.Dense(width, kernel_init=zeros, name="loc")(x)
        raw = nn.Dense(width, kernel_init=zeros, bias_init=self._raw_bias, name="raw")(x)
        return Gaussian(loc, raw, self.parameterization)

    def _raw_bias(self, key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        del key
        with jax.ensure_compile_time_eval():  # so that a range without 1 is refused under jit, too
            raw = self.parameterization.raw_from_std(1.0)
        return jnp.full(shape, raw, dtype)


class CouplingFlow(nn.Module):
    """Affine couplings z' = shift + scale·z of every other latent, given the rest (Dinh et al. 2017, arXiv:1605.08803).

    Steps move the latents of odd and of even index in turn. An MLP of the others and the features gives (shift, raw),
    and the parameterization makes scale of raw as it would make σ. The flow starts as the identity.

    The default is smooth, exactly 1 at raw = 0, and scale(-r) = 1/scale(r), so that the inverse grows no faster than
    the map. It grows like r and falls like 1/r, and log scale has a derivative of at most 1/2. So two moves of one
    latent at raw = 60 come to a factor of 3600, where under log_std they would come to e^120, which overflows in
    float32.

    Attributes:
        steps: the number of couplings; from 2 on, every latent moves.
        hidden: the widths of each coupling's MLP.
        activation: a name in ``ACTIVATIONS``.
        parameterization: how a scale arises from raw; its range must have 1 in it.

    >>> flow = CouplingFlow(steps=2, hidden=(8,), activation="tanh")
    >>> z, context = jnp.ones((5, 3, 4)), jnp.ones((3, 6))
    >>> (transformed, log_scale), _ = flow.init_with_output(jax.random.key(0), z, context)
    >>> bool((transformed == z).all()), log_scale.shape
    (True, (5, 3, 4))
    """

    steps: int
    hidden: tuple[int, ...]
    activation: str
    parameterization: Parameterization = squareplus_std

    def setup(self) -> None:
        require(self.steps >= 1, "steps", self.steps, "at least 1")
        require(len(self.hidden) > 0, "hidden", self.hidden, "one or more widths")
        require(self.activation in ACTIVATIONS, "activation", self.activation, "one of " + ", ".join(ACTIVATIONS))
        self.couplings = [Coupling(self.hidden, self.activation, self.parameterization) for _ in range(self.steps)]

    def __call__(self, z: Array, context: Array) -> tuple[Array, Array]:
        """f(z) of latents (..., B, L) under features (B, F), and log_scale of z's shape: log |det df/dz|, by latents.

        Raises:
            ValueError: for fewer than two latents, an attribute out of range, or, at initialization, a
                parameterization without a scale of 1.
        """
        return self._through(reparameterize, range(self.steps), z, context)

    def inverse(self, z: Array, context: Array) -> tuple[Array, Array]:
        """The inverse: z₀ with f(z₀) = z, and the log_scale of f there; shapes and errors are those of the call."""
        return self._through(_standardize, reversed(range(self.steps)), z, context)

    def _through(
        self, move: Callable[[Gaussian, Array], Array], order: Iterable[int], z: Array, context: Array
    ) -> tuple[Array, Array]:
        require(z.shape[-1] >= 2, "latents", z.shape[-1], "at least 2, as some are to move given the others")
        z, context = z.astype(jnp.float32), context.astype(jnp.float32)
        halves = [z[..., 0::2], z[..., 1::2]]
        log_scales = [jnp.zeros_like(half) for half in halves]
        for step in order:
            kept, moved = step % 2, 1 - step % 2
            q = self.couplings[step](halves[kept], halves[moved], context)
            halves[moved] = move(q, halves[moved])
            log_scales[moved] += q.log_std
        return _interleave(*halves), _interleave(*log_scales)
