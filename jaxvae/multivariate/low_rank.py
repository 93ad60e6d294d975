"""The Gaussian whose covariance is a low-rank matrix plus a diagonal one.

Everything follows from W = U/σ: Σ = diag(σ) (I + W Wᵀ) diag(σ). The capacitance I + WᵀW has the same determinant as
I + W Wᵀ, and gives its inverse by Woodbury's identity (1950). The code divides by σ and never by σ², which doubles the
range of log σ.
"""

import dataclasses
import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_real
from jaxvae.distribution import Leaf
from jaxvae.gaussian import Gaussian, aligned, entropy, kl_divergence, require_gaussian
from jaxvae.multivariate.cholesky import CholeskyGaussian
from jaxvae.multivariate.correlated import (
    CorrelatedGaussian,
    diagonal,
    einsum,
    half_squares,
    inverse_std,
    log_std_ratio,
    per_event,
    require_kind,
)
from jaxvae.parameterizations import Parameterization, log_variance
from jaxvae.serialization import serializable


@serializable
@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class LowRankGaussian(CorrelatedGaussian):
    """The Gaussian N(loc, diag(σ²) + U Uᵀ), as x = loc + σ ε + U ε' (Ong et al. 2018, arXiv:1701.03208).

    Rezende et al. 2014 (arXiv:1401.4082) give the precision this form. ``sample``, ``log_prob``, ``kl_divergence`` to
    a p of independent elements, ``entropy`` and ``cross_entropy`` accept it. The last axis is one event, and all but
    ``sample`` return one number per event, in the shape of the batch. With R < L they cost L R² + R³, else L² R + L³.

    Floating point sets limits. Let κ be the condition number of I + WᵀW, where W is U/σ with each column longer than 1
    scaled to 1 (for R >= L, of I + W Wᵀ with rows). Then log_prob, entropy and KL are off by κ rounding errors, and
    NaN for κ beyond 10⁷ in float32. A small σ alone does no harm, not even e^-80, and neither do columns of any length.
    But for 1 < R < L, the R smallest σ should lie within a factor of about 1000 of each other; otherwise, take a
    ``CholeskyGaussian``.

    Attributes:
        loc: the mean, ``(..., L)``.
        raw: the unconstrained number that the parameterization turns into σ, ``(..., L)``.
        factor: U, ``(..., L, R)``.
        parameterization: the parameterization, which is static, or the name of a registered one; by default
            ``log_variance``.

    Raises:
        ValueError: if the shapes don't fit, the parameterization moves the mean, or its name is unknown.
        TypeError: if the parameterization is neither a ``Parameterization`` nor a name.

    >>> q = LowRankGaussian(jnp.zeros(2), jnp.zeros(2), jnp.ones((2, 1)))
    >>> q.covariance.tolist()
    [[2.0, 1.0], [1.0, 2.0]]
    """

    loc: Array
    raw: Array
    factor: Array
    parameterization: Parameterization = log_variance

    _event_ranks: ClassVar = {"loc": 1, "raw": 1, "factor": 2}

    def __init__(
        self, loc: Leaf, raw: Leaf, factor: Leaf, parameterization: Parameterization | str = log_variance
    ) -> None:
        self._begin(parameterization, loc=loc, raw=raw, factor=factor)

    def _check_event(self, size: int) -> None:
        if self.factor.ndim < 2 or self.factor.shape[-2] != size or not self.factor.shape[-1]:
            raise ValueError(
                f"LowRankGaussian.factor must have last axes (L, R) with L = {size} and R > 0, "
                f"got shape {self.factor.shape}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return jnp.broadcast_shapes(self.loc.shape, self.raw.shape, self.factor.shape[:-1])

    @property
    def covariance(self) -> Array:
        """The covariance diag(σ²) + U Uᵀ, ``(..., L, L)``."""
        q = self._widened()
        own = diagonal(q._independent.variance)
        return jnp.add(*aligned(own, einsum("...ir,...jr->...ij", q.factor, q.factor)))

    def _sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Draws samples from R + L normal numbers for each event."""
        numbers = sum(self.factor.shape[-2:])
        return self._reparameterize(jax.random.normal(key, (*shape, *self.shape[:-1], numbers), self.mean.dtype))

    def _reparameterize(self, noise: ArrayLike) -> Array:
        """Computes z = mean + σ ε + U ε' from noise (ε, ε'), ``(..., L + R)``."""
        self._require_noise(noise, sum(self.factor.shape[-2:]))
        q = self._widened(noise)
        own, common = jnp.split(jnp.asarray(noise, q.dtype), [q.shape[-1]], axis=-1)
        mean, std, own, common = aligned(q.loc, q._independent.std, own, _apply(q.factor, common))
        return (mean + std * own + common).astype(self.dtype)

    def _whitened(self) -> Array:
        """Returns W = U/σ, ``(..., L, R)``."""
        return jnp.multiply(*aligned(self.factor, inverse_std(self._independent)[..., None]))

    def _log_prob(self, x: ArrayLike) -> Array:
        """Computes log q(x) = -½ (x - mean)ᵀ Σ⁻¹ (x - mean) - Σ_i log σ_i - ½ log det(I + WᵀW) - ½ L log 2π."""
        require_real(x=x)
        self._require_fits(x=jnp.shape(x))
        q = self._widened(x)
        w, independent = q._whitened(), q._independent
        scale, root = _capacitance(w)
        x, loc, inverse = aligned(x, q.loc, inverse_std(independent))
        distance = _half_distance((x - loc) * inverse, w, scale, root)
        log_volume = jnp.sum(independent.log_std, axis=-1) + _half_log_det(scale, root)
        return -jnp.add(*aligned(distance, log_volume)) - q.shape[-1] / 2 * math.log(2 * math.pi)

    def _entropy(self) -> Array:
        """Computes H(q) = Σ_i log σ_i + ½ log det(I + WᵀW) + ½ L log(2πe)."""
        q = self._widened()
        return jnp.sum(entropy(q._independent), axis=-1) + _half_log_det(*_capacitance(q._whitened()))

    def _kl_divergence(self, p: Gaussian | None) -> Array:
        """Computes KL(q ‖ p) for a p of independent elements; without ``p``, to the standard normal.

        KL(q ‖ N(0, 1)) = ½ [Σ_i (σ_i² - 1 - log σ_i² + mean_i²) + |U|² - log det(I + WᵀW)]. For p, σ, mean and the
        rows of U are first taken in units of σ_p, from p's mean. The KL is never negative. It is that of ``Gaussian``
        where U is 0, and relatively accurate nearby, unless diag(σ²) + U Uᵀ is far nearer to p's covariance than
        diag(σ²) is.
        """
        if p is not None:
            require_kind(self, p)
        self._require_fits(p=() if p is None else p.shape)
        q = self._widened(*([] if p is None else p._leaves().values()))
        w = q._whitened()
        own, rho = kl_divergence(q._independent, p), log_std_ratio(q._independent, p)
        own, rho, energy, length = aligned(own, rho, half_squares(q.factor, p), jnp.sum(jnp.square(w), axis=-1))
        scale, root = _capacitance(w)
        volume = _half_log_det(scale, root)
        w, root = (jnp.broadcast_to(x, (*own.shape[:-1], *x.shape[-2:])) for x in (w, root))
        # |U|² = tr WᵀW + Σ_i |W_i|² (σ_i² - 1): where both are near 0 the first is compared with the log det.
        near = (jnp.sum(length, axis=-1) < 0.5) & (jnp.max(jnp.abs(rho), axis=-1, initial=0) < 0.5)
        at = near[..., None]
        close = jnp.sum(jnp.where(at, length, 0) * special.expm1(2 * jnp.where(at, rho, 0)), axis=-1) / 2
        w, root_near = jnp.where(at[..., None], w, 0), jnp.where(at[..., None], root, 0)
        far = jnp.subtract(*aligned(jnp.sum(energy, axis=-1), volume))
        total = jnp.sum(own, axis=-1) + jnp.where(near, close + _half_excess(w, root_near), far)
        # It is 0 where rounding leaves less, with the slope that it would have had.
        return total + jax.lax.stop_gradient(jnp.maximum(-total, 0))

    def _of_this_kind(self, q: Gaussian) -> "LowRankGaussian":
        require_gaussian(q=q)
        require_kind(q, self, CholeskyGaussian)
        return self


@per_event("(l,r),(r)->(l)")
def _apply(matrix: Array, x: Array) -> Array:
    return einsum("lr,r->l", matrix, x)


def _tall(w: Array) -> Array:
    """Returns W or Wᵀ, the one that isn't wider than long: their WᵀW have the same eigenvalues, except for zeros."""
    return w if w.shape[-1] < w.shape[-2] else jnp.swapaxes(w, -1, -2)


