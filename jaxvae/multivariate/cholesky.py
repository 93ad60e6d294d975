"""The Gaussian of any covariance, by the Cholesky factor of it: elementwise, by the chain rule."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_real, require_sizes
from jaxvae.gaussian import Gaussian, entropy, kl_divergence, log_prob
from jaxvae.multivariate.correlated import (
    Correlated,
    broadcast,
    diagonal,
    half_squares,
    inverse_std,
    log_std_ratio,
    per_event,
    product,
    require_gaussian,
)
from jaxvae.parameterizations import Parameterization, log_variance


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False)
class CholeskyGaussian(Correlated):
    """N(loc, T Tᵀ), T lower triangular with diagonal σ (Kingma & Welling 2019, arXiv:1906.02691).

    Given x_<i, the elements before it, x_i is a Gaussian of standard deviation σ_i. So densities, KL and entropy are
    elementwise, element i being that of x_i given x_<i, and the caller sums.

    Attributes:
        loc: the mean, ``(..., L)``.
        raw: the unconstrained number that the parameterization turns into σ, ``(..., L)``.
        lower: the strictly lower part of T, row by row, ``(..., L(L-1)/2)``.
        parameterization: static; ``log_variance`` if not given.

    Raises:
        ValueError: where the shapes don't fit, or the parameterization moves the mean.
        TypeError: where the parameterization isn't one.

    >>> q = CholeskyGaussian(jnp.zeros(2), jnp.zeros(2), jnp.ones(1))
    >>> q.covariance.tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    >>> q.kl_divergence().tolist()
    [0.0, 0.5]
    """

    loc: Array
    raw: Array
    lower: Array
    parameterization: Parameterization = log_variance

    def _check_event(self, size: int) -> None:
        numbers = size * (size - 1) // 2
        if self.lower.shape[-1:] != (numbers,):
            raise ValueError(
                f"CholeskyGaussian.lower must have a last axis of L(L-1)/2 = {numbers} for events of L = {size}, "
                f"got shape {self.lower.shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return jnp.broadcast_shapes(self.loc.shape, self.raw.shape, (*self.lower.shape[:-1], 1))

    @property
    def scale_tril(self) -> Array:
        """T, ``(..., L, L)``."""
        q = self._widened()
        return q._strict() + diagonal(q._independent.std)

    @property
    def covariance(self) -> Array:
        """T Tᵀ, ``(..., L, L)``."""
        factor = self.scale_tril
        return product("...ij,...kj->...ik", factor, factor)

    def _strict(self) -> Array:
        """T without its diagonal, ``(..., L, L)``."""
        *batch, size = self.shape
        lower = jnp.broadcast_to(self.lower, (*batch, self.lower.shape[-1]))
        return jnp.zeros((*batch, size, size), lower.dtype).at[(..., *np.tril_indices(size, -1))].set(lower)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Array:
        """Reparameterized samples z = mean + T ε, ε ~ N(0, 1), of shape ``(*shape, *q.shape)`` and of q's dtype."""
        require_sizes(shape=shape)
        return self.reparameterize(jax.random.normal(key, (*shape, *self.shape), self.mean.dtype))

    def reparameterize(self, noise: ArrayLike) -> Array:
        """z = mean + T noise.

        Args:
            noise: standard normal numbers that broadcast with q, e.g. ``(K, *q.shape)``.

        Returns:
            An array of the broadcast shape and of q's dtype, differentiable in ``q`` and ``noise``.
        """
        self._require_noise(noise, self.shape[-1])
        q = self._widened(noise)
        mean, moved = broadcast(q.loc, _apply(q.scale_tril, jnp.asarray(noise, q.dtype)))
        return (mean + moved).astype(self.dtype)

    def log_prob(self, x: ArrayLike) -> Array:
        """log q(x_i | x_<i) = -½ ε_i² - log σ_i - ½ log 2π with ε = T⁻¹(x - mean), in nats, elementwise.

        Where all is right: as long as lower_ij / σ_j is in the float's range; at any σ where lower is 0.

        Args:
            x: points that broadcast with q, e.g. ``(K, *q.shape)``.

        Returns:
            An array of the broadcast shape, float32 or float64; its sum over the last axis is log q(x).
        """
        require_real(x=x)
        self._require_fits(x=jnp.shape(x))
        q = self._widened(x)
        distance = jnp.subtract(*broadcast(x, q.loc))
        around = Gaussian(jnp.zeros_like(q.loc), q.raw, q.parameterization)
        return log_prob(around, q._residual(distance[..., None])[..., 0])

    def _residual(self, x: Array) -> Array:
        """σ T⁻¹x of columns ``(..., L, N)``: of x_i - mean_i, what x_<i doesn't explain.

        With T = A diag(σ), A unit triangular, it is A⁻¹x, which is x at any σ where lower is 0.
        """
        return _solve_unit(self._strict() * inverse_std(self._independent)[..., None, :], x)

    def entropy(self) -> Array:
        """H(x_i | x_<i) = log σ_i + ½ log(2πe), in nats, elementwise."""
        return entropy(self._widened()._independent)

    def kl_divergence(self, p: "CholeskyGaussian | Gaussian | None" = None) -> Array:
        """KL(q ‖ p) in nats, elementwise by the chain rule; without ``p``, to the standard normal.

        KL_i(q ‖ N(0, 1)) = ½ (σ_i² - 1 - log σ_i² + mean_i²) + ½ Σ_{j<i} T_ij²;
        KL_i(q ‖ p) = ½ (M_ii² - 1 - log M_ii² + d_i²) + ½ Σ_{j<i} M_ij², M = T_p⁻¹ T_q, d = T_p⁻¹ (mean_q - mean_p).
        Never negative, exactly 0 for equals, and as accurate near 0 as that of ``Gaussian``.

        Args:
            p: Gaussians that broadcast with q, in any parameterization, of correlated or independent elements.

        Returns:
            An array of the broadcast shape, float32 or float64.
        """
        if not isinstance(p, CholeskyGaussian):
            require_gaussian(p)
        self._require_fits(p=() if p is None else p.shape)
        q = self._widened(self.dtype if p is None else p.dtype)
        if not isinstance(p, CholeskyGaussian):
            return jnp.add(*broadcast(kl_divergence(q._independent, p), half_squares(q._strict(), p)))
        # T_p (M - diag ratio) = T_q - T_p diag(ratio) has a diagonal of 0; the ratio is 1 + expm1(log ratio).
        p = p._widened(self.dtype)
        growth = special.expm1(log_std_ratio(q._independent, p._independent))[..., None, :]
        growth = jnp.minimum(growth, float(np.finfo(growth.dtype).max))  # lest it meet a 0
        strict, theirs, growth = broadcast(q._strict(), p._strict(), growth)
        shift = jnp.subtract(*broadcast(q.loc, p.loc))[..., None]
        solved = p._residual(jnp.concatenate([strict - theirs - theirs * growth, shift], axis=-1))  # (..., L, L + 1)
        around = Gaussian(jnp.zeros_like(p.loc), p.raw, p.parameterization)
        own = kl_divergence(Gaussian(solved[..., -1], q.raw, q.parameterization), around)
        return own + half_squares(solved[..., :-1], around)


@per_event("(l,l),(l)->(l)")
def _apply(matrix: Array, x: Array) -> Array:
    return product("ij,j->i", matrix, x)


@per_event("(l,l),(l,n)->(l,n)")
def _solve_unit(strict: Array, x: Array) -> Array:
    """(I + strict)⁻¹x for a strictly lower triangular matrix."""
    return jax.lax.linalg.triangular_solve(strict, x, left_side=True, lower=True, unit_diagonal=True)
