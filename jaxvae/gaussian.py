"""The Gaussian latent variable, and pure functions that sample it, score it and compare it.

Conventions of this file: each element of a ``Gaussian`` is a Gaussian of its own, and functions are elementwise;
nothing is summed or averaged. The last axis of a ``Correlated`` Gaussian is one event, and functions return one number
per event, in the shape of the batch axes before it. Information is in nats.

Derivatives are finite: where the true one overflows, the largest finite number takes its place. So a cotangent of 0,
which ``jnp.where`` and ``jnp.minimum`` send to what they mask or clip, gives a gradient of 0, unless the value there is
NaN. At σ = 0 a KL is inf, except between equal Gaussians, and a log-density is inf at the mean and -inf elsewhere; the
derivatives there are the limits from the right, made finite.

A NaN in an element makes only the result for that element NaN. At an infinity a function has its limit, if there is
one.

For 16-bit inputs, all computations, noise, KL and densities are in float32; only samples and gradients have the
inputs' dtype, in which a gradient beyond its largest number is inf.
``loc``, ``raw`` and points broadcast by NumPy's rules. The parameterization alone decides how ``raw`` gives σ.
"""

import abc
import dataclasses
import functools
import math
from collections.abc import Callable
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
from jaxvae.parameterizations import Parameterization, as_parameterization, half_square_slopes, log_variance
from jaxvae.serialization import serializable

_LOG_2PI = math.log(2 * math.pi)


@serializable
@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True, eq=False, repr=False, init=False)
class Gaussian(Distribution):
    """Independent Gaussians, one per element; a pytree whose leaves are ``loc`` and ``raw``.

    Attributes:
        loc: the location, of any shape; it is the mean, except under a natural parameterization. Integers and bools
            become float32; a Python number takes the dtype of ``raw``.
        raw: the unconstrained number that the parameterization turns into σ. It broadcasts with ``loc``, and is stored
            with the same number of axes.
        parameterization: the parameterization, which is static, or the name of a registered one; by default
            ``log_variance``.

    Raises:
        ValueError: if the shapes don't broadcast, or the name is unknown.
        TypeError: if the parameterization is neither a ``Parameterization`` nor a name.

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
        """The mean E[x], in the full shape."""
        return self.parameterization.mean(*aligned(self.loc, self.raw))

    @property
    def log_std(self) -> Array:
        """The log of the standard deviation σ, in the full shape."""
        return self.parameterization.log_std(_full_raw(self))

    @property
    def std(self) -> Array:
        """The standard deviation σ, in the full shape."""
        return self.parameterization.std(_full_raw(self))

    @property
    def variance(self) -> Array:
        """The variance σ², in the full shape."""
        return self.parameterization.variance(_full_raw(self))

    @property
    def precision(self) -> Array:
        """The precision 1/σ², in the full shape."""
        return self.parameterization.precision(_full_raw(self))


class Delegate(Distribution, abc.ABC):
    """The base class of distributions other than ``Gaussian``, with the methods that this file's functions call.

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
        """Returns ``q`` in a form whose KL to this distribution is implemented; raises TypeError if there is none."""


