"""Parameterizations, which say how a raw number becomes a standard deviation.

A parameterization is two choices. The *quantity* is what the network models: ``std``, ``variance`` or ``precision``.
The *transform* says how an unconstrained number becomes that quantity. Nothing else in the library knows how σ arises:
sampling, KL, densities and plots use the parameterization.

To add one, write a line like those at the end of this file; a new transform goes to ``transforms.py``.
``check_parameterization`` then says whether it keeps the contract.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxvae import special
from jaxvae.arguments import STATIC, holds_tracer, require, require_broadcast, shown
from jaxvae.chains import Affine, Chain, Clip, Floor, HardClip, SoftClip, TanhClip
from jaxvae.special import finite
from jaxvae.texts import nearest
from jaxvae.transforms import (
    Abs,
    Exp,
    ExpLinear,
    HalfBounded,
    Identity,
    Interval,
    Sigmoid,
    Softplus,
    Square,
    Squareplus,
    Transform,
    power,
)

QUANTITIES: Mapping[str, tuple[float, str]] = MappingProxyType(
    {"std": (1, "σ"), "variance": (0.5, "σ²"), "precision": (-0.5, "1/σ²")}
)
"""Each quantity's exponent (std = quantity^exponent) and its symbol."""


@dataclasses.dataclass(frozen=True)
class Parameterization:
    """A quantity and the transform from a raw number to it; static and hashable.

    Two parameterizations are equal if their quantities and transforms are equal; name and source don't count. All
    methods are elementwise; for 16-bit inputs they compute and return float32.

    Attributes:
        quantity: ``std``, ``variance`` or ``precision``.
        transform: the map from raw to the quantity.
        name: its name in the registry.
        source: where it is used or was proposed.

    Raises:
        ValueError: if the quantity is unknown, or the transform isn't a ``Transform``.
        TypeError: if the transform holds traced arrays, by which JAX could not differentiate.

    >>> mine = Parameterization("precision", Softplus())
    >>> mine.formula
    '1/σ² = softplus(r)'
    >>> round(float(mine.log_std(-200.0)), 4)  # σ = e^100, whose square overflows in float32
    100.0
    """

    quantity: str
    transform: Transform
    name: str = dataclasses.field(default="", compare=False)
    source: str = dataclasses.field(default="", compare=False)

    def __post_init__(self) -> None:
        known = isinstance(self.quantity, str) and self.quantity in QUANTITIES
        require(known, "Parameterization.quantity", self.quantity, " or ".join(map(repr, QUANTITIES)))
        known = isinstance(self.transform, Transform)
        require(known, "Parameterization.transform", self.transform, "an instance of a subclass of jv.Transform")
        if holds_tracer(self):
            raise TypeError(f"Parameterization.transform must be made of numbers, got traced ones: {STATIC}")

    @property
    def exponent(self) -> float:
        """The exponent k in std = quantity^k."""
        return QUANTITIES[self.quantity][0]

    @property
    def formula(self) -> str:
        """The formula as plain text in the raw number r."""
        return f"{QUANTITIES[self.quantity][1]} = {self.transform.formula()}"

    @property
    def std_range(self) -> Interval:
        """The range of standard deviations that it can express."""
        low, high, closed = self.transform.range
        ends = (_power(max(low, 0.0), self.exponent), _power(high, self.exponent))
        return Interval(min(ends), max(ends), closed)

    @special.weakly
    def log_std(self, raw: ArrayLike) -> Array:
        """Returns log σ, which is right even where σ itself under- or overflows."""
        return _log_std(self, special.computed(raw=raw))

    @special.weakly
    def std(self, raw: ArrayLike) -> Array:
        """Returns the standard deviation σ."""
        return _power_of(self, self.exponent, special.computed(raw=raw))

    @special.weakly
    def variance(self, raw: ArrayLike) -> Array:
        """Returns the variance σ²."""
        return _power_of(self, 2 * self.exponent, special.computed(raw=raw))

    @special.weakly
    def precision(self, raw: ArrayLike) -> Array:
        """Returns the precision 1/σ²."""
        return _power_of(self, -2 * self.exponent, special.computed(raw=raw))

    @special.weakly
    def log_std_gain(self, raw: ArrayLike) -> Array:
        """Returns the gain, which is d log σ / d raw."""
        return _log_std_gain(self, special.computed(raw=raw))

    @special.weakly
    def log_std_ratio(self, raw_q: ArrayLike, raw_p: ArrayLike) -> Array:
        """Returns log(σ_q / σ_p), with full relative accuracy where the raws are near, and exactly 0 where equal."""
        raw_q, raw_p = special.computed(raw_q=raw_q), special.computed(raw_p=raw_p)
        require_broadcast(raw_q=raw_q.shape, raw_p=raw_p.shape)
        return _log_std_ratio(self, raw_q, raw_p)

    @special.weakly
    def mean(self, loc: ArrayLike, raw: ArrayLike) -> Array:
        """Returns the mean, which is loc except under a natural parameterization."""
        del raw
        return special.computed(loc=loc)

    @special.weakly
    def loc_from_mean(self, mean: ArrayLike, raw: ArrayLike) -> Array:
        """Returns the loc whose mean is ``mean``."""
        del raw
        return special.computed(mean=mean)

    @special.weakly
    def standardize(self, x: ArrayLike, loc: ArrayLike, raw: ArrayLike) -> Array:
        """Returns (x - mean) / σ, which is 0 for x = mean at any raw; it is kept finite, and so are its slopes."""
        x, loc, raw = special.computed(x=x), special.computed(loc=loc), special.computed(raw=raw)
        require_broadcast(x=x.shape, loc=loc.shape, raw=raw.shape)
        return _standardize(self, x, loc, raw)

    @special.weakly
    def half_square(self, x: ArrayLike, loc: ArrayLike, raw: ArrayLike) -> Array:
        """Returns ½ ((x - mean) / σ)²; it is 0 for x = mean at any raw, and inf only where the true value overflows."""
        x, loc, raw = special.computed(x=x), special.computed(loc=loc), special.computed(raw=raw)
        require_broadcast(x=x.shape, loc=loc.shape, raw=raw.shape)
        return _half_square(self, x, loc, raw)

    @special.weakly
    def mean_slopes(self, loc: ArrayLike, raw: ArrayLike) -> tuple[Array, Array]:
        """Returns (d mean / d loc, d mean / d raw) in units of σ, kept finite."""
        inverse = _inverse_std(self, special.computed(raw=raw))
        return inverse, jnp.zeros_like(inverse)

    def _standardized(self, x: Array, loc: Array, raw: Array) -> Array:
        """Returns (x - mean) / σ, kept finite."""
        mean = self.mean(loc, raw)
        delta = x - mean
        # The difference of finite numbers may overflow, and infinity times 1/σ = 0 would be NaN.
        delta = jnp.where(jnp.isinf(x) | jnp.isinf(mean), delta, finite(delta))
        return finite(jnp.where(delta == 0, 0, self.transform.scaled(delta, raw, -self.exponent)))

    @special.weakly
    def precision_weighted_mean(self, loc: ArrayLike, raw: ArrayLike) -> Array:
        """Returns mean / σ², the first natural parameter, which is 0 where the mean is 0, at any raw."""
        inverse = finite(self.transform.power(special.computed(raw=raw), -self.exponent))
        return special.times(special.times(self.mean(loc, raw), inverse), inverse)

    @special.weakly
    def raw_from_std(self, std: ArrayLike) -> Array:
        """Returns the raw whose standard deviation is ``std``.

        Raises:
            ValueError: outside ``jit``, if a std is out of ``std_range``. Inside ``jit``, the result is NaN there.
        """
        std = special.computed(std=std)
        quantity = power(std, 1 / self.exponent)
        usable = (quantity >= float(np.finfo(std.dtype).tiny)) & (quantity < jnp.inf)
        direct = self.transform.inverse(jnp.where(usable, quantity, 1))
        raw = jnp.where(
            usable, direct, self.transform.log_inverse(special.log(jnp.where(std < 0, 1, std)) / self.exponent)
        )
        return self._within_range(raw, std, "std", self.std_range)

    @special.weakly
    def raw_from_log_std(self, log_std: ArrayLike) -> Array:
        """Returns the raw whose log standard deviation is ``log_std``; raises like ``raw_from_std``."""
        log_std = special.computed(log_std=log_std)
        raw = special.with_finite_slopes(lambda x: self.transform.log_inverse(x / self.exponent), log_std)
        interval = self.std_range.map(lambda x: math.log(x) if x > 0 else -math.inf)
        return self._within_range(raw, log_std, "log_std", interval)

    def _within_range(self, raw: Array, value: Array, field: str, interval: Interval) -> Array:
        """Returns raw, or NaN where the value is outside the interval; outside ``jit``, raises ValueError instead.

        A closed end admits 4 ulp more, for values that were rounded to it.
        """
        low, high = (jnp.asarray(end, value.dtype) for end in interval[:2])
        if interval.closed:
            slack = 4 * float(np.finfo(value.dtype).eps) * jnp.abs(value)
            inside = (value >= low - slack) & (value <= high + slack)
        else:
            inside = (value > low) & (value < high)
        try:
            if not jnp.all(inside):
                worst = jnp.ravel(value)[jnp.argmin(jnp.ravel(inside))]
                require(False, field, float(worst), f"in {interval} for {self.name or self.formula}")
        except jax.errors.ConcretizationTypeError:
            pass
        return jnp.where(inside, raw, jnp.nan)


