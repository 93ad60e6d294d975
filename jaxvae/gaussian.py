"""The Gaussian latent variable: sampled, scored and compared by pure functions.

Conventions of this file: a ``Gaussian`` is elementwise, each element being a Gaussian of its own; nothing is
summed or averaged. Of a ``Correlated`` one the last axis is one event, and what is computed of it has the shape of
the batch, the axes before: it is that of the whole event, as no element has one of its own. Information is in nats.
16-bit inputs are computed in float32; so are noise, KL and densities, and only samples return to the inputs' dtype.
``loc``, ``raw`` and points broadcast by NumPy's rules. How sigma arises from ``raw`` is the parameterization's
affair alone.
"""

import abc
import dataclasses
import functools
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import require_broadcast, require_real, require_sizes
from jaxvae.distribution import Distribution, Leaf
from jaxvae.parameterizations import Parameterization, as_parameterization, log_variance
from jaxvae.serialization import serializable

_LOG_2PI = math.log(2 * math.pi)


@serializable
@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class Gaussian(Distribution):
    """Independent Gaussians, one per element; a pytree whose leaves are ``loc`` and ``raw``.

    Attributes:
        loc: the location, any shape; the mean, but for the natural parameterization. Integers and bools become
            float32; a Python number takes the dtype of ``raw``.
        raw: the unconstrained number that the parameterization turns into σ; broadcasts with ``loc``, with which it
            is stored with as many axes.
        parameterization: static, or the name of a registered one; ``log_variance`` if not given.

    Raises:
        ValueError: where the shapes don't broadcast.
        TypeError: where the parameterization isn't one.

    >>> q = Gaussian(jnp.zeros(3), jnp.zeros(3))
    >>> q.std.tolist()
    [1.0, 1.0, 1.0]
    """

    loc: Array
    raw: Array
    parameterization: Parameterization = log_variance

    _event_ranks: ClassVar = {"loc": 0, "raw": 0}

    def __init__(self, loc: Leaf, raw: Leaf, parameterization: Parameterization | str = log_variance) -> None:
        self._begin(parameterization, loc=loc, raw=raw)

    def _check(self) -> None:
        try:
            _ = self.shape
        except ValueError:
            raise ValueError(
                f"Gaussian.raw must broadcast with loc of shape {self.loc.shape}, got shape {self.raw.shape}"
            ) from None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return jnp.broadcast_shapes(self.loc.shape, self.raw.shape)

    @property
    def mean(self) -> Array:
        """E[x], of the full shape."""
        return self.parameterization.mean(*aligned(self.loc, self.raw))

    @property
    def log_std(self) -> Array:
        """log σ, of the full shape."""
        return self.parameterization.log_std(_full_raw(self))

    @property
    def std(self) -> Array:
        """σ, of the full shape."""
        return self.parameterization.std(_full_raw(self))

    @property
    def variance(self) -> Array:
        """σ², of the full shape."""
        return self.parameterization.variance(_full_raw(self))

    @property
    def precision(self) -> Array:
        """1/σ², of the full shape."""
        return self.parameterization.precision(_full_raw(self))


