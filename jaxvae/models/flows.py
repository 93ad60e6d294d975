"""Normalizing flows, which map a Gaussian's samples invertibly, given the features, for a richer posterior.

With z₀ ~ q₀ and z = f(z₀), log q(z) = log q₀(z₀) - Σ_l log_scale_l (Rezende & Mohamed 2015, arXiv:1505.05770). Latents
are (..., B, L), such as (K, B, L), and features are (B, F). Everything is computed in float32, whatever their dtype.
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
    """Returns (x - mean) / σ, which is the inverse of ``reparameterize``."""
    # Multiplies by 1/σ, because the derivative of a quotient contains 1/σ², which overflows sooner.
    p = q.parameterization
    return (x - q.mean) * p.transform.power(q.raw, -p.exponent)


def _interleave(even: Array, odd: Array) -> Array:
    """Returns x from x[..., 0::2] and x[..., 1::2]."""
    size = even.shape[-1] + odd.shape[-1]
    odd = jnp.pad(odd, [(0, 0)] * (odd.ndim - 1) + [(0, size % 2)])
    return jnp.stack([even, odd], axis=-1).reshape(*even.shape[:-1], -1)[..., :size]


class Coupling(nn.Module):
    """A network that computes shift and scale of some latents from the others and the features.

    At the start, the shift is 0 and the scale is 1.
    """

    hidden: tuple[int, ...]
    activation: str
    parameterization: Parameterization = squareplus_std

    @nn.compact
    def __call__(self, kept: Array, moved: Array, context: Array) -> Gaussian:
        """Returns shift and scale as a Gaussian of the shape of ``moved``.

        Args:
            kept: the latents that aren't moved, (..., B, N).
            moved: the latents that are moved, (..., B, M).
            context: the features, (B, F).
        """
        x = nn.Dense(self.hidden[0], name="latents")(kept)
        # The first layer's part for the features is computed once for all samples.
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
    """A normalizing flow of affine couplings, z' = shift + scale·z (Dinh et al. 2017, arXiv:1605.08803).

    Each step moves every other latent, given the rest: first the latents of odd index, then those of even index, and so
    on. An MLP computes (shift, raw) from the rest and the features, and the parameterization makes the scale from raw
    as it would make σ. The flow starts as the identity.

    With the default parameterization, the scale is a smooth function of raw. It is exactly 1 at raw = 0, and
    scale(-r) = 1/scale(r), so that the inverse grows no faster than the map. The scale grows like r and falls like 1/r,
    and log scale has a derivative of at most 1/2. Two moves of one latent at raw = 60 therefore give a factor of 3600.
    Under log_std the factor would be e^120, which overflows in float32.

    Attributes:
        steps: the number of couplings; with 2 or more, every latent moves.
        hidden: the widths of each coupling's MLP.
        activation: a name in ``ACTIVATIONS``.
        parameterization: how a scale arises from raw; its range must contain 1.

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
        """Returns f(z) and its log_scale, for latents z (..., B, L) and features (B, F).

        log_scale has z's shape, and its sum over the latents is log |det df/dz|.

        Raises:
            ValueError: for fewer than two latents, for an attribute out of range, or, at initialization, for a
                parameterization without a scale of 1.
        """
        return self._through(reparameterize, range(self.steps), z, context)

    def inverse(self, z: Array, context: Array) -> tuple[Array, Array]:
        """Returns the z₀ with f(z₀) = z, and the log_scale of f at z₀; shapes and errors are those of ``__call__``."""
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
