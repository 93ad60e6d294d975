"""The truth behind ``benchmarks.accuracy``: a grid of Gaussians as stored, and their numbers by mpmath in 60 digits."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
import mpmath
import numpy as np
from mpmath import mp, mpf

import jaxvae as jv

mp.dps = 60

REGIONS = ("near collapse", "ordinary", "extreme")
QUANTITIES = {
    "kl": ("KL(q ‖ N(0, 1))", ("loc", "raw")),
    "kl_between": ("KL(q ‖ p)", ("loc_q", "raw_q", "loc_p", "raw_p")),
    "log_prob": ("log-density", ("loc", "raw")),
    "entropy": ("entropy", ("loc", "raw")),
    "cdf": ("distribution function", ("loc", "raw")),
    "log_cdf": ("log of the distribution function", ("loc", "raw")),
}
"""Each quantity's name, and what it is differentiated by: its first inputs."""

DISTANCES = np.logspace(-4, -1, 13)
ORDINARY = np.linspace(-8, 8, 65)
EXTREME = np.arange(9, 201)
KINKS = (-30, 20)
"""Where diffusers' clip has no derivative."""


@functools.cache
def softplus(r: mpf) -> tuple[mpf, mpf]:
    """log σ and d log σ / d raw."""
    std = mpmath.log1p(mpmath.exp(r))
    return mpmath.log(std), 1 / (1 + mpmath.exp(-r)) / std


def clipped(r: mpf) -> tuple[mpf, mpf]:
    """Of a log-variance in [-30, 20]."""
    return min(max(r, mpf(-30)), mpf(20)) / 2, mpf(-30 < r < 20) / 2


@functools.cache
def floored(r: mpf) -> tuple[mpf, mpf]:
    """Of a variance e^r + 1e-4."""
    variance = mpmath.exp(r) + mpf("1e-4")
    return mpmath.log(variance) / 2, mpmath.exp(r) / variance / 2


LOG_STD: dict[str, Callable[[mpf], tuple[mpf, mpf]]] = {
    "softplus_std": softplus,
    "log_std": lambda r: (r, mpf(1)),
    "log_variance": lambda r: (r / 2, mpf("0.5")),
    "diffusers_log_variance": clipped,
    "scvi_variance": floored,
}
Terms = list[list[mpf]]
"""Of a quantity's value and derivatives."""


def kl(log_std: Callable, loc: mpf, raw: mpf) -> Terms:
    """½ (σ² - 1 - log σ²) + ½ loc²."""
    s, gain = log_std(raw)
    slope = mpmath.expm1(2 * s)
    return [[(slope - 2 * s) / 2, loc**2 / 2], [loc], [gain * slope]]


def kl_between(log_std: Callable, loc_q: mpf, raw_q: mpf, loc_p: mpf, raw_p: mpf) -> Terms:
    """½ (e^2ρ - 1 - 2ρ) + ½ z², with ρ = log σ_q / σ_p and z the distance of the means in σ_p."""
    (s_q, gain_q), (s_p, gain_p) = log_std(raw_q), log_std(raw_p)
    t, inverse = 2 * (s_q - s_p), mpmath.exp(-s_p)
    z, slope = (loc_q - loc_p) * inverse, mpmath.expm1(t)
    half = [(slope - t) / 2, z * z / 2]
    return [half, [z * inverse], [gain_q * slope], [-z * inverse], [-gain_p * slope, -gain_p * z * z]]


def log_prob(log_std: Callable, loc: mpf, raw: mpf, x: mpf) -> Terms:
    """-½ z² - log σ - ½ log 2π."""
    s, gain = log_std(raw)
    inverse = mpmath.exp(-s)
    z = (x - loc) * inverse
    return [[-z * z / 2, -s, -mpmath.log(2 * mp.pi) / 2], [z * inverse], [gain * z * z, -gain]]


def entropy(log_std: Callable, loc: mpf, raw: mpf) -> Terms:
    """Log σ + ½ log 2πe."""
    s, gain = log_std(raw)
    return [[s, (1 + mpmath.log(2 * mp.pi)) / 2], [0 * loc], [gain]]


def mills(t: mpf) -> mpf:
    """(1 - Φ(t)) / φ(t); beyond 100 by its asymptotic series, of which 30 terms have 60 digits."""
    if t < 100:
        return mpmath.ncdf(-t) / mpmath.npdf(t)
    term = total = 1 / t
    for n in range(1, 30):
        term *= -(2 * n - 1) / t**2
        total += term
    return total


def density(z: mpf) -> mpf:
    """φ(z), of which far away nothing is left that a float has."""
    return mpmath.npdf(z) if abs(z) < 1000 else mpf(0)


def cdf(log_std: Callable, loc: mpf, raw: mpf, x: mpf) -> Terms:
    """Φ(z)."""
    s, gain = log_std(raw)
    inverse = mpmath.exp(-s)
    z = (x - loc) * inverse
    value = density(z) * mills(-z) if z < 0 else 1 - density(z) * mills(z)
    return [[value], [-density(z) * inverse], [-density(z) * gain * z]]