@per_event("(l,r)->(n),(n,n)")
def _capacitance(w: Array) -> tuple[Array, Array]:
    """Returns s ≥ 1 and a lower triangular B with I + WᵀW = S B Bᵀ S, S = diag(s); for R >= L, with Wᵀ for W."""
    # Columns are scaled to 1 first, so that no square overflows. The product is the same for any s, so s has no slope.
    w = _tall(w)
    s = jax.lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(w), axis=0), 1))
    w = w / s[None]
    return s, jax.lax.linalg.cholesky(jnp.diag(jnp.square(1 / s)) + einsum("lr,lt->rt", w, w))


def _half_log_det(s: Array, root: Array) -> Array:
    """Computes ½ log det(I + WᵀW)."""
    return jnp.sum(jnp.log(s) + jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)


@per_event("(l),(l,r),(n),(n,n)->()")
def _half_distance(z: Array, w: Array, s: Array, root: Array) -> Array:
    """Computes ½ zᵀ(I + W Wᵀ)⁻¹z = ½ min_a |z - Wa|² + |a|², at a = (I + WᵀW)⁻¹Wᵀz.

    It is a sum of squares, because zᵀz - zᵀWa, Woodbury's formula as it stands, cancels where W is large.
    """
    solve = functools.partial(jax.lax.linalg.triangular_solve, root, left_side=True, lower=True)
    if s.size == z.size:
        whitened = solve((z / s)[:, None])
        return jnp.sum(whitened * (whitened / 2))
    w = w / s[None]
    a = solve(solve(einsum("lr,l->r", w, z)[:, None]), transpose_a=True)[:, 0]
    rest, a = z - einsum("lr,r->l", w, a), a / s
    return jnp.sum(rest * (rest / 2)) + jnp.sum(a * (a / 2))


@per_event("(l,r),(n,n)->()")
def _half_excess(w: Array, root: Array) -> Array:
    """Computes ½ (tr WᵀW - log det(I + WᵀW)) by the Cholesky factor B of I + WᵀW.

    It is a sum of numbers ≥ 0, exact even near 0. A pivot is B_kk² = 1 + δ_k with δ_k = (WᵀW)_kk - Σ_{j<k} B_kj², and
    the trace is the sum of δ_k and of B_kj².
    """
    below = jnp.sum(jnp.square(jnp.tril(root, -1)), axis=-1)
    pivots = jnp.sum(jnp.square(_tall(w)), axis=0) - below
    return jnp.sum(below - special.log1pmx(pivots)) / 2