class Delegate(Distribution, abc.ABC):
    """A distribution of another kind than ``Gaussian``: what this file's functions ask of it.

    Each method checks its arguments.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""

    @abc.abstractmethod
    def _sample(self, key: Array, shape: tuple[int, ...]) -> Array: ...

    @abc.abstractmethod
    def _sample_and_log_prob(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]: ...

    @abc.abstractmethod
    def _reparameterize(self, noise: ArrayLike) -> Array: ...

    @abc.abstractmethod
    def _log_prob(self, x: ArrayLike) -> Array: ...

    @abc.abstractmethod
    def _entropy(self) -> Array: ...

    @abc.abstractmethod
    def _kl_divergence(self, p: Any) -> Array: ...

    @abc.abstractmethod
    def _of_this_kind(self, q: Gaussian) -> "Delegate":
        """The same distribution as ``q``, to take its KL to this one; raises TypeError where there is no such KL."""


class Correlated(Delegate):
    """A Gaussian of correlated elements, whose last axis is one event; the kinds are in ``jaxvae.multivariate``."""

    def _sample_and_log_prob(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        z = self._sample(key, shape)
        return z, self._log_prob(z)


AnyGaussian = Gaussian | Delegate


def require_gaussian(**xs: object) -> None:
    """Raises TypeError for what isn't a Gaussian of independent elements; the shapes of several must broadcast.

    One of correlated elements has a loc and a raw, too, but they aren't all there is to it.
    """
    for name, x in xs.items():
        if not isinstance(x, Gaussian):
            independent = " of independent elements" if isinstance(x, Correlated) else ""
            raise TypeError(f"{name} must be a Gaussian{independent}, got a {type(x).__name__}")
    require_broadcast(**{name: x.shape for name, x in xs.items() if isinstance(x, Gaussian)})


def require_points(q: Gaussian, **points: ArrayLike) -> None:
    """Raises where q isn't a Gaussian of independent elements, or the points aren't numbers that broadcast with it."""
    require_gaussian(q=q)
    require_real(**points)
    require_broadcast(q=q.shape, **{name: jnp.shape(x) for name, x in points.items()})


def aligned(*arrays: ArrayLike) -> list[Array]:
    """The arrays broadcast to one shape, in the dtype to compute in."""
    return jnp.broadcast_arrays(*_in_one_dtype(*arrays))


def ranked(*arrays: ArrayLike) -> list[Array]:
    """The arrays with as many axes each, in the dtype to compute in: what is shared is computed once."""
    rank = max(map(jnp.ndim, arrays))
    return [jnp.expand_dims(x, tuple(range(rank - x.ndim))) for x in _in_one_dtype(*arrays)]


def _in_one_dtype(*arrays: ArrayLike) -> list[Array]:
    """The arrays in the dtype to compute in; as they are where all are weak."""
    if all(map(special.is_weak, arrays)):
        return [jnp.asarray(x) * 1.0 for x in arrays]
    dtype = special.compute_dtype(*arrays)
    return [jnp.asarray(x, dtype) for x in arrays]


def _together(*qs: Gaussian) -> list[Gaussian]:
    """The Gaussians, weak ones in the dtype of the others."""
    leaves = [x for q in qs for x in (q.loc, q.raw)]
    return [q._settled(*leaves) for q in qs]


def _full_raw(q: Gaussian) -> Array:
    return aligned(q.raw, q.loc)[0]


def reparameterize(q: AnyGaussian, noise: ArrayLike) -> Array:
    """z = mean + σ noise: what ``sample`` does with noise of its own (Kingma & Welling 2014).

    For noise that is shared, antithetic or quasi-random, or drawn by another generator.

    Args:
        q: Gaussians of any shape, of independent or correlated elements.
        noise: standard normal numbers that broadcast with q, e.g. ``(K, *q.shape)``. A ``CholeskyGaussian`` has
            T noise for σ noise. A ``LowRankGaussian`` takes L + R of them for an event, the elements' own and then
            those of the common causes.

    Returns:
        An array of the broadcast shape and of q's dtype, differentiable in ``q`` and ``noise``.
    """
    if isinstance(q, Delegate):
        return q._reparameterize(noise)
    require_points(q, noise=noise)
    return _moved(q, noise)


def _moved(q: Gaussian, noise: ArrayLike) -> Array:
    q = q._settled(noise)
    mean, std, noise = aligned(q.mean, q.std, noise)
    return (mean + std * noise).astype(q.dtype)


def sample(key: Array, q: AnyGaussian, shape: tuple[int, ...] = ()) -> Array:
    """Reparameterized samples z = mean + σ ε, ε ~ N(0, 1) (Kingma & Welling 2014).

    The noise is drawn in float32 (float64 for float64 inputs): bfloat16 noise has 128 distinct values.

    Args:
        key: a PRNG key.
        q: Gaussians of any shape, of independent or correlated elements.
        shape: leading axes of independent samples.

    Returns:
        Samples of shape ``(*shape, *q.shape)`` and of q's dtype, differentiable in ``q``.

    >>> sample(jax.random.key(0), Gaussian(jnp.zeros((2, 3)), jnp.zeros(3)), shape=(5,)).shape
    (5, 2, 3)
    """
    require_sizes(shape=shape)
    if isinstance(q, Delegate):
        return q._sample(key, shape)
    require_gaussian(q=q)
    return _moved(q, _noise(key, q, shape))


def sample_and_log_prob(key: Array, q: AnyGaussian, shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """Reparameterized samples, those of ``sample``, and their log-densities in nats: what an actor's loss needs.

    The log-density comes from the noise, -½ ε² - log σ - ½ log 2π, and so is right also where a sample of few digits
    no longer tells it, as that of a ``TanhGaussian`` near its bounds. Its gradient is that of log q(z(q); q), along the
    path of the sample; of correlated elements it is ``log_prob`` of the sample.

    Args:
        key: a PRNG key.
        q: distributions of any shape.
        shape: leading axes of independent samples.

    Returns:
        Samples of shape ``(*shape, *q.shape)`` and of q's dtype, and log-densities of that shape, float32 or float64;
        without its last axis where q's elements are correlated.
    """
    require_sizes(shape=shape)
    if isinstance(q, Delegate):
        return q._sample_and_log_prob(key, shape)
    require_gaussian(q=q)
    noise = _noise(key, q, shape)
    return _moved(q, noise), jnp.subtract(*aligned(standard_log_prob(noise), q.log_std))


def _noise(key: Array, q: Gaussian, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(key, (*shape, *q.shape), special.compute_dtype(q.loc, q.raw))


def kl_divergence(q: AnyGaussian, p: AnyGaussian | None = None) -> Array:
    """KL(q ‖ p) in nats, elementwise, or of correlated elements per event; without ``p``, to the standard normal.

    KL(q ‖ N(0, 1)) = ½ (σ² - 1 - log σ² + mean²);
    KL(q ‖ p) = ½ (expm1mx(2ρ) + ((mean_q - mean_p) / σ_p)²) with ρ = log(σ_q / σ_p).
    Never negative, and relatively accurate near 0 within one parameterization, where it is exactly 0 for equals;
    between two, log(σ_q / σ_p) is a difference of logs, off by their rounding.

    Args:
        q: Gaussians of any shape, of independent or correlated elements.
        p: Gaussians that broadcast with q, in any parameterization: of independent elements with any q; a
            ``CholeskyGaussian`` with any q but a ``LowRankGaussian``.

    Returns:
        An array of the broadcast shape, float32 or float64; without its last axis where q's or p's elements are
        correlated.

    Raises:
        TypeError: for a pair of kinds whose KL the library doesn't have.
    """
    if isinstance(q, Delegate):
        return q._kl_divergence(p)
    if isinstance(p, Delegate):
        return kl_divergence(p._of_this_kind(q), p)
    require_gaussian(q=q, p=q if p is None else p)
    if p is None:
        mean, raw = ranked(q.mean, q.raw)
        return _scale_cost_to_standard(q.parameterization, raw) + mean * (mean / 2)
    rho, distance = _compare(*_together(q, p))
    return _scale_cost(rho) + distance


def _half_excess(log_ratio: Array, ratio: Array) -> Array:
    """½ (ratio² - 1 - log ratio²), given log ratio and ratio; inf only where this itself overflows."""
    near = jnp.abs(log_ratio) < 0.5
    close = special.expm1mx(2 * jnp.where(near, log_ratio, 0)) / 2
    return jnp.where(near, close, ratio * (ratio / 2) - 0.5 - log_ratio)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _scale_cost_to_standard(p: Parameterization, raw: Array) -> Array:
    return _half_excess(p.log_std(raw), p.std(raw))


@_scale_cost_to_standard.defjvp
def _scale_cost_to_standard_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # d/draw = (σ² - 1) gain, with σ kept finite, so that it doesn't meet a gain of 0.
    (raw,), (draw,) = primals, tangents
    log_std, gain = p.log_std(raw), p.log_std_gain(raw)
    std = jnp.minimum(p.std(raw), float(np.finfo(raw.dtype).max))
    near = jnp.abs(log_std) < 0.5
    slope = jnp.where(near, special.expm1(2 * jnp.where(near, log_std, 0)) * gain, std * (std * gain) - gain)
    return _scale_cost_to_standard(p, raw), slope * draw


@jax.custom_jvp
def _scale_cost(rho: Array) -> Array:
    return _half_excess(rho, special.exp(rho))


# Kept finite, so that it doesn't meet a gain of 0.
_scale_cost.defjvps(lambda drho, ans, rho: jnp.minimum(special.expm1(2 * rho), float(np.finfo(rho.dtype).max)) * drho)


def _compare(q: Gaussian, p: Gaussian) -> tuple[Array, Array]:
    """log(σ_q / σ_p) and ½ ((mean_q - mean_p) / σ_p)²."""
    raw_q, raw_p, mean_q, loc_p = aligned(q.raw, p.raw, q.mean, p.loc)
    if q.parameterization == p.parameterization:
        rho = q.parameterization.log_std_ratio(raw_q, raw_p)
    else:
        rho = q.parameterization.log_std(raw_q) - p.parameterization.log_std(raw_p)
    return rho, p.parameterization.half_square(mean_q, loc_p, raw_p)


def log_prob(q: AnyGaussian, x: ArrayLike) -> Array:
    """log N(x; mean, σ²) = -½ ((x - mean) / σ)² - log σ - ½ log 2π, in nats, elementwise, or per event.

    Args:
        q: Gaussians of any shape, of independent or correlated elements.
        x: points that broadcast with q, e.g. ``(K, *q.shape)``.

    Returns:
        An array of the broadcast shape, float32 or float64; without its last axis where q's elements are correlated.
    """
    if isinstance(q, Delegate):
        return q._log_prob(x)
    require_points(q, x=x)
    x, loc, raw = ranked(x, q.loc, q.raw)
    return -q.parameterization.half_square(x, loc, raw) - q.parameterization.log_std(raw) - _LOG_2PI / 2


def standard_log_prob(z: ArrayLike) -> Array:
    """log N(z; 0, 1) = -½ z² - ½ log 2π, in nats, elementwise."""
    require_real(z=z)
    (z,) = aligned(z)
    return -z * (z / 2) - _LOG_2PI / 2


def entropy(q: AnyGaussian) -> Array:
    """H(q) = log σ + ½ log(2πe), in nats, elementwise; ½ log det(2πe Σ), per event, of correlated elements."""
    if isinstance(q, Delegate):
        return q._entropy()
    require_gaussian(q=q)
    return q.log_std + (1 + _LOG_2PI) / 2


def cross_entropy(q: AnyGaussian, p: AnyGaussian) -> Array:
    """-E_q[log p] = ½ (σ_q²/σ_p² + (mean_q - mean_p)²/σ_p²) + log σ_p + ½ log 2π, in nats, elementwise.

    Where the elements of either are correlated it is KL(q ‖ p) + H(q), per event, for the pairs that
    ``kl_divergence`` takes.
    """
    if isinstance(q, Delegate):
        if not isinstance(p, Delegate):
            require_gaussian(p=p)
        return jnp.add(*aligned(q._kl_divergence(p), q._entropy()))
    if isinstance(p, Delegate):
        return cross_entropy(p._of_this_kind(q), p)
    require_gaussian(q=q, p=p)
    q, p = _together(q, p)
    rho, distance = _compare(q, p)
    log_std = aligned(p.log_std, rho)[0]
    ratio = special.exp(rho)
    return ratio * (ratio / 2) + distance + log_std + _LOG_2PI / 2


def jeffreys(q: AnyGaussian, p: AnyGaussian) -> Array:
    """The symmetric KL(q ‖ p) + KL(p ‖ q), in nats, elementwise, or per event as ``kl_divergence`` (Jeffreys 1946)."""
    return kl_divergence(q, p) + kl_divergence(p, q)


@jax.custom_jvp
def _std_difference(std_q: Array, std_p: Array, rho: Array) -> Array:
    """σ_q - σ_p, by way of rho = log(σ_q / σ_p), which keeps the digits of near ones."""
    wider = jnp.where(rho > 0, std_q, std_p)
    return jnp.where(rho == 0, 0, -jnp.sign(rho) * wider * special.expm1(-jnp.abs(rho)))


_std_difference.defjvps(lambda dq, *_: dq, lambda dp, *_: -dp, None)


@jax.custom_jvp
def _distance(x: Array, y: Array) -> Array:
    return jnp.hypot(x, y)


@_distance.defjvp
def _distance_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The unit vector, of numbers scaled to 1 first; 0, a subgradient, where x = y = 0.
    x, y = primals
    scale = jax.lax.stop_gradient(jnp.clip(jnp.maximum(jnp.abs(x), jnp.abs(y)), *_normal(x.dtype)))
    x, y = x / scale, y / scale
    zero = (x == 0) & (y == 0)
    length = jnp.sqrt(jnp.where(zero, 1, x * x + y * y))
    return _distance(*primals), x / length * tangents[0] + y / length * tangents[1]


def _normal(dtype: jnp.dtype) -> tuple[float, float]:
    return float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)


def wasserstein2(q: Gaussian, p: Gaussian) -> Array:
    """The 2-Wasserstein distance sqrt((mean_q - mean_p)² + (σ_q - σ_p)²), elementwise, in units of x.

    Over event axes, the distance of the diagonal Gaussians is the root of the sum of squares; as a loss take the
    sum of squares itself, which has a gradient where q = p.
    """
    require_gaussian(q=q, p=p)
    q, p = _together(q, p)
    rho, _ = _compare(q, p)
    largest = float(np.finfo(rho.dtype).max)
    std_q, std_p, mean_q, mean_p = aligned(jnp.minimum(q.std, largest), jnp.minimum(p.std, largest), q.mean, p.mean)
    return _distance(mean_q - mean_p, _std_difference(std_q, std_p, rho))


class Fisher(NamedTuple):
    """The Fisher metric of (loc, raw) per element: the symmetric 2×2 matrix ((loc, cross), (cross, raw))."""

    loc: Array
    raw: Array
    cross: Array


jax.export.register_namedtuple_serialization(Fisher, serialized_name="jaxvae.Fisher")


def fisher(q: Gaussian) -> Fisher:
    """The Fisher metric of (loc, raw), the Hessian of KL(q ‖ q') at q' = q, elementwise.

    diag(1/σ², 2 gain²) with gain = d log σ / d raw; in the natural parameterization the mean moves with raw,
    and the metric has a cross term.
    """
    require_gaussian(q=q)
    loc, raw = aligned(q.loc, q.raw)
    by_loc, by_raw = q.parameterization.mean_slopes(loc, raw)
    gain = q.parameterization.log_std_gain(raw)
    return Fisher(jnp.square(by_loc), jnp.square(by_raw) + 2 * jnp.square(gain), by_loc * by_raw)


def natural_parameters(q: Gaussian) -> tuple[Array, Array]:
    """(η₁, η₂) = (mean/σ², -1/(2σ²)), elementwise."""
    require_gaussian(q=q)
    loc, raw = aligned(q.loc, q.raw)
    inverse = 1 / q.std
    return q.parameterization.precision_weighted_mean(loc, raw), -inverse * (inverse / 2)


def expectation_parameters(q: Gaussian) -> tuple[Array, Array]:
    """(E[x], E[x²]) = (mean, mean² + σ²), elementwise."""
    require_gaussian(q=q)
    mean = q.mean
    return mean, jnp.square(mean) + q.variance


def from_natural_parameters(
    eta1: ArrayLike, eta2: ArrayLike, parameterization: Parameterization | str = log_variance
) -> Gaussian:
    """The Gaussian with these natural parameters: mean = -η₁/(2η₂), σ² = -1/(2η₂).

    Raises:
        ValueError: outside ``jit`` where η₂ is not negative, or σ out of the parameterization's range; inside
            ``jit`` the result is NaN there.
    """
    require_real(eta1=eta1, eta2=eta2)
    require_broadcast(eta1=jnp.shape(eta1), eta2=jnp.shape(eta2))
    given = Gaussian(eta1, eta2)
    eta1, eta2 = aligned(eta1, eta2)
    try:
        if not jnp.all(eta2 < 0):
            raise ValueError(f"eta2 must be negative, got {float(jnp.max(eta2))}")
    except jax.errors.ConcretizationTypeError:
        pass
    p = as_parameterization(parameterization)
    return _from_moments(-eta1 / (2 * eta2), -jnp.log(-2 * eta2) / 2, p, given.loc, given.raw)


def _from_moments(mean: Array, log_std: Array, p: Parameterization, *like: Array) -> Gaussian:
    """The Gaussian of this mean and σ, in the dtype of these arrays."""
    raw = p.raw_from_log_std(log_std)
    loc = p.loc_from_mean(mean, raw)
    if all(map(special.is_weak, like)):
        return Gaussian(loc, raw, p)
    dtype = jnp.result_type(*like)
    return Gaussian(loc.astype(dtype), raw.astype(dtype), p)


def convert(q: Gaussian, parameterization: Parameterization | str) -> Gaussian:
    """The same distribution in another parameterization's coordinates.

    Raises:
        ValueError: outside ``jit`` where q's σ is out of the new range; inside ``jit``, raw is NaN there.
    """
    require_gaussian(q=q)
    parameterization = as_parameterization(parameterization)
    if parameterization == q.parameterization:
        return q
    return _from_moments(q.mean, q.log_std, parameterization, q.loc, q.raw)


def product(*factors: Gaussian, parameterization: Parameterization | str | None = None) -> Gaussian:
    """The normalized product of Gaussian densities: precisions add, means average by precision.

    A product of experts (Hinton 2002), and the posterior of a ladder VAE (Sønderby et al. 2016, eq. 17).

    Args:
        factors: Gaussians that broadcast together.
        parameterization: that of the result; the first factor's if not given.

    Raises:
        ValueError: without factors; or as ``convert``, where the result's σ is out of range.
    """
    if not factors:
        raise ValueError("product needs at least one Gaussian, got none")
    require_gaussian(**{f"factors[{i}]": factor for i, factor in enumerate(factors)})
    factors = tuple(_together(*factors))
    log_precisions = jnp.stack(aligned(*(-2 * f.log_std for f in factors)))  # (factors, ...)
    means = jnp.stack(aligned(*(f.mean for f in factors)))
    # About the first mean, so that equal means stay equal and their slopes don't cancel.
    mean = means[0] + jnp.sum(jax.nn.softmax(log_precisions, axis=0) * (means - means[:1]), axis=0)
    log_std = -jax.nn.logsumexp(log_precisions, axis=0) / 2
    p = factors[0].parameterization if parameterization is None else as_parameterization(parameterization)
    return _from_moments(mean, log_std, p, *(x for f in factors for x in (f.loc, f.raw)))
