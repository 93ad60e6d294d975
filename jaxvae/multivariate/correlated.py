"""The base of Gaussians with correlated elements: checks, the pytree, and sampling.

Conventions of this folder: the last axis, of L elements, is one event, and all axes before it are batch axes, which
broadcast by NumPy's rules. Information is in nats. For 16-bit inputs, all computations, noise, KL and densities are in
float32; only samples have the inputs' dtype. σ, the part of the covariance that must be positive, is computed from
``raw`` as in ``Gaussian``; the rest is unconstrained. Matrices are multiplied in full float32 on every device. The work
of each kind is done by its methods with a leading underscore, which ``jaxvae.sample``, ``jaxvae.kl_divergence`` and
similar functions call.

The natural parameterizations are refused: with correlated elements η₁ = Σ⁻¹ mean, so that loc·σ², element by element,
would not be the mean of any natural parameter.
"""

import functools
from collections.abc import Callable
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike, DTypeLike

from jaxvae import special
from jaxvae.arguments import require, require_broadcast, require_real
from jaxvae.gaussian import AnyGaussian, Correlated, Gaussian, aligned
from jaxvae.parameterizations import Parameterization

einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def per_event(signature: str) -> Callable[[Callable], Callable]:
    """Vectorizes a function of one event; batch axes broadcast even if the arrays have different numbers of them."""

    def decorate(function: Callable) -> Callable:
        many = jnp.vectorize(function, signature=signature)
        ranks = [len(axes.split(",")) for axes in signature.split("->")[0].strip("()").split("),(")]

        @functools.wraps(function)
        def wrapped(*arrays: Array) -> Any:
            batch = max(x.ndim - rank for x, rank in zip(arrays, ranks, strict=True))
            led = [x.reshape(*[1] * (batch - x.ndim + r), *x.shape) for x, r in zip(arrays, ranks, strict=True)]
            return many(*_sharded_alike(led, batch))

        return wrapped

    return decorate


def _sharded_alike(arrays: list[Array], batch: int) -> list[Array]:
    """Shards the arrays' batch axes over the same axes of a mesh, as ``vmap`` requires if the mesh is explicit."""
    specs = [jax.typeof(x).sharding.spec for x in arrays]
    over = [next((spec[i] for spec in specs if spec[i] is not None), None) for i in range(batch)]
    if not any(over):
        return arrays
    return [
        jax.sharding.reshard(
            x, PartitionSpec(*(axis if n > 1 else None for axis, n in zip(over, x.shape, strict=False)), *spec[batch:])
        )
        for x, spec in zip(arrays, specs, strict=True)
    ]


diagonal = per_event("(l)->(l,l)")(jnp.diag)


class CorrelatedGaussian(Correlated):
    """A Gaussian with correlated elements; a dataclass of loc, raw, one more leaf, and the parameterization."""

    loc: Array
    raw: Array

    def _check(self) -> None:
        p, kind = self.parameterization, type(self).__name__
        independent = Gaussian(self.loc, self.raw, p)
        if not leaves_the_mean(p):
            raise ValueError(f"{kind}.parameterization must leave the mean alone, got {p.name or p.formula!r}")
        if not independent.shape:
            raise ValueError(f"{kind}.loc or raw must have the event's axis, got shapes () and ()")
        self._check_event(independent.shape[-1])
        try:
            _ = self.shape
        except ValueError:
            shapes = ", ".join(f"{name} {x.shape}" for name, x in self._leaves().items())
            raise ValueError(f"{kind}'s batch axes must broadcast, got shapes {shapes}") from None

    def _check_event(self, size: int) -> None:
        """Raises ValueError if the third leaf doesn't fit an event of this size."""
        raise NotImplementedError

    @property
    def mean(self) -> Array:
        """The mean E[x], in the full shape."""
        return self._widened().loc

    def _widened(self, *others: ArrayLike | DTypeLike) -> Self:
        """Returns this distribution in the dtype to compute in with the others, with loc and raw in the full shape."""
        dtype = special.compute_dtype(self.dtype, *others)
        loc, raw, *rest = (x.astype(dtype) for x in self._leaves().values())
        loc, raw = (jnp.broadcast_to(x, self.shape) for x in (loc, raw))
        return self._made(self.parameterization, (loc, raw, *rest))

    def _require_noise(self, noise: ArrayLike, numbers: int) -> None:
        require_real(noise=noise)
        shape = jnp.shape(noise)
        require(shape[-1:] == (numbers,), "noise.shape", shape, f"(..., {numbers})")
        require_broadcast(q=self.shape[:-1], noise=shape[:-1])

    def _require_fits(self, own: str = "q", /, **shapes: tuple[int, ...]) -> None:
        """Raises ValueError if shapes don't broadcast with this one's, called ``own``, or have a longer event."""
        require_broadcast(**{own: self.shape}, **shapes)
        for name, shape in shapes.items():
            fits = shape[-1:] in ((), (1,), self.shape[-1:])
            require(fits, f"{name}.shape", shape, f"one that broadcasts to (..., {self.shape[-1]})")

    @property
    def _independent(self) -> Gaussian:
        """The independent Gaussians N(loc, σ²), one per element."""
        return Gaussian(self.loc, self.raw, self.parameterization)


def require_kind(q: AnyGaussian, p: object, *kinds: type[Correlated]) -> None:
    """Raises TypeError if ``p`` is neither a Gaussian of independent elements nor of a kind that goes with ``q``."""
    if not isinstance(p, (Gaussian, *kinds)):
        allowed = " or ".join(["a Gaussian of independent elements", *(f"a {kind.__name__}" for kind in kinds)])
        raise TypeError(f"p must be {allowed} where q is a {type(q).__name__}, got a {type(p).__name__}")


def leaves_the_mean(p: Parameterization) -> bool:
    """Returns whether loc is the mean for every raw."""
    return type(p).mean is Parameterization.mean


def log_std_ratio(q: Gaussian, p: Gaussian | None) -> Array:
    """Computes log(σ_q / σ_p), elementwise; without ``p``, log σ_q."""
    if p is None:
        return q.log_std
    if q.parameterization == p.parameterization:
        return q.parameterization.log_std_ratio(*aligned(q.raw, p.raw))
    return special.difference(*aligned(q.log_std, p.log_std))


def half_squares(x: Array, p: Gaussian | None) -> Array:
    """Computes ½ Σ_j (x_ij / σ_i)² for rows ``(..., L, N)``, with the σ of ``p``; without ``p``, σ is 1."""
    if p is None:
        return jnp.sum(x * (x / 2), axis=-1)
    x, raw = aligned(x, p.raw[..., None])
    return jnp.sum(p.parameterization.half_square(x, jnp.zeros_like(x), raw), axis=-1)


def inverse_std(q: Gaussian) -> Array:
    """Returns 1/σ, kept finite."""
    return q.parameterization.mean_slopes(q.loc, q.raw)[0]