class Correlated(Delegate):
    """A Gaussian of correlated elements, whose last axis is one event; the kinds are in ``jaxvae.multivariate``."""

    def _sample_and_log_prob(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        z = self._sample(key, shape)
        return z, self._log_prob(z)


AnyGaussian = Gaussian | Delegate


def require_gaussian(**xs: object) -> None:
    """Raises TypeError if an argument isn't a Gaussian of independent elements, ValueError if shapes don't broadcast.

    A Gaussian of correlated elements also has a loc and a raw, but they don't describe it completely.
    """
    for name, x in xs.items():
        if not isinstance(x, Gaussian):
            independent = " of independent elements" if isinstance(x, Correlated) else ""
            raise TypeError(f"{name} must be a Gaussian{independent}, got a {type(x).__name__}")
    require_broadcast(**{name: x.shape for name, x in xs.items() if isinstance(x, Gaussian)})


def require_points(q: Gaussian, **points: ArrayLike) -> None:
    """Raises an error if q isn't a Gaussian of independent elements, or points aren't numbers that fit its shape."""
    require_gaussian(q=q)
    require_real(**points)
    require_broadcast(q=q.shape, **{name: jnp.shape(x) for name, x in points.items()})


def aligned(*arrays: ArrayLike) -> list[Array]:
    """Returns the arrays broadcast to one shape, in the dtype to compute in."""
    return jnp.broadcast_arrays(*_in_one_dtype(*arrays))


def ranked(*arrays: ArrayLike) -> list[Array]:
    """Returns the arrays with equally many axes, in the dtype to compute in; what is shared is then computed once."""
    rank = max(map(jnp.ndim, arrays))
    return [jnp.expand_dims(x, tuple(range(rank - x.ndim))) for x in _in_one_dtype(*arrays)]


def _in_one_dtype(*arrays: ArrayLike) -> list[Array]:
    """Returns the arrays in the dtype to compute in; if all are weak, they stay weak."""
    if all(map(special.is_weak, arrays)):
        return [jnp.asarray(x) * 1.0 for x in arrays]
    dtype = special.compute_dtype(*arrays)
    return [jnp.asarray(x, dtype) for x in arrays]


def _together(*qs: Gaussian) -> list[Gaussian]:
    """Returns the Gaussians in the dtype to compute in."""
    leaves = [x for q in qs for x in (q.loc, q.raw)]
    return [q._settled(*leaves)._computed() for q in qs]


def _full_raw(q: Gaussian) -> Array:
    return aligned(q.raw, q.loc)[0]


def reparameterize(q: AnyGaussian, noise: ArrayLike) -> Array:
    """Computes reparameterized samples z = mean + σ noise from given noise (Kingma & Welling 2014).

    ``sample`` draws the noise itself. This function is for noise that is shared, antithetic or quasi-random, or drawn
    by another generator.

    Args:
        q: Gaussians of any shape, of independent or correlated elements.
        noise: standard normal numbers that broadcast with q, e.g. ``(K, *q.shape)``. For a ``CholeskyGaussian``,
            z is mean + T noise. A ``LowRankGaussian`` takes L + R numbers per event: those of the L elements, then
            those of the R common factors.

    Returns:
        An array of the broadcast shape and of q's dtype, differentiable in ``q`` and ``noise``.

    >>> float(reparameterize(Gaussian(1.0, 0.0), 2.0))
    3.0
    """
    if isinstance(q, Delegate):
        return q._reparameterize(noise)
    require_points(q, noise=noise)
    return _moved(q, noise)


def _moved(q: Gaussian, noise: ArrayLike) -> Array:
    q = q._settled(noise)
    wide = q._computed()
    mean, std, noise = aligned(wide.mean, wide.std, noise)
    return (mean + special.times(std, noise)).astype(q.dtype)


def sample(key: Array, q: AnyGaussian, shape: tuple[int, ...] = ()) -> Array:
    """Draws reparameterized samples z = mean + σ ε with ε ~ N(0, 1) (Kingma & Welling 2014).

    The noise is drawn in float32 (float64 for float64 inputs), because bfloat16 noise has only 128 distinct values.

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
    """Draws samples as ``sample`` does, and computes their log-densities in nats, as an actor's loss needs them.

    The log-density is computed from the noise, as -½ ε² - log σ - ½ log 2π, and so is right even where the rounded
    sample does not determine it, as for a ``TanhGaussian`` near its bounds. Its gradient is that of log q(z(q); q),
    which includes the path through the sample. For correlated elements it is ``log_prob`` of the sample.

    Args:
        key: a PRNG key.
        q: distributions of any shape.
        shape: leading axes of independent samples.

    Returns:
        Samples of shape ``(*shape, *q.shape)`` and of q's dtype, and log-densities of that shape, float32 or float64;
        without its last axis where q's elements are correlated.

    >>> z, log_density = sample_and_log_prob(jax.random.key(0), Gaussian(jnp.zeros(3), 0.0), shape=(5,))
    >>> z.shape, log_density.shape
    ((5, 3), (5, 3))
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
    """Computes KL(q ‖ p) in nats, elementwise, or per event for correlated elements; without ``p``, to N(0, 1).

    KL(q ‖ N(0, 1)) = ½ (σ² - 1 - log σ² + mean²);
    KL(q ‖ p) = ½ (expm1mx(2ρ) + ((mean_q - mean_p) / σ_p)²) with ρ = log(σ_q / σ_p).
    It is never negative. If q and p have the same parameterization, it keeps its relative accuracy near 0, and is
    exactly 0 for equal Gaussians; otherwise ρ is a difference of logs, with their rounding errors.

    Args:
        q: Gaussians of any shape, of independent or correlated elements.
        p: Gaussians that broadcast with q, in any parameterization. A ``Gaussian`` goes with q of independent or
            correlated elements, and a ``CholeskyGaussian`` with the same except a ``LowRankGaussian``. A
            ``TanhGaussian`` goes only with another one of the same bounds.

    Returns:
        An array of the broadcast shape, float32 or float64; without its last axis where q's or p's elements are
        correlated.

    Raises:
        TypeError: if the KL of this pair of kinds is not implemented.

    >>> float(kl_divergence(Gaussian(1.0, 0.0)))
    0.5
    >>> float(kl_divergence(Gaussian(3.0, 0.0), Gaussian(1.0, 0.0)))
    2.0
    """
    if isinstance(q, Delegate):
        return q._kl_divergence(p)
    if isinstance(p, Delegate):
        return kl_divergence(p._of_this_kind(q), p)
    require_gaussian(q=q, p=q if p is None else p)
    if p is None:
        q = q._computed()
        mean, raw = ranked(q.mean, q.raw)
        return special.weakly(functools.partial(_to_standard, q.parameterization))(mean, raw)
    return _compared(q, p, _scale_cost)


def _half_excess(log_ratio: Array, ratio: Array) -> Array:
    """Returns ½ (ratio² - 1 - log ratio²), given log ratio and ratio; it is inf only where this itself overflows."""
    log_ratio = jnp.minimum(log_ratio, float(np.finfo(log_ratio.dtype).max))  # to avoid inf - inf
    near = jnp.abs(log_ratio) < 0.5
    close = special.expm1mx_near(2 * jnp.where(near, log_ratio, 0)) / 2
    return jnp.where(near, close, ratio * (ratio / 2) - 0.5 - log_ratio)


def _to_standard_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # d/draw = (σ² - 1) gain, where σ is kept finite, so that no infinity meets a gain of 0.
    (mean, raw), (dmean, draw) = primals, tangents
    log_std, gain = p.log_std(raw), p.log_std_gain(raw)
    std = special.finite(p.std(raw))
    near = jnp.abs(log_std) < 0.5
    close = special.expm1_near(2 * jnp.where(near, log_std, 0))
    slope = jnp.where(near, close * gain, std * (std * gain) - gain)
    return _to_standard(p, mean, raw), special.finite(slope) * draw + mean * dmean


@special.with_derivative(_to_standard_jvp, static=1)
def _to_standard(p: Parameterization, mean: Array, raw: Array) -> Array:
    return _sum_of_positive(_half_excess(p.log_std(raw), p.std(raw)), mean * (mean / 2))


def _sum_of_positive(x: Array, y: Array) -> Array:
    """Returns x + y; the select keeps XLA on a CPU from writing both to memory before it sums over events."""
    total = x + y
    return jnp.where(total < 0, 0, total)


@jax.custom_jvp
def _scale_cost(rho: Array) -> Array:
    return _half_excess(rho, special.exp(rho))


@_scale_cost.defjvp
def _scale_cost_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (rho,), (drho,) = primals, tangents
    return _scale_cost(rho), special.finite(_excess_of_square(rho, special.exp(rho))) * drho


def _excess_of_square(log_ratio: Array, ratio: Array) -> Array:
    """Returns ratio² - 1, given log ratio and ratio."""
    near = jnp.abs(log_ratio) < 0.5
    close = special.expm1_near(2 * jnp.where(near, log_ratio, 0))
    return jnp.where(near, close, ratio * ratio - 1)


def _compared(q: Gaussian, p: Gaussian, cost: Callable[[Array], Array]) -> Array:
    """Returns cost(log(σ_q / σ_p)) + ½ ((mean_q - mean_p) / σ_p)²."""
    compare = functools.partial(_compare, q.parameterization, p.parameterization, cost)
    return special.weakly(compare)(*aligned(q.loc, q.raw, p.loc, p.raw))


def _compare_jvp(
    q: Parameterization, p: Parameterization, cost: Callable, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    # Each slope and each of its terms is kept finite: an infinity could meet a 0, or an infinity of opposite sign.
    finite = special.finite
    loc_q, raw_q, loc_p, raw_p = primals
    rho = _log_std_ratio(q, p, raw_q, raw_p)
    _, steep = jax.jvp(cost, (rho,), (jnp.ones_like(rho),))
    mean, pull = jax.vjp(q.mean, loc_q, raw_q)
    by_mean, by_loc_p, by_raw_p = half_square_slopes(p, p.standardize(mean, loc_p, raw_p), loc_p, raw_p)
    by_loc_q, by_raw_q = map(finite, pull(by_mean))
    by_raw_q = finite(finite(steep * q.log_std_gain(raw_q)) + by_raw_q)
    by_raw_p = finite(by_raw_p - finite(steep * p.log_std_gain(raw_p)))
    slopes = zip((by_loc_q, by_raw_q, by_loc_p, by_raw_p), tangents, strict=True)
    return _compare(q, p, cost, *primals), sum(slope * t for slope, t in slopes)


@special.with_derivative(_compare_jvp, static=3)
def _compare(
    q: Parameterization, p: Parameterization, cost: Callable, loc_q: Array, raw_q: Array, loc_p: Array, raw_p: Array
) -> Array:
    distance = p.half_square(q.mean(loc_q, raw_q), loc_p, raw_p)
    return _sum_of_positive(cost(_log_std_ratio(q, p, raw_q, raw_p)), distance)


def _log_std_ratio(q: Parameterization, p: Parameterization, raw_q: Array, raw_p: Array) -> Array:
    """Returns log(σ_q / σ_p)."""
    return q.log_std_ratio(raw_q, raw_p) if q == p else special.difference(q.log_std(raw_q), p.log_std(raw_p))


def log_prob(q: AnyGaussian, x: ArrayLike) -> Array:
    """Computes log N(x; mean, σ²) = -½ ((x - mean) / σ)² - log σ - ½ log 2π in nats, elementwise, or per event.

    Args:
        q: Gaussians of any shape, of independent or correlated elements.
        x: points that broadcast with q, e.g. ``(K, *q.shape)``.

    Returns:
        An array of the broadcast shape, float32 or float64; without its last axis where q's elements are correlated.

    >>> round(float(log_prob(Gaussian(0.0, 0.0), 0.0)), 4)  # -½ log 2π
    -0.9189
    """
    if isinstance(q, Delegate):
        return q._log_prob(x)
    require_points(q, x=x)
    x, loc, raw = ranked(x, q.loc, q.raw)
    return -_with_log_std(q.parameterization.half_square(x, loc, raw), q.parameterization.log_std(raw)) - _LOG_2PI / 2


def standard_log_prob(z: ArrayLike) -> Array:
    """Computes log N(z; 0, 1) = -½ z² - ½ log 2π in nats, elementwise."""
    require_real(z=z)
    (z,) = aligned(z)
    return -z * (z / 2) - _LOG_2PI / 2


def entropy(q: AnyGaussian) -> Array:
    """Computes H(q) = log σ + ½ log(2πe) in nats, elementwise; for correlated elements ½ log det(2πe Σ), per event.

    >>> round(float(entropy(Gaussian(0.0, 0.0))), 4)
    1.4189
    """
    if isinstance(q, Delegate):
        return q._entropy()
    require_gaussian(q=q)
    return q.log_std + (1 + _LOG_2PI) / 2


def cross_entropy(q: AnyGaussian, p: AnyGaussian) -> Array:
    """Computes -E_q[log p] = ½ (σ_q²/σ_p² + (mean_q - mean_p)²/σ_p²) + log σ_p + ½ log 2π in nats, elementwise.

    If the elements of q or p are correlated, it is KL(q ‖ p) + H(q), per event, for the pairs that ``kl_divergence``
    accepts.

    >>> round(float(cross_entropy(Gaussian(1.0, 0.0), Gaussian(0.0, 0.0))), 4)
    1.9189
    """
    if isinstance(q, Delegate):
        if not isinstance(p, Delegate):
            require_gaussian(p=p)
        return jnp.add(*aligned(q._kl_divergence(p), q._entropy()))
    if isinstance(p, Delegate):
        return cross_entropy(p._of_this_kind(q), p)
    require_gaussian(q=q, p=p)
    q, p = _together(q, p)
    squares, log_std = aligned(_compared(q, p, _half_squared_ratio), p.log_std)
    return _with_log_std(squares, log_std) + _LOG_2PI / 2


@jax.custom_jvp
def _half_squared_ratio(rho: Array) -> Array:
    ratio = special.exp(rho)
    return ratio * (ratio / 2)


_half_squared_ratio.defjvps(lambda drho, ans, rho: special.finite(jnp.square(special.exp(rho))) * drho)


def _with_log_std(squares: Array, log_std: Array) -> Array:
    """Returns squares + log σ; where the squares are inf, so is the sum, as log σ tends to -inf more slowly."""
    return jnp.where(squares == jnp.inf, squares, squares + log_std)


def jeffreys(q: AnyGaussian, p: AnyGaussian) -> Array:
    """Computes the symmetric KL(q ‖ p) + KL(p ‖ q) in nats, elementwise or per event (Jeffreys 1946).

    >>> float(jeffreys(Gaussian(1.0, 0.0), Gaussian(0.0, 0.0)))
    1.0
    """
    q, p = (x._computed() if isinstance(x, Distribution) else x for x in (q, p))  # what isn't one is refused next
    return kl_divergence(q, p) + kl_divergence(p, q)


@jax.custom_jvp
def _std_difference(std_q: Array, std_p: Array, rho: Array) -> Array:
    """Returns σ_q - σ_p, computed from rho = log(σ_q / σ_p), which keeps the digits if the two are near."""
    wider = jnp.where(rho > 0, std_q, std_p)
    return jnp.where(rho == 0, 0, -jnp.sign(rho) * wider * special.expm1(-jnp.abs(rho)))


_std_difference.defjvps(lambda dq, *_: dq, lambda dp, *_: -dp, None)


@jax.custom_jvp
def _distance(x: Array, y: Array) -> Array:
    return jnp.hypot(x, y)


@_distance.defjvp
def _distance_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The unit vector, computed after scaling to 1; where x = y = 0, a subgradient, which is 0.
    x, y = map(special.finite, primals)
    scale = jax.lax.stop_gradient(jnp.clip(jnp.maximum(jnp.abs(x), jnp.abs(y)), *_normal(x.dtype)))
    x, y = x / scale, y / scale
    zero = (x == 0) & (y == 0)
    length = jnp.sqrt(jnp.where(zero, 1, x * x + y * y))
    return _distance(*primals), x / length * tangents[0] + y / length * tangents[1]


def _normal(dtype: jnp.dtype) -> tuple[float, float]:
    return float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)


def wasserstein2(q: Gaussian, p: Gaussian) -> Array:
    """Computes the 2-Wasserstein distance sqrt((mean_q - mean_p)² + (σ_q - σ_p)²), elementwise, in units of x.

    The distance of diagonal Gaussians over event axes is the root of the sum of squares. As a loss, take the sum of
    squares itself, which is differentiable at q = p. A σ that overflows counts as the largest finite number.

    >>> float(wasserstein2(Gaussian(3.0, 0.0), Gaussian(1.0, 0.0)))
    2.0
    """
    require_gaussian(q=q, p=p)
    q, p = _together(q, p)
    rho = _log_std_ratio(q.parameterization, p.parameterization, *aligned(q.raw, p.raw))
    std_q, std_p, mean_q, mean_p, rho = aligned(special.finite(q.std), special.finite(p.std), q.mean, p.mean, rho)
    return _distance(mean_q - mean_p, _std_difference(std_q, std_p, rho))


class Fisher(NamedTuple):
    """The Fisher metric of (loc, raw) per element: the symmetric 2×2 matrix ((loc, cross), (cross, raw)).

    >>> Fisher(loc=1.0, raw=0.5, cross=0.0).raw
    0.5
    """

    loc: Array
    raw: Array
    cross: Array


jax.export.register_namedtuple_serialization(Fisher, serialized_name="jaxvae.Fisher")


def fisher(q: Gaussian) -> Fisher:
    """Computes the Fisher metric of (loc, raw), which is the Hessian of KL(q ‖ q') at q' = q, elementwise.

    It is diag(1/σ², 2 gain²) with gain = d log σ / d raw. Under a natural parameterization raw also moves the mean, and
    the metric has a cross term.

    >>> [float(entry) for entry in fisher(Gaussian(0.0, 0.0))]  # loc, raw, cross
    [1.0, 0.5, 0.0]
    """
    require_gaussian(q=q)
    loc, raw = aligned(q.loc, q.raw)
    by_loc, by_raw = q.parameterization.mean_slopes(loc, raw)
    gain = q.parameterization.log_std_gain(raw)
    times = special.times
    return Fisher(times(by_loc, by_loc), times(by_raw, by_raw) + 2 * times(gain, gain), times(by_loc, by_raw))


def natural_parameters(q: Gaussian) -> tuple[Array, Array]:
    """Computes the natural parameters (η₁, η₂) = (mean/σ², -1/(2σ²)), elementwise.

    >>> [float(eta) for eta in natural_parameters(Gaussian(3.0, 0.0))]
    [3.0, -0.5]
    """
    require_gaussian(q=q)
    loc, raw = aligned(q.loc, q.raw)
    return q.parameterization.precision_weighted_mean(loc, raw), -_half_precision(q.parameterization, raw)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _half_precision(p: Parameterization, raw: Array) -> Array:
    inverse = 1 / p.std(raw)
    return inverse * (inverse / 2)


@_half_precision.defjvp
def _half_precision_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (raw,), (draw,) = primals, tangents
    half = _half_precision(p, raw)
    return half, special.finite(special.times(-2 * half, p.log_std_gain(raw))) * draw


def expectation_parameters(q: Gaussian) -> tuple[Array, Array]:
    """Computes the expectation parameters (E[x], E[x²]) = (mean, mean² + σ²), elementwise.

    >>> [float(mu) for mu in expectation_parameters(Gaussian(3.0, 0.0))]
    [3.0, 10.0]
    """
    require_gaussian(q=q)
    q = q._computed()
    mean = q.mean
    return mean, special.times(mean, mean) + q.variance


def from_natural_parameters(
    eta1: ArrayLike, eta2: ArrayLike, parameterization: Parameterization | str = log_variance
) -> Gaussian:
    """Returns the Gaussian with these natural parameters: mean = -η₁/(2η₂), σ² = -1/(2η₂).

    Raises:
        ValueError: outside ``jit``, if an η₂ is not negative or a σ is out of the parameterization's range. Inside
            ``jit``, the result is NaN there.

    >>> float(from_natural_parameters(3.0, -0.5).mean)
    3.0
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
    negative = eta2 < 0
    eta2 = jnp.where(negative, eta2, -1)  # a stand-in with finite slopes
    mean, log_std = special.over(-eta1, 2 * eta2), -special.log(-2 * eta2) / 2
    mean, log_std = (jnp.where(negative, x, jnp.nan) for x in (mean, log_std))
    p = as_parameterization(parameterization)
    return _from_moments(mean, log_std, p, given.loc, given.raw)


def _from_moments(mean: Array, log_std: Array, p: Parameterization, *like: Array) -> Gaussian:
    """Returns the Gaussian with this mean and log σ, in the dtype of the arrays ``like``."""
    raw = p.raw_from_log_std(log_std)
    loc = p.loc_from_mean(mean, raw)
    if all(map(special.is_weak, like)):
        return Gaussian(loc, raw, p)
    dtype = jnp.result_type(*like)
    return Gaussian(loc.astype(dtype), raw.astype(dtype), p)


def convert(q: Gaussian, parameterization: Parameterization | str) -> Gaussian:
    """Returns the same distribution in another parameterization.

    Raises:
        ValueError: outside ``jit``, if a σ of q is out of the new range. Inside ``jit``, raw is NaN there.

    >>> float(convert(Gaussian(0.0, 2.0), "log_std").raw)  # log σ is half of log σ²
    1.0
    """
    require_gaussian(q=q)
    parameterization = as_parameterization(parameterization)
    if parameterization == q.parameterization:
        return q
    wide = q._computed()
    return _from_moments(wide.mean, wide.log_std, parameterization, q.loc, q.raw)


def product(*factors: Gaussian, parameterization: Parameterization | str | None = None) -> Gaussian:
    """Returns the normalized product of Gaussian densities: precisions add, and means are averaged by precision.

    This is a product of experts (Hinton 2002), and the posterior of a ladder VAE (Sønderby et al. 2016, eq. 17).

    Args:
        factors: Gaussians that broadcast together.
        parameterization: the parameterization of the result; by default, that of the first factor.

    Raises:
        ValueError: if there are no factors; or like ``convert``, if a σ of the result is out of range.

    >>> q = product(Gaussian(0.0, 0.0), Gaussian(2.0, 0.0))
    >>> float(q.mean), float(q.variance)
    (1.0, 0.5)
    """
    if not factors:
        raise ValueError("product needs at least one Gaussian, got none")
    require_gaussian(**{f"factors[{i}]": factor for i, factor in enumerate(factors)})
    wide = _together(*factors)
    precise = jnp.stack(aligned(*(-2 * f.log_std for f in wide)))  # (factors, ...)
    log_precisions = special.finite(precise)
    means = jnp.stack(aligned(*(f.mean for f in wide)))
    mean = _weighted_mean(log_precisions, means)
    log_std = -jax.nn.logsumexp(log_precisions, axis=0) / 2
    log_std = jnp.where(jnp.max(precise, axis=0) == jnp.inf, -jnp.inf, log_std)
    p = factors[0].parameterization if parameterization is None else as_parameterization(parameterization)
    return _from_moments(mean, log_std, p, *(x for f in factors for x in (f.loc, f.raw)))


@jax.custom_jvp
def _weighted_mean(log_weights: Array, x: Array) -> Array:
    """Returns Σ_i w_i x_i along the first axis, w = softmax(log_weights), about the first x: equal ones stay equal."""
    weights = jax.nn.softmax(log_weights, axis=0)
    about = x[0] + jnp.sum(special.times(weights, x - x[:1]), axis=0)
    return jnp.where(jnp.isinf(x).any(axis=0), jnp.sum(special.times(weights, x), axis=0), about)


@_weighted_mean.defjvp
def _weighted_mean_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The slope by log_weights_i is w_i (x_i - mean), here about the x of the largest weight to avoid cancellation.
    log_weights, x = primals
    weights = jax.nn.softmax(log_weights, axis=0)
    apart = special.finite(x - jnp.take_along_axis(x, jnp.argmax(log_weights, axis=0)[None], axis=0))
    slopes = special.finite(special.times(weights, apart - jnp.sum(special.times(weights, apart), axis=0)[None]))
    return _weighted_mean(*primals), jnp.sum(slopes * tangents[0] + weights * tangents[1], axis=0)