def as_parameterization(x: object) -> Parameterization:
    """Returns a parameterization as it is, or the registered one with this name.

    Raises:
        TypeError: if it is neither a parameterization nor a name.
        ValueError: if the name is unknown.
    """
    if isinstance(x, str):
        return parameterization(x)
    if not isinstance(x, Parameterization):
        raise TypeError(f"parameterization must be a Parameterization or the name of one, got {shown(x)}")
    return x


def _power(x: float, exponent: float) -> float:
    return x**exponent if x > 0 or exponent > 0 else math.inf


# These are compiled, so that a call outside jit is one program, and a parameterization is traced once for each shape.
@functools.partial(special.compiled, static=1)
def _log_std(p: Parameterization, raw: Array) -> Array:
    log = p.transform.log_forward(raw)
    return p.exponent * (log if p.transform.logarithmic else special.written_out(log))


@functools.partial(special.compiled, static=1)
def _log_std_gain(p: Parameterization, raw: Array) -> Array:
    return p.exponent * p.transform.log_gain(raw)


@functools.partial(special.compiled, static=2)
def _power_of(p: Parameterization, exponent: float, raw: Array) -> Array:
    return p.transform.power(raw, exponent)


def _inverse_std_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    inverse = _inverse_std(p, *primals)
    return inverse, -finite(special.times(inverse, p.log_std_gain(*primals))) * tangents[0]


