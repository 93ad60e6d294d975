"""Chains of clips, a transform and a floor, which are applied in this order.

Published models bound their variances in many ways. A chain states the exact published form, which can then be measured
and converted: ``Chain(TanhClip(5.0), Exp(), Floor(1e-2))`` is what NVAE does to a log-std.
"""

import dataclasses
import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import special
from jaxvae.arguments import make_floats, require
from jaxvae.clipping import log_floor, soft_clip
from jaxvae.texts import number, scaled
from jaxvae.transforms import Abs, Exp, Factors, Interval, Square, Transform, quartered, with_slope


class Clip:
    """A nondecreasing map from raw to raw, used before a transform."""

    @property
    def range(self) -> Interval:
        """The range of the clip's values."""
        raise NotImplementedError

    def formula(self, r: str = "r") -> str:
        """Returns the clip's formula as plain text, for an argument with the text ``r``."""
        return f"{type(self).__name__}({r})"

    def forward(self, raw: Array) -> Array:
        """Returns the clipped raw."""
        raise NotImplementedError

    def inverse(self, value: Array) -> Array:
        """Returns a raw that is clipped to this value; outside the range the result is undefined."""
        raise NotImplementedError

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        """Returns forward(a) - forward(b), given step = a - b; if step is small, the result is as accurate as step."""
        del step
        return special.difference(self.forward(a), self.forward(b))


@dataclasses.dataclass(frozen=True)
class Affine(Clip):
    """The affine map scale r + shift.

    >>> float(Affine(scale=2.0, shift=1.0).forward(3.0))
    7.0
    """

    scale: float = 1.0
    shift: float = 0.0
    range = Interval(-math.inf, math.inf)

    def __post_init__(self) -> None:
        make_floats(self)
        require(0 < self.scale < math.inf, "Affine.scale", self.scale, "positive and finite")
        require(math.isfinite(self.shift), "Affine.shift", self.shift, "finite")

    def formula(self, r: str = "r") -> str:
        line = scaled(self.scale, r)
        return f"({line} + {number(self.shift)})" if self.shift else line

    def forward(self, raw: Array) -> Array:
        return self.scale * raw + self.shift

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        return self.scale * step

    def inverse(self, value: Array) -> Array:
        return (value - self.shift) / self.scale


@dataclasses.dataclass(frozen=True)
class HardClip(Clip):
    """The clip min(max(r, low), high); its gradient is 0 outside the bounds.

    >>> HardClip(-1.0, 1.0).forward(jnp.array([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        make_floats(self)
        require(self.low < self.high, "HardClip.low", self.low, f"below high = {self.high!r}")

    @property
    def range(self) -> Interval:
        return Interval(self.low, self.high, closed=True)

    def formula(self, r: str = "r") -> str:
        if self.high == math.inf:
            return f"max({r}, {number(self.low)})"
        return f"clip({r}, {number(self.low)}, {number(self.high)})"

    def forward(self, raw: Array) -> Array:
        return jnp.where(raw < self.low, self.low, jnp.where(raw > self.high, self.high, raw))

    def inverse(self, value: Array) -> Array:
        return value

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        inside = (self.low <= a) & (a <= self.high) & (self.low <= b) & (b <= self.high)
        return jnp.where(inside, step, super().difference(a, b, step))


@dataclasses.dataclass(frozen=True)
class TanhClip(Clip):
    """The clip bound tanh(r / bound), in (-bound, bound); its slope sech^2(r / bound) never reaches 0.

    >>> float(TanhClip(5.0).forward(100.0))
    5.0
    """

    bound: float = 5.0

    def __post_init__(self) -> None:
        make_floats(self)
        require(0 < self.bound < math.inf, "TanhClip.bound", self.bound, "positive and finite")

    @property
    def range(self) -> Interval:
        return Interval(-self.bound, self.bound)

    def formula(self, r: str = "r") -> str:
        return scaled(self.bound, f"tanh({r}/{number(self.bound)})")

    def forward(self, raw: Array) -> Array:
        return special.written_out(self.bound * special.tanh(raw / self.bound))

    def inverse(self, value: Array) -> Array:
        return self.bound * jnp.arctanh(value / self.bound)

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        return self.bound * special.tanh_difference(a / self.bound, b / self.bound, step / self.bound)


@dataclasses.dataclass(frozen=True)
class SoftClip(Clip):
    """The clip ``soft_clip`` with fixed bounds, on one side or both; ``soft_clip`` itself also takes learned bounds.

    >>> float(SoftClip(low=-10.0).forward(100.0))
    100.0
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        make_floats(self)
        require(self.low < self.high, "SoftClip.low", self.low, f"below high = {self.high!r}")

    @property
    def range(self) -> Interval:
        if math.inf in (self.high, -self.low):
            return Interval(self.low, self.high)
        return Interval(self.low, self.high + math.log1p(math.exp(self.low - self.high)))

    def formula(self, r: str = "r") -> str:
        if self.high < math.inf:
            r = f"({number(self.high)} - softplus({number(self.high)} - {r}))"
        if self.low > -math.inf:
            r = f"({number(self.low)} + softplus({r} - {number(self.low)}))"
        return r.replace("- -", "+ ")

    def forward(self, raw: Array) -> Array:
        return soft_clip(raw, self.low, self.high)

    def inverse(self, value: Array) -> Array:
        # The solution of low + softplus(r - low) = v is r = v + log1mexp(v - low).
        if self.low > -math.inf:
            value = value + special.log1mexp(value - self.low)
        return value - special.log1mexp(self.high - value) if self.high < math.inf else value

    def difference(self, a: Array, b: Array, step: Array) -> Array:
        if self.high < math.inf:
            step = -special.softplus_difference(self.high - a, self.high - b, -step)
            a, b = (soft_clip(x, high=self.high) for x in (a, b))
        return special.softplus_difference(a - self.low, b - self.low, step) if self.low > -math.inf else step


