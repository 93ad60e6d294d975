"""Every parameterization as one writes it by hand: one exp, softplus or sigmoid, a square root where it must be.

These are what the library's price is set against (``benchmarks.price``): the plain formula, of NumPy's and JAX's own
functions, in the dtype of the raw number, without a thought for digits. A logarithmic one never takes a log; of the
others σ and its log are made of the quantity, and both KLs are the textbook's.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

import jaxvae as jv
from benchmarks.peers import Form
from jaxvae.chains import Clip
from jaxvae.transforms import Transform

TRANSFORMS: dict[type[Transform], Callable[..., Array]] = {
    jv.Exp: lambda t, r: jnp.exp(r),
    jv.Softplus: lambda t, r: jax.nn.softplus(r) if t.beta == 1 else jax.nn.softplus(t.beta * r) / t.beta,
    jv.Squareplus: lambda t, r: (r + jnp.sqrt(r * r + 4)) / 2,
    jv.ExpLinear: lambda t, r: jnp.where(r > 0, 1 + r, jnp.exp(jnp.minimum(r, 0))),
    jv.Sigmoid: lambda t, r: jax.nn.sigmoid(r) if (t.low, t.high) == (0, 1) else t.low + t.width * jax.nn.sigmoid(r),
    jv.HalfBounded: lambda t, r: t.high / 2 * jnp.where(r > 0, 2 - jnp.exp(-jnp.abs(r)), jnp.exp(-jnp.abs(r))),
    jv.Identity: lambda t, r: r,
    jv.Abs: lambda t, r: jnp.abs(r),
    jv.Square: lambda t, r: r * r,
}
CLIPS: dict[type[Clip], Callable[..., Array]] = {
    jv.Affine: lambda c, r: c.scale * r + c.shift if c.shift else c.scale * r,
    jv.HardClip: lambda c, r: jnp.clip(r, c.low if c.low > -jnp.inf else None, c.high if c.high < jnp.inf else None),
    jv.TanhClip: lambda c, r: c.bound * jnp.tanh(r / c.bound),
    jv.SoftClip: lambda c, r: soft_clip(c, r),
}
"""One line for each; a chain is theirs in turn, with its floor added."""


def soft_clip(c: jv.SoftClip, r: Array) -> Array:
    """By two softpluses, as PETS writes it."""
    if c.high < jnp.inf:
        r = c.high - jax.nn.softplus(c.high - r)
    return c.low + jax.nn.softplus(r - c.low) if c.low > -jnp.inf else r


def by_hand(p: jv.Parameterization) -> Form:
    """The parameterization, written out."""
    chain = p.transform if isinstance(p.transform, jv.Chain) else jv.Chain(p.transform)
    logarithmic = isinstance(chain.transform, jv.Exp) and chain.floor is None
    natural = isinstance(p, jv.NaturalParameterization)

    def clipped(r: Array) -> Array:
        for clip in chain.clips:
            r = CLIPS[type(clip)](clip, r)
        return r

    def quantity(r: Array) -> Array:
        value = TRANSFORMS[type(chain.transform)](chain.transform, clipped(r))
        return value + chain.floor.low if chain.floor else value

    def std_and_variance(r: Array) -> tuple[Array, Array]:
        if logarithmic:
            return jnp.exp(p.exponent * clipped(r)), jnp.exp(2 * p.exponent * clipped(r))
        if p.quantity == "std":
            return quantity(r), jnp.square(quantity(r))
        variance = quantity(r) if p.quantity == "variance" else 1 / quantity(r)
        return jnp.sqrt(variance), variance

    def log_variance(r: Array) -> Array:
        return 2 * p.exponent * (clipped(r) if logarithmic else jnp.log(quantity(r)))

    def apply(loc: Array, r: Array, noise: Array) -> tuple[Array, Array]:
        std, variance = std_and_variance(r)
        mean = loc * variance if natural else loc
        return mean + std * noise, 0.5 * (jnp.square(mean) + variance - 1 - log_variance(r))

    def between(loc_q: Array, raw_q: Array, loc_p: Array, raw_p: Array) -> Array:
        (_, variance_q), (_, variance_p) = std_and_variance(raw_q), std_and_variance(raw_p)
        mean_q, mean_p = (loc_q * variance_q, loc_p * variance_p) if natural else (loc_q, loc_p)
        ratio = (variance_q + jnp.square(mean_q - mean_p)) / variance_p
        return 0.5 * (ratio - 1 + log_variance(raw_p) - log_variance(raw_q))

    return Form(apply, p, "by hand", between)


BY_HAND = {name: by_hand(p) for name, p in jv.PARAMETERIZATIONS.items()}