@special.with_derivative(_inverse_std_jvp, static=1)
def _inverse_std(p: Parameterization, raw: Array) -> Array:
    """Returns 1/σ; it is kept finite, and so is its slope."""
    return finite(p.transform.scaled(jnp.ones_like(raw), raw, -p.exponent))


def _log_std_ratio_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (raw_q, raw_p), (dq, dp) = primals, tangents
    return _log_std_ratio(p, raw_q, raw_p), p.log_std_gain(raw_q) * dq - p.log_std_gain(raw_p) * dp


@special.with_derivative(_log_std_ratio_jvp, static=1)
def _log_std_ratio(p: Parameterization, raw_q: Array, raw_p: Array) -> Array:
    return p.exponent * p.transform.log_ratio(raw_q, raw_p)


def _slopes(p: Parameterization, z: Array, loc: Array, raw: Array) -> tuple[Array, Array, Array]:
    """Returns the slopes of z = (x - mean) / σ by x, loc and raw: dz = (dx - dmean) / σ - z dlog σ."""
    inverse = _inverse_std(p, raw)
    by_loc, by_raw = p.mean_slopes(loc, raw)
    return inverse, -by_loc, finite(-by_raw - z * p.log_std_gain(raw))


def _standardize_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    z = _standardize(p, *primals)
    return z, sum(slope * t for slope, t in zip(_slopes(p, z, *primals[1:]), tangents, strict=True))