@dataclasses.dataclass(frozen=True)
class Floor:
    """The floor g + low: a positive number that is added after the transform.

    >>> from jaxvae.transforms import Exp
    >>> float(Chain(Exp(), Floor(0.5)).forward(0.0))
    1.5
    """

    low: float

    def __post_init__(self) -> None:
        make_floats(self)
        require(0 < self.low < math.inf, "Floor.low", self.low, "positive and finite")

    def log_forward(self, log_g: Array) -> Array:
        """Returns log(g + low), given log g."""
        return log_floor(log_g, self.low)


def _image(part: Clip | Transform, interval: Interval) -> tuple[float, float]:
    """Returns the ends of a part's values over an interval; for an infinite end, the end of the part's range."""
    with jax.core.eval_context(), jax.enable_x64(True):  # outside of any trace that asks for it first
        low = float(part.forward(jnp.asarray(float(interval.low)))) if math.isfinite(interval.low) else part.range.low
        high = (
            float(part.forward(jnp.asarray(float(interval.high)))) if math.isfinite(interval.high) else part.range.high
        )
    return low, high


@dataclasses.dataclass(frozen=True, init=False)
class Chain(Transform):
    """Any number of clips, one transform, and optionally a floor, applied to raw in this order.

    >>> from jaxvae.transforms import Exp
    >>> Chain(HardClip(-30, 20), Exp(), Floor(1e-4)).formula("r")
    'exp(clip(r, -30, 20)) + 0.0001'
    """

    parts: tuple[Clip | Transform | Floor, ...]

    def __init__(self, *parts: Clip | Transform | Floor) -> None:
        rest = tuple(itertools.dropwhile(lambda part: isinstance(part, Clip), parts))
        transform, floor = rest[:1], rest[1:]
        ordered = (
            all(isinstance(part, Transform) for part in transform)
            and all(isinstance(part, Floor) for part in floor)
            and len(transform) == 1
            and len(floor) <= 1
        )
        require(ordered, "Chain.parts", parts, "clips, then one transform, then at most one Floor")
        two_to_one = len(rest) < len(parts) and isinstance(rest[0], Abs | Square)
        require(not two_to_one, "Chain.parts", parts, "clips before an increasing transform, not before Abs or Square")
        object.__setattr__(self, "parts", parts)

    @property
    def clips(self) -> tuple[Clip, ...]:
        return tuple(part for part in self.parts if isinstance(part, Clip))

    @property
    def transform(self) -> Transform:
        return next(part for part in self.parts if isinstance(part, Transform))

    @property
    def floor(self) -> Floor | None:
        return self.parts[-1] if isinstance(self.parts[-1], Floor) else None

    @functools.cached_property
    def range(self) -> Interval:
        interval = Interval(-math.inf, math.inf)
        parts: tuple[Clip | Transform, ...] = (*self.clips, self.transform)
        for part in parts:
            ends = _image(part, interval)
            interval = Interval(*ends, interval.closed or part.range.closed)
        shift = self.floor.low if self.floor else 0.0
        return interval.map(lambda x: x + shift)

    @property
    def logarithmic(self) -> bool:
        return self.floor is None and self.transform.logarithmic

    def formula(self, r: str = "r") -> str:
        for clip in self.clips:
            r = clip.formula(r)
        text = self.transform.formula(r)
        return f"{text} + {number(self.floor.low)}" if self.floor else text

    def _clipped(self, raw: Array) -> Array:
        for clip in self.clips:
            raw = clip.forward(raw)
        return raw

    def _unclipped(self, raw: Array) -> Array:
        for clip in reversed(self.clips):
            raw = clip.inverse(raw)
        return raw

    def forward(self, raw: Array) -> Array:
        value = self.transform.forward(self._clipped(raw))
        return value + self.floor.low if self.floor else value

    def log_forward(self, raw: Array) -> Array:
        if self.floor is None:
            return self.transform.log_forward(self._clipped(raw))
        return with_slope(self._log_value, self.log_gain, raw)

    def _log_value(self, raw: Array) -> Array:
        assert self.floor
        return self.floor.log_forward(self.transform.log_forward(self._clipped(raw)))

    def inverse(self, value: Array) -> Array:
        return self._unclipped(self.transform.inverse(value - self.floor.low if self.floor else value))

    def log_inverse(self, log_value: Array) -> Array:
        if self.floor:  # log(y - low) = log y + log(1 - low / y)
            log_value = log_value + special.log1mexp(log_value - math.log(self.floor.low))
        return self._unclipped(self.transform.log_inverse(log_value))

    def log_ratio(self, a: Array, b: Array, step: Array | None = None) -> Array:
        step = special.difference(a, b) if step is None else step
        for clip in self.clips:
            step = clip.difference(a, b, step)
            a, b = clip.forward(a), clip.forward(b)
        if self.floor is None:
            return self.transform.log_ratio(a, b, step)
        return self._floored_log_ratio(a, b, step)

    def log_gain(self, raw: Array) -> Array:
        _, gain = jax.jvp(lambda r: self.transform.log_forward(self._clipped(r)), (raw,), (jnp.ones_like(raw),))
        if self.floor:
            raw = self._clipped(raw)
            _, part, whole = self._floored(raw)
            quarter, inverse = quartered(whole, 1)
            # Next to the floor the part underflows before its quotient does. The tail isn't computed where it isn't
            # chosen, as its slope may be inf there.
            above = part > 1e-30
            tail = self.transform.scaled(jnp.full_like(raw, 1 / self.floor.low), jnp.where(above, 0, raw), 1)
            gain = special.times(gain, jnp.where(above, part * inverse * quarter, tail))
        return gain

    def factors(self, raw: Array) -> Factors:
        raw = self._clipped(raw)
        if self.floor is None:
            return self.transform.factors(raw)
        lead, _, whole = self._floored(raw)
        return Factors(lead, whole)

    def _floored(self, raw: Array) -> tuple[Array | None, Array, Array]:
        """Returns (l, part, whole) of a clipped raw: g(raw) is e^l part, and with the floor e^l whole.

        None stands for l = 0.
        """
        assert self.floor
        low = self.floor.low
        if isinstance(self.transform, Exp) and self._may_overflow:
            e = special.exp(-jnp.abs(raw))
            return jnp.maximum(raw, 0), jnp.where(raw > 0, 1, e), jnp.where(raw > 0, 1 + low * e, e + low)
        value = self.transform.forward(raw)
        return None, value, value + low

    def _floored_log_ratio(self, a: Array, b: Array, step: Array) -> Array:
        assert self.floor
        (lead_a, part_a, whole_a), (lead_b, part_b, whole_b) = self._floored(a), self._floored(b)
        close = jnp.abs(step) <= 1
        inside = jnp.where(close, step, 0)
        leads: Array | float = 0.0
        if lead_a is None or lead_b is None:
            growth = self.transform.difference(a, b, inside)
        else:
            leads, growth = special.difference(lead_a, lead_b), part_b * special.expm1_near(inside)
        near = close | (jnp.maximum(part_a, part_b) < self.floor.low / 2)  # where lead is 0
        rise = jnp.where(close, growth, part_a - part_b)
        quarter, inverse = quartered(whole_b, 1)
        return special.log_quotient(near, jnp.where(near, rise, whole_a) * inverse * quarter, leads)

    @functools.cached_property
    def _may_overflow(self) -> bool:
        return not self.range.high < 1e37

    def power(self, raw: Array, exponent: float) -> Array:
        return super().power(raw, exponent) if self.floor else self.transform.power(self._clipped(raw), exponent)
