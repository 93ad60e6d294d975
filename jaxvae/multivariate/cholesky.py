"""The Gaussian with any covariance, given by its Cholesky factor and computed element by element by the chain rule.

Given x_<i, the elements before it, x_i is a Gaussian with standard deviation σ_i. So log-density, entropy and KL are
sums over the event of those of x_i given x_<i:

    log q(x_i | x_<i) = -½ ε_i² - log σ_i - ½ log 2π with ε = T⁻¹(x - mean);
    H(x_i | x_<i) = log σ_i + ½ log(2πe);
    KL_i(q ‖ N(0, 1)) = ½ (σ_i² - 1 - log σ_i² + mean_i²) + ½ Σ_{j<i} T_ij²;
    KL_i(q ‖ p) = ½ (M_ii² - 1 - log M_ii² + d_i²) + ½ Σ_{j<i} M_ij², M = T_p⁻¹ T_q, d = T_p⁻¹ (mean_q - mean_p).

The densities are right as long as lower_ij / σ_j is in the float's range, and at any σ where lower is 0. The KL is
never negative, exactly 0 for equal Gaussians, and as accurate near 0 as that of ``Gaussian``.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_real
from jaxvae.distribution import Leaf
from jaxvae.gaussian import Gaussian, aligned, entropy, kl_divergence, log_prob, require_gaussian
from jaxvae.multivariate.correlated import (
    CorrelatedGaussian,
    diagonal,
    einsum,
    half_squares,
    inverse_std,
    leaves_the_mean,
    log_std_ratio,
    per_event,
    require_kind,
)
from jaxvae.parameterizations import Parameterization, log_variance
from jaxvae.serialization import serializable


@serializable
@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class CholeskyGaussian(CorrelatedGaussian):
    """The Gaussian N(loc, T Tᵀ), T lower triangular with diagonal σ (Kingma & Welling 2019, arXiv:1906.02691).

    ``sample``, ``log_prob``, ``kl_divergence``, ``entropy`` and ``cross_entropy`` accept it. The last axis is one
    event, and all but ``sample`` return one number per event.

    Attributes:
        loc: the mean, ``(..., L)``.
        raw: the unconstrained number that the parameterization turns into σ, ``(..., L)``.
        lower: the strictly lower part of T, row by row, ``(..., L(L-1)/2)``.
        parameterization: the parameterization, which is static, or the name of a registered one; by default
            ``log_variance``.

    Raises:
        ValueError: if the shapes don't fit, the parameterization moves the mean, or its name is unknown.
        TypeError: if the parameterization is neither a ``Parameterization`` nor a name.

    >>> q = CholeskyGaussian(jnp.zeros(2), jnp.zeros(2), jnp.ones(1))
    >>> q.covariance.tolist()
    [[1.0, 1.0], [1.0, 2.0]]
    >>> float(kl_divergence(q))
    0.5
    """

    loc: Array
    raw: Array
    lower: Array
    parameterization: Parameterization = log_variance

    _event_ranks: ClassVar = {"loc": 1, "raw": 1, "lower": 1}

    def __init__(
        self, loc: Leaf, raw: Leaf, lower: Leaf, parameterization: Parameterization | str = log_variance
    ) -> None:
        self._begin(parameterization, loc=loc, raw=raw, lower=lower)

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
        """The lower triangular factor T, ``(..., L, L)``."""
        q = self._widened()
        return q._strict() + diagonal(q._independent.std)

    @property
    def covariance(self) -> Array:
        """The covariance T Tᵀ, ``(..., L, L)``."""
        factor = self.scale_tril
        return einsum("...ij,...kj->...ik", factor, factor)

    def _strict(self) -> Array:
        """Returns T without its diagonal, ``(..., L, L)``."""
        return _strictly_lower(self.lower, self.loc)

    def _sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        return self._reparameterize(jax.random.normal(key, (*shape, *self.shape), self.mean.dtype))

    def _reparameterize(self, noise: ArrayLike) -> Array:
        """Computes z = mean + T noise."""
        self._require_noise(noise, self.shape[-1])
        q = self._widened(noise)
        mean, moved = aligned(q.loc, _apply(q.scale_tril, jnp.asarray(noise, q.dtype)))
        return (mean + moved).astype(self.dtype)

    def _log_prob(self, x: ArrayLike) -> Array:
        return jnp.sum(self._conditional_log_prob(x), axis=-1)

    def _conditional_log_prob(self, x: ArrayLike) -> Array:
        """Computes log q(x_i | x_<i), elementwise."""
        require_real(x=x)
        self._require_fits(x=jnp.shape(x))
        q = self._widened(x)
        distance = jnp.subtract(*aligned(x, q.loc))
        around = Gaussian(jnp.zeros_like(q.loc), q.raw, q.parameterization)
        return log_prob(around, q._residual(distance[..., None])[..., 0])

    def _residual(self, x: Array) -> Array:
        """Computes σ T⁻¹x for columns ``(..., L, N)``: the part of x_i - mean_i that x_<i doesn't explain.

        With T = A diag(σ), A unit triangular, it is A⁻¹x, which is x at any σ where lower is 0.
        """
        return _solve_unit(self._strict() * inverse_std(self._independent)[..., None, :], x)

    def _entropy(self) -> Array:
        return jnp.sum(entropy(self._widened()._independent), axis=-1)

    def _kl_divergence(self, p: "CholeskyGaussian | Gaussian | None") -> Array:
        return jnp.sum(self._conditional_kl(p), axis=-1)

    def _conditional_kl(self, p: "CholeskyGaussian | Gaussian | None") -> Array:
        """Computes KL_i(q ‖ p), elementwise."""
        if p is not None:
            require_kind(self, p, CholeskyGaussian)
        self._require_fits(p=() if p is None else p.shape)
        q = self._widened(*([] if p is None else p._leaves().values()))
        if not isinstance(p, CholeskyGaussian):
            return jnp.add(*aligned(kl_divergence(q._independent, p), half_squares(q._strict(), p)))
        # T_p (M - diag ratio) = T_q - T_p diag(ratio) has a diagonal of 0; the ratio is 1 + expm1(log ratio).
        p = p._widened(self.dtype)
        growth = special.expm1(log_std_ratio(q._independent, p._independent))[..., None, :]
        growth = jnp.minimum(growth, float(np.finfo(growth.dtype).max))  # as an infinity could meet a 0
        strict, theirs, growth = aligned(q._strict(), p._strict(), growth)
        shift = jnp.subtract(*aligned(q.loc, p.loc))[..., None]
        solved = p._residual(jnp.concatenate([strict - theirs - theirs * growth, shift], axis=-1))  # (..., L, L + 1)
        around = Gaussian(jnp.zeros_like(p.loc), p.raw, p.parameterization)
        own = kl_divergence(Gaussian(solved[..., -1], q.raw, q.parameterization), around)
        return own + half_squares(solved[..., :-1], around)

    def _of_this_kind(self, q: Gaussian) -> "CholeskyGaussian":
        """Returns q as a ``CholeskyGaussian`` with a lower of 0, around its mean, in the broadcast shape of both."""
        require_gaussian(q=q)
        self._require_fits("p", q=q.shape)
        shape, p = jnp.broadcast_shapes(q.shape, self.shape), q.parameterization
        q = q._settled(*self._leaves().values())
        loc, raw = (jnp.broadcast_to(x, shape) for x in (q.mean, q.raw))
        # If q's parameterization moves the mean, the plain one has the same σ.
        plain = p if leaves_the_mean(p) else Parameterization(p.quantity, p.transform)
        return CholeskyGaussian(loc.astype(q.dtype), raw, jnp.zeros(self.lower.shape[-1], q.dtype), plain)


@per_event("(m),(l)->(l,l)")
def _strictly_lower(numbers: Array, loc: Array) -> Array:
    size = loc.size
    return jnp.zeros((size, size), numbers.dtype).at[np.tril_indices(size, -1)].set(numbers)


@per_event("(l,l),(l)->(l)")
def _apply(matrix: Array, x: Array) -> Array:
    return einsum("ij,j->i", matrix, x)


@per_event("(l,l),(l,n)->(l,n)")
def _solve_unit(strict: Array, x: Array) -> Array:
    """Computes (I + strict)⁻¹x for a strictly lower triangular matrix."""
    return jax.lax.linalg.triangular_solve(strict, x, left_side=True, lower=True, unit_diagonal=True)