@special.with_derivative(_standardize_jvp, static=1)
def _standardize(p: Parameterization, x: Array, loc: Array, raw: Array) -> Array:
    return p._standardized(x, loc, raw)


def _half_square_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    z = _standardize(p, *primals)
    slopes = half_square_slopes(p, z, *primals[1:])
    return z * (z / 2), sum(slope * t for slope, t in zip(slopes, tangents, strict=True))


@special.with_derivative(_half_square_jvp, static=1)
def _half_square(p: Parameterization, x: Array, loc: Array, raw: Array) -> Array:
    z = _standardize(p, x, loc, raw)
    return z * (z / 2)


def half_square_slopes(p: Parameterization, z: Array, loc: Array, raw: Array) -> tuple[Array, ...]:
    """Returns the slopes of ½ z² by x, loc and raw, kept finite, for z = (x - mean) / σ."""
    # None may meet a 0. Where one is inf, the slopes of its own factors, which would be inf - inf, are left out.
    slopes = (z * slope for slope in _slopes(p, z, loc, raw))
    return tuple(finite(jnp.where(jnp.isinf(slope), jax.lax.stop_gradient(slope), slope)) for slope in slopes)


@dataclasses.dataclass(frozen=True)
class NaturalParameterization(Parameterization):
    """A parameterization by natural parameters: η₁ = loc, η₂ = -g(raw)/2, so that mean = loc σ² (Immer et al. 2023).

    >>> natural = NaturalParameterization("precision", Exp())
    >>> float(natural.mean(6.0, jnp.log(2.0)))  # loc σ² with 1/σ² = 2
    3.0
    """

    @property
    def formula(self) -> str:
        return f"{super().formula}, mean = loc·σ²"

    @special.weakly
    def mean(self, loc: ArrayLike, raw: ArrayLike) -> Array:
        """Returns loc σ², kept finite, so that equal means differ by 0 at any raw."""
        return _natural_mean(self, special.computed(loc=loc), special.computed(raw=raw))

    @special.weakly
    def loc_from_mean(self, mean: ArrayLike, raw: ArrayLike) -> Array:
        mean, raw = jnp.broadcast_arrays(special.computed(mean=mean), special.computed(raw=raw))
        known = ~jnp.isnan(raw)  # raw is NaN where σ is out of range
        return jnp.where(known, special.times(mean, self.precision(jnp.where(known, raw, 0))), jnp.nan)

    @special.weakly
    def precision_weighted_mean(self, loc: ArrayLike, raw: ArrayLike) -> Array:
        del raw
        return special.computed(loc=loc)

    @special.weakly
    def mean_slopes(self, loc: ArrayLike, raw: ArrayLike) -> tuple[Array, Array]:
        def by_raw(loc: Array, raw: Array) -> Array:
            return special.times(2 * (loc * finite(self.std(raw))), self.log_std_gain(raw))

        loc, raw = jnp.broadcast_arrays(special.computed(loc=loc), special.computed(raw=raw))
        return finite(self.std(raw)), finite(special.with_finite_slopes(by_raw, loc, raw))

    def _standardized(self, x: Array, loc: Array, raw: Array) -> Array:
        # Where the mean had to be kept finite, z = x / σ - loc σ is -loc σ.
        mean = self.mean(loc, raw)
        beyond = (jnp.abs(mean) >= float(np.finfo(raw.dtype).max)) & (jnp.abs(x - mean) > 0)
        return jnp.where(beyond, finite(-loc * self.std(raw)), super()._standardized(x, loc, raw))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _natural_mean(p: Parameterization, loc: Array, raw: Array) -> Array:
    return finite(loc * finite(p.variance(raw)))


