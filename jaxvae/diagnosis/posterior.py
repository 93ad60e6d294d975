"""The diagnosis of a posterior: latents that are collapsed, saturated, at a bound, or out of a dtype's range.

This code runs on the host: results are NumPy arrays, and it isn't meant to be traced. The thresholds are in
``criteria``, the descriptions in ``states``. There are N examples and L latents; information is in nats.
"""

import dataclasses
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxvae.arguments import require
from jaxvae.chains import Chain
from jaxvae.diagnosis.criteria import COSTLY, DEAF, DIGITS, IDLE, NEAR_END, PRESENT, STANDARD_ERRORS, STEEP
from jaxvae.diagnosis.states import STATES, Finding, finding
from jaxvae.gaussian import Gaussian, kl_divergence, require_gaussian
from jaxvae.parameterizations import Parameterization
from jaxvae.texts import number, percentage
from jaxvae.transforms import ExpLinear, HalfBounded, Sigmoid, Softplus

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
"""The quantiles over examples that are computed for log σ and the gain."""

_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """The diagnosis of a posterior; as a text, it shows the findings, each with advice.

    Attributes:
        parameterization: the parameterization of the posterior.
        dtype: the dtype for which over- and underflow are judged.
        examples: the number of examples, N.
        kl: each latent's mean KL, (L,).
        information: an upper bound of the information that each latent carries about the examples: the mean KL of q to
            the Gaussian that has the mean and variance of q's mixture over examples, (L,).
        mean_variance: the variance of each latent's posterior mean over examples, (L,).
        log_std: the ``QUANTILES`` of log σ, (5, L).
        gain: the ``QUANTILES`` of |d log σ / d raw|, (5, L).
        shares: the share of examples in which each latent is in a state, (L,), by the state's name.
        findings: what was found, with the most serious first.
    """

    parameterization: Parameterization
    dtype: str
    examples: int
    kl: np.ndarray
    information: np.ndarray
    mean_variance: np.ndarray
    log_std: np.ndarray
    gain: np.ndarray
    shares: Mapping[str, np.ndarray]
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether there is no error and no warning; a note, such as one on an unused latent, is no fault."""
        return all(finding.level == "note" for finding in self.findings)

    @property
    def states(self) -> tuple[tuple[str, ...], ...]:
        """The names of each latent's states, with the most serious first; there are L such tuples."""
        return tuple(tuple(f.name for f in self.findings if latent in f.latents) for latent in range(len(self.kl)))

    def with_findings(self, more: Iterable[Finding]) -> "Diagnosis":
        """Returns the same diagnosis with more findings."""
        order = list(STATES)
        return dataclasses.replace(
            self, findings=tuple(sorted((*self.findings, *more), key=lambda f: order.index(f.name)))
        )

    def table(self) -> str:
        """Returns a line per latent, by falling KL: KL, information, quantiles of log σ, median gain, and states."""
        lines = [f"{'':>5} {'KL':>9} {'tells':>9} {'log σ 5%':>9} {'50%':>9} {'95%':>9} {'gain':>9}  states"]
        for i in np.argsort(-self.kl, kind="stable"):
            numbers = (self.kl[i], self.information[i], *self.log_std[1:4, i], self.gain[2, i])
            states = ", ".join(self.states[i]) or "healthy"
            lines.append(f"{f'z{i}':>5} " + " ".join(f"{x:9.3g}" for x in numbers) + f"  {states}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Returns the diagnosis as plain values for JSON, with None for numbers that aren't finite."""
        rows = {"kl": self.kl, "information": self.information, "mean_variance": self.mean_variance}
        rows |= {"log_std": self.log_std.T, "gain": self.gain.T}
        return {
            "parameterization": self.parameterization.name or self.parameterization.formula,
            "dtype": self.dtype,
            "examples": self.examples,
            "healthy": self.healthy,
            "findings": [finding._asdict() for finding in self.findings],
            "quantiles": list(QUANTILES),
            **{name: _plain(row.tolist()) for name, row in rows.items()},
            "shares": {name: share.tolist() for name, share in self.shares.items() if share.any()},
        }

    def __str__(self) -> str:
        title = (
            f"{self.parameterization.name or self.parameterization.formula} in {self.dtype}, {len(self.kl)} latents, "
            f"{self.examples:,} examples: KL {self.kl.sum():.4g} nats"
        )
        end = [] if not self.healthy else ["no errors, no warnings"] if self.findings else ["healthy"]
        return "\n".join([title, *map(self._paragraph, self.findings), *end])

    def _paragraph(self, finding: Finding) -> str:
        where = _named(finding.latents, len(self.kl)) if finding.latents else "the run"
        head = f"{finding.level:8} {finding.name}: {where}, {percentage(finding.share, least=1e-3)}"
        body = [f"{finding.explanation}.", f"→ {finding.advice}."]
        indent = " " * 9
        return "\n".join(
            textwrap.fill(text, 100, initial_indent=first, subsequent_indent=indent + "  ")
            for text, first in ((head, ""), *((line, indent) for line in body))
        )


def diagnose(q: Gaussian, *, kl: ArrayLike | None = None, dtype: DTypeLike | None = None) -> Diagnosis:
    """Finds the latents of a posterior that have problems, and says what to change.

    Collapse and constancy are judged only if there are at least two examples.

    Args:
        q: the posterior, of shape (..., L); all axes but the last are examples.
        kl: the KL of each element, of q's shape; by default, the KL to N(0, 1).
        dtype: the dtype in which a formula written by hand would compute; by default, that of raw.

    Raises:
        TypeError: if q isn't a ``Gaussian``.
        ValueError: if q has no elements, the KL has another shape, or the dtype isn't a floating-point one.

    >>> q = Gaussian(jnp.zeros((8, 2)), jnp.float32([[0.0, -95.0]] * 8))
    >>> [(f.name, f.latents) for f in diagnose(q).findings if f.level != "note"]
    [('underflow', (1,)), ('constant', (1,))]
    """
    require_gaussian(q=q)
    require(math.prod(q.shape) > 0, "q.shape", q.shape, "of one element or more")
    judged = _name(q.raw.dtype if dtype is None else dtype)
    require(judged in _DTYPES, "dtype", judged, "one of " + ", ".join(_DTYPES))
    p, given = q.parameterization, None if kl is None else jnp.asarray(kl)
    shape = q.shape if given is None else given.shape
    require(shape == q.shape, "kl.shape", shape, f"{q.shape}, as of q")
    columns = (-1, q.shape[-1] if q.shape else 1)
    x = _Elements(*(np.asarray(column, np.float64).reshape(columns) for column in _elements(q, given)))

    masks = _masks(x, p, jnp.finfo(judged))
    usable = ~(masks["not finite"] | masks["σ not positive"])
    mean_kl, mean_variance = _over(np.mean, usable, x.kl), _over(np.var, usable, x.mean)
    information = _over(_information, usable, x.mean, x.log_std)
    collapsed = (len(x.raw) > 1) & (mean_kl < IDLE) & (mean_variance < IDLE)
    masks |= {
        "negative KL": mean_kl < -STANDARD_ERRORS * _over(np.std, usable, x.kl) / math.sqrt(len(x.kl)),
        "posterior collapse" if collapsed.all() else "collapsed": collapsed,
        "constant": (len(x.raw) > 1) & (mean_kl > COSTLY) & (information < IDLE),
    }
    shares = {name: np.atleast_2d(mask).mean(axis=0) for name, mask in masks.items()}

    low, high, _ = p.std_range
    words = {"formula": p.formula, "dtype": judged, "low": number(low), "high": number(high)}
    found = []
    for name, share in shares.items():
        latents = np.flatnonzero(share > 0 if STATES[name].level == "error" else share >= PRESENT).tolist()
        if latents:
            found.append(finding(name, latents, float(share.mean()), **words))
    log_std, gain = (_over(_quantiles, usable, column) for column in (x.log_std, np.abs(x.gain)))
    parts = (mean_kl, information, mean_variance, log_std, gain, MappingProxyType(shares))
    empty = Diagnosis(p, judged, len(x.raw), *parts, ())
    return empty.with_findings(found)


def _name(dtype: DTypeLike) -> str:
    try:
        return jnp.dtype(dtype).name
    except TypeError:
        return str(dtype)


class _Elements(NamedTuple):
    """The numbers of all elements of a posterior, each (N, L) in float64."""

    loc: np.ndarray
    raw: np.ndarray
    mean: np.ndarray
    log_std: np.ndarray
    gain: np.ndarray
    kl: np.ndarray


@jax.jit
def _elements(q: Gaussian, kl: Array | None) -> list[Array]:
    found = (q.loc, q.raw, q.mean, q.log_std, q.parameterization.log_std_gain(q.raw))
    return jnp.broadcast_arrays(*found, kl_divergence(q) if kl is None else kl)


def _masks(x: _Elements, p: Parameterization, limits: Any) -> dict[str, np.ndarray]:
    """Returns which elements are in each state, (N, L), by the state's name; a comparison with NaN is False."""
    finite = np.isfinite(x.loc) & np.isfinite(x.raw)
    positive = finite & (x.log_std > -math.inf)
    low, high, _ = p.std_range
    log_largest, eps = math.log(float(limits.max)), float(limits.eps)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log_mean = np.log(np.abs(x.mean))
        slope = np.maximum(np.abs(np.expm1(2 * x.log_std) * x.gain), np.abs(x.mean))
        found = {
            "infinite KL": ~np.isfinite(x.kl),
            "gradient not finite": ~np.isfinite(x.gain),
            "zero gradient": x.gain == 0,
            "saturated": (x.gain != 0) & (np.abs(x.gain) < DEAF),
            "at the floor": x.log_std < (math.log(low) + NEAR_END if low > 0 else -math.inf),
            "at the ceiling": x.log_std > (math.log(high) - NEAR_END if high < math.inf else math.inf),
            "steep": slope > STEEP,
            "overflow": 2 * np.maximum(x.log_std, log_mean) > log_largest,
            "underflow": 2 * x.log_std < math.log(float(limits.smallest_normal)),
            "exp overflow": _exponent(p, x.raw) > log_largest,
            "noise lost": x.log_std < math.log(eps) + log_mean,
            "lost digits": (x.kl > 0) & (x.kl < DIGITS * eps),
        }
    sound = {name: positive & mask for name, mask in found.items()}
    return {"not finite": ~finite, "σ not positive": finite & ~positive, **sound}


def _exponent(p: Parameterization, raw: np.ndarray) -> np.ndarray:
    """Returns the x of the exp(x) in transforms that contain one and don't grow like it, and -inf for others."""
    clips, core = (p.transform.clips, p.transform.transform) if isinstance(p.transform, Chain) else ((), p.transform)
    if not isinstance(core, Softplus | ExpLinear | Sigmoid | HalfBounded):
        return np.full_like(raw, -math.inf)
    x: ArrayLike = raw
    for clip in clips:
        x = clip.forward(jnp.asarray(x))
    exponent = np.asarray(x, np.float64)
    if isinstance(core, Softplus | ExpLinear):
        return getattr(core, "beta", 1) * exponent
    return np.abs(exponent)  # a sigmoid's exp(-x), and the branches of a HalfBounded


def _information(mean: np.ndarray, log_std: np.ndarray) -> float:
    """Computes ½ log(Var[mean] + E[σ²]) - E[log σ], the most information that a mixture with these moments can carry.

    A Gaussian has the highest entropy for its variance, so this bounds I(x; z) under q from above.
    """
    top = np.max(log_std)
    within = np.log(np.mean(np.exp(2 * (log_std - top)))) + 2 * top
    with np.errstate(divide="ignore"):
        return float(np.logaddexp(np.log(np.var(mean)), within) / 2 - np.mean(log_std))


def _quantiles(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.quantile(x, QUANTILES, method="nearest"))


def _over(f: Callable[..., Any], usable: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Computes a statistic of each latent's usable examples, NaN if there are none; latents are the last axis."""
    none = np.full(1, math.nan)
    with np.errstate(invalid="ignore"):
        rows = [f(*(x[mask, i] if mask.any() else none for x in columns)) for i, mask in enumerate(usable.T)]
    return np.stack(rows, axis=-1)


def _named(latents: tuple[int, ...], count: int) -> str:
    """Returns the names of latents as a text, such as z0, z3-z5."""
    if len(latents) == count:
        return "every latent"
    breaks = np.flatnonzero(np.diff(latents) > 1) + 1
    runs = [(int(run[0]), int(run[-1])) for run in np.split(np.asarray(latents), breaks)]
    return ", ".join(f"z{a}" if a == b else f"z{a}-z{b}" for a, b in runs)


def _plain(x: Any) -> Any:
    if isinstance(x, list):
        return [_plain(y) for y in x]
    return x if math.isfinite(x) else None