def log_cdf(log_std: Callable, loc: mpf, raw: mpf, x: mpf) -> Terms:
    """log Φ(z), whose derivative by z is φ / Φ."""
    s, gain = log_std(raw)
    inverse = mpmath.exp(-s)
    z = (x - loc) * inverse
    if z < 0:
        value, slope = mpmath.log(mills(-z)) - z * z / 2 - mpmath.log(2 * mp.pi) / 2, 1 / mills(-z)
    else:
        above = density(z) * mills(z)
        value, slope = mpmath.log1p(-above), density(z) / (1 - above)
    return [[value], [-slope * inverse], [-slope * gain * z]]


TRUTH: dict[str, Callable[..., Terms]] = {f.__name__: f for f in (kl, kl_between, log_prob, entropy, cdf, log_cdf)}


@functools.cache
def response(quantity: str, name: str, inputs: tuple[float, ...]) -> list[float]:
    """The change of each output, relative to its terms, by that of the inputs, relative to them."""
    truth, x, step = functools.partial(TRUTH[quantity], LOG_STD[name]), [mpf(i) for i in inputs], mpf("1e-30")
    moved = [truth(*x[:i], x[i] * (1 + step), *x[i + 1 :]) for i in range(len(x))]
    changes = [
        sum(abs(sum(after[k]) - sum(before)) for after in moved) / (sum(map(abs, before)) or 1)
        for k, before in enumerate(truth(*x))
    ]
    return [float(change / step) for change in changes]


class Points(NamedTuple):
    """Inputs as stored, the raw that stands for each point, its region, and the truth.

    That is, (points, outputs) each, a sum of two float64, and the sum of its terms' magnitudes.
    """

    inputs: tuple[np.ndarray, ...]
    at: np.ndarray
    region: np.ndarray
    high: np.ndarray
    low: np.ndarray
    scale: np.ndarray


def grid(quantity: str, p: jv.Parameterization) -> Iterator[tuple[str, float, tuple[float, ...]]]:
    """Region, raw, and inputs."""
    one = float(p.raw_from_std(1.0))
    near = [sign * float(d) for d in DISTANCES for sign in (-1, 1)]
    far = [float(r) for r in (*ORDINARY, *-EXTREME, *EXTREME) if r not in KINKS]
    raws = [*((REGIONS[0], one + d) for d in near), *((REGIONS[1 + (abs(r) > ORDINARY[-1])], r) for r in far)]
    if quantity == "kl_between":
        for d, raw, shift in itertools.product(near, (one - 3.3, one, one + 2.7), (0, 0.1)):
            yield REGIONS[0], raw + d, (0.4 + shift * d, raw + d, 0.4, raw)
        for region, r in raws[len(near) :]:
            for loc, raw_q, raw_p in ((-0.9, r, 0.6), (-0.9, 0.6, r), (-0.9, r, r), (0.3, r, r)):
                yield region, r, (0.3, raw_q, loc, raw_p)
    elif quantity == "log_prob":
        for region, r in raws:
            sigma = float(mpmath.exp(LOG_STD[p.name](mpf(r))[0]))
            for loc, x in ((0.7, 0.7), (0.7, -1.2), (0.0, 1.3 * sigma)):
                yield region, r, (loc, r, x)
    elif quantity in ("cdf", "log_cdf"):
        for region, r in raws:
            sigma = float(mpmath.exp(LOG_STD[p.name](mpf(r))[0]))
            for loc, x in ((0.0, 0.0), (0.7, -1.2), (0.0, 1.3 * sigma), (0.0, -6 * sigma)):
                yield region, r, (loc, r, x)
    else:
        for region, r in raws:
            for loc in (0.0, 1e-3) if region == REGIONS[0] else (0.0, 0.7, -30.0):
                yield region, r, (loc, r)


def stored(x: float, dtype: str) -> float:
    """In a dtype, where it is a normal number or 0."""
    limits = jnp.finfo(dtype)
    x = float(np.asarray(np.clip(x, float(limits.min), float(limits.max)), dtype))
    return x if abs(x) >= float(limits.tiny) else 0.0


def points(quantity: str, p: jv.Parameterization, dtype: str) -> Points:
    """The grid rounded to a dtype, each point once, without those near collapse whose two fell onto each other."""
    found: dict[tuple[float, ...], tuple[str, float]] = {}
    for region, r, inputs in grid(quantity, p):
        rounded = tuple(stored(x, dtype) for x in inputs)
        if region != REGIONS[0] or quantity != "kl_between" or rounded[1] != rounded[3]:
            found.setdefault(rounded, (region, stored(r, dtype)))
    outputs = [TRUTH[quantity](LOG_STD[p.name], *map(mpf, inputs)) for inputs in found]
    true = [[sum(terms) for terms in output] for output in outputs]
    high = np.array(true, float)
    low = np.array([[t - mpf(h) for t, h in zip(*row, strict=True)] for row in zip(true, high, strict=True)], float)
    scale = np.array([[sum(map(abs, terms)) for terms in output] for output in outputs], float)
    region, at = (np.array(x) for x in zip(*found.values(), strict=True))
    return Points(tuple(np.array(x).astype(dtype) for x in zip(*found, strict=True)), at, region, high, low, scale)