@_natural_mean.defjvp
def _natural_mean_jvp(p: Parameterization, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (loc, raw), (dloc, draw) = primals, tangents
    mean = _natural_mean(p, loc, raw)
    return mean, finite(p.variance(raw)) * dloc + finite(special.times(2 * mean, p.log_std_gain(raw))) * draw


def behind(clip: Clip, p: Parameterization) -> Parameterization:
    """Returns the same parameterization applied to clip(raw).

    >>> behind(HardClip(low=0.1), direct_std).formula
    'σ = max(r, 0.1)'
    """
    parts = p.transform.parts if isinstance(p.transform, Chain) else (p.transform,)
    return dataclasses.replace(p, transform=Chain(clip, *parts))


def with_gain(p: Parameterization, std: float, gain: float) -> Parameterization:
    """Returns the same family with raw rescaled so that |d log σ / d raw| is ``gain`` where σ is ``std``.

    Raises:
        ValueError: if the std is out of range, or the gain there is 0 or infinite.

    >>> with_gain(log_std, 1.0, 0.5).formula
    'σ = exp(0.5·r)'
    """
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        found = abs(float(p.log_std_gain(p.raw_from_std(np.float64(std)))))
    require(0 < found < math.inf, "std", std, f"one at which the gain of {p.name or p.formula} is above 0 and finite")
    if math.isclose(found, gain, rel_tol=1e-12):
        return p
    return behind(Affine(gain / found), p)


_registry: dict[str, Parameterization] = {}

PARAMETERIZATIONS: Mapping[str, Parameterization] = MappingProxyType(_registry)
"""All parameterizations by name; the command line lists them, the study sweeps them, and the tests go through them."""

ALIASES: Mapping[str, str] = MappingProxyType({"dehaene_exp_linear": "exp_linear_std"})
"""Aliases, each with the name that it stands for; they are accepted wherever a name is."""


def find(name: str) -> Parameterization | None:
    """Returns the registered parameterization with this name or alias, or None if there is none."""
    return PARAMETERIZATIONS.get(ALIASES.get(name, name))


def parameterization(name: str) -> Parameterization:
    """Returns the registered parameterization with this name or alias.

    Raises:
        ValueError: if the name is unknown; the message suggests the nearest ones.

    >>> parameterization("softplus_std").formula
    'σ = softplus(r)'
    """
    found = find(name) if isinstance(name, str) else None
    if found is None:
        near = nearest(name, [*PARAMETERIZATIONS, *ALIASES], cutoff=0.4)
        allowed = f"those listed by `jaxvae list`; nearest: {', '.join(near)}" if near else ", ".join(PARAMETERIZATIONS)
        raise ValueError(f"parameterization must be one of {allowed}, got {shown(name)}")
    return found


def _named(name: str, quantity: str, transform: Transform, source: str, natural: bool = False) -> Parameterization:
    kind = NaturalParameterization if natural else Parameterization
    _registry[name] = kind(quantity, transform, name, source)
    return _registry[name]


_GRID = "completes the grid quantity × transform"

# The grid, with one line each: name, quantity, transform, source.
log_variance = _named("log_variance", "variance", Exp(), "Kingma & Welling 2014, arXiv:1312.6114")
log_std = _named("log_std", "std", Exp(), "Burda et al. 2016, arXiv:1509.00519; VDVAE, arXiv:2011.10650")
log_precision = _named("log_precision", "precision", Exp(), _GRID)
softplus_std = _named("softplus_std", "std", Softplus(), "Blundell et al. 2015, arXiv:1505.05424")
softplus_variance = _named(
    "softplus_variance", "variance", Softplus(), "Lakshminarayanan et al. 2017, arXiv:1612.01474"
)
softplus_precision = _named("softplus_precision", "precision", Softplus(), _GRID)
squareplus_std = _named("squareplus_std", "std", Squareplus(), "Barron 2021, arXiv:2112.11687")
squareplus_variance = _named("squareplus_variance", "variance", Squareplus(), _GRID)
exp_linear_std = dehaene_exp_linear = _named(
    "exp_linear_std", "std", ExpLinear(), "Dehaene & Brossard 2021, arXiv:2106.13739; alias dehaene_exp_linear"
)
sigmoid_std = _named("sigmoid_std", "std", Sigmoid(), "Dehaene & Brossard 2021, bounds 0 and 1 chosen here")
sigmoid_variance = _named("sigmoid_variance", "variance", Sigmoid(), _GRID)
natural_exp = _named("natural_exp", "precision", Exp(), "Immer et al. 2023 (NeurIPS)", natural=True)
natural_softplus = _named("natural_softplus", "precision", Softplus(), "Immer et al. 2023 (NeurIPS)", natural=True)

# The baselines that fail: they have no transform, or one that isn't one-to-one.
direct_std = _named("direct_std", "std", Identity(), "no constraint")
direct_variance = _named("direct_variance", "variance", Identity(), "no constraint")
projected_std = _named(
    "projected_std", "std", Chain(HardClip(low=1e-4), Identity()), "projection; bound 1e-4 chosen here"
)
square_std = _named("square_std", "std", Square(), "seen in user code")
abs_std = _named("abs_std", "std", Abs(), "seen in user code")

# The parameterizations of published models and code, each in its exact form.
diffusers_log_variance = _named(
    "diffusers_log_variance", "variance", Chain(HardClip(-30, 20), Exp()), "diffusers, DiagonalGaussianDistribution"
)
nvae_log_std = _named(
    "nvae_log_std", "std", Chain(TanhClip(5), Exp(), Floor(1e-2)), "Vahdat & Kautz 2020, arXiv:2007.03898, code"
)
efficient_vdvae_std = _named(
    "efficient_vdvae_std", "std", Softplus(beta=math.log(2)), "Hazami et al. 2022, arXiv:2203.13751"
)
efficient_vdvae_log_std = _named(
    "efficient_vdvae_log_std", "std", Chain(Affine(math.log(2)), Exp()), "Hazami et al. 2022, arXiv:2203.13751"
)
scvi_variance = _named("scvi_variance", "variance", Chain(Exp(), Floor(1e-4)), "scvi-tools, Encoder")
dreamer_std = _named("dreamer_std", "std", Chain(Softplus(), Floor(0.1)), "Hafner et al. 2020, arXiv:1912.01603, code")
dreamer_v2_std = _named(
    "dreamer_v2_std", "std", Chain(Affine(0.5), Sigmoid(0, 2), Floor(0.1)), "Hafner et al. 2021, arXiv:2010.02193, code"
)
sac_log_std = _named(
    "sac_log_std", "std", Chain(HardClip(-20, 2), Exp()), "Haarnoja et al. 2018, arXiv:1801.01290, code"
)
pets_log_variance = _named(
    "pets_log_variance",
    "variance",
    Chain(SoftClip(-10, 0.5), Exp()),
    "Chua et al. 2018, arXiv:1805.12114; its bounds are learned, these are its initial ones",
)
dehaene_up_bounded = _named(
    "dehaene_up_bounded", "std", HalfBounded(2), "Dehaene & Brossard 2021; bound 2 chosen here, so that σ = 1 at 0"
)
sigma_vae_log_std = _named(
    "sigma_vae_log_std", "std", Chain(SoftClip(low=-6), Exp()), "Rybkin et al. 2021, arXiv:2006.13202"
)
