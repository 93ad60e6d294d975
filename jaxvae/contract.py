"""The contract of a parameterization, as checks that run on any parameterization.

``check_parameterization`` runs them all; the same function tests the library's own registry. A check is a function of
the parameterization that raises AssertionError if the contract is broken; the message says what was found.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae.gaussian import Gaussian, cross_entropy, entropy, kl_divergence, log_prob, sample, standard_log_prob
from jaxvae.parameterizations import Parameterization, as_parameterization

SAMPLES = 200_000
STANDARD_ERRORS = 4.5
"""The number of standard errors by which a Monte Carlo result may be off.

By chance, 1 in 150,000 results is off by more; the seed is fixed.
"""

_CHECKS: dict[str, Callable[[Parameterization], None]] = {}


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of ``check_parameterization``.

    Attributes:
        parameterization: the parameterization that was checked.
        failures: what was found, by the name of each check that failed.
        passed: the names of the checks that passed.

    >>> Report("mine", {"monotone": "it falls at 3.0"}, ("invertible",)).ok
    False
    """

    parameterization: Parameterization
    failures: dict[str, str]
    passed: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return not self.failures

    def __str__(self) -> str:
        lines = [f"{self.parameterization.name or 'parameterization'}: {self.parameterization.formula}"]
        lines += [f"  passed  {name}" for name in self.passed]
        lines += [f"  FAILED  {name}: {seen}" for name, seen in self.failures.items()]
        return "\n".join(lines)


def check_parameterization(parameterization: Parameterization | str) -> Report:
    """Checks whether a parameterization, a registered one or your own, keeps the whole contract.

    The names of the checks are ``in_range``, ``monotone``, ``round_trip``, ``consistent`` (std, variance, precision and
    log std agree), ``gain`` (against finite differences in float64), ``ratio`` (of near raws), ``equal`` (KL of
    equals is exactly 0), ``finite`` (no NaN in values or gradients for raw in [-200, 200] in float32),
    ``sampled_std``, ``sampled_kl`` and ``sampled_entropy`` (closed forms against Monte Carlo).

    Args:
        parameterization: the parameterization, or its name. The checks take 5 to 20 seconds on two cores.

    Returns:
        A report: ``report.ok`` is True if all checks passed, and ``print(report)`` says which did not.

    >>> from jaxvae.parameterizations import log_variance
    >>> check_parameterization(log_variance).ok
    True
    """
    parameterization = as_parameterization(parameterization)
    failures: dict[str, str] = {}
    for name, check in _CHECKS.items():
        try:
            check(parameterization)
        except AssertionError as broken:
            failures[name] = str(broken)
        except Exception as raised:  # a user's own code, which may raise anything
            failures[name] = f"{type(raised).__name__}: {raised}"
    return Report(parameterization, failures, tuple(name for name in _CHECKS if name not in failures))


def _check(function: Callable[[Parameterization], None]) -> Callable[[Parameterization], None]:
    _CHECKS[function.__name__.lstrip("_")] = function
    return function


def _require_all(holds: Array | np.ndarray, raw: Array, seen: Array, wanted: str) -> None:
    """Raises AssertionError with the first raw for which a condition does not hold."""
    if not np.all(holds):
        i = int(np.argmin(holds))
        raise AssertionError(f"at raw = {float(raw[i]):.6g} saw {float(seen[i]):.9g}, not {wanted}")


def _grid(low: float = -12.0, high: float = 12.0, count: int = 397) -> Array:
    """Returns a grid of raws that avoids round numbers, where kinks tend to lie."""
    return jnp.linspace(low, high, count) + math.pi / 300


@_check
def _in_range(p: Parameterization) -> None:
    with jax.enable_x64(True):
        raw = _grid()
        std, interval = p.std(raw), p.std_range
        _require_all(std > 0, raw, std, "a positive std")
        inside = (std >= interval.low * (1 - 1e-9)) & (std <= interval.high * (1 + 1e-9))
        _require_all(inside, raw, std, f"a std in {interval}")


@_check
def _monotone(p: Parameterization) -> None:
    with jax.enable_x64(True):
        raw = _grid()
        steps = jnp.diff(p.log_std(raw))
        _require_all((steps >= 0) if jnp.sum(steps) >= 0 else (steps <= 0), raw, steps, "a step of one sign in log std")


@_check
def _round_trip(p: Parameterization) -> None:
    with jax.enable_x64(True):
        raw = _grid()
        std = p.std(raw)
        try:
            back, back_from_log = p.std(p.raw_from_std(std)), p.std(p.raw_from_log_std(jnp.log(std)))
        except ValueError as refused:
            raise AssertionError(f"raw_from_std refused a std of its own: {refused}") from None
        _require_all(jnp.abs(back / std - 1) < 1e-10, raw, back, "std(raw_from_std(std)) = std")
        _require_all(
            jnp.abs(back_from_log / std - 1) < 1e-10, raw, back_from_log, "std(raw_from_log_std(log std)) = std"
        )


@_check
def _consistent(p: Parameterization) -> None:
    with jax.enable_x64(True):
        raw = _grid()
        log_std = p.log_std(raw)
        for name, exponent in (("std", 1), ("variance", 2), ("precision", -2)):
            value = getattr(p, name)(raw)
            _require_all(
                jnp.abs(value / jnp.exp(exponent * log_std) - 1) < 1e-10, raw, value, f"{name} = std^{exponent}"
            )


@_check
def _gain(p: Parameterization) -> None:
    with jax.enable_x64(True):
        raw, h = _grid(), 1e-5
        gain = p.log_std_gain(raw)
        slope = (p.log_std(raw + h) - p.log_std(raw - h)) / (2 * h)
        # Central differences: truncation h²/6 times the third derivative, rounding eps |log std| / h.
        tolerance = 1e-8 * (1 + jnp.abs(p.log_std(raw))) + 1e-6 * jnp.abs(gain)
        _require_all(jnp.abs(gain - slope) <= tolerance, raw, gain, "the slope of log_std")


@_check
def _ratio(p: Parameterization) -> None:
    raw = _grid()
    for step in (1e-3, -1e-2, 0.3, 5.0):
        other = raw + step
        ratio = p.log_std_ratio(other, raw)
        with jax.enable_x64(True):
            other64, raw64 = (jnp.asarray(np.asarray(x), float) for x in (other, raw))
            logs = np.asarray(p.log_std(other64)), np.asarray(p.log_std(raw64))
        true = logs[0] - logs[1]
        # 16 ulp of the ratio, and 2 ulp of the logs if the raws are far apart or have a kink between them.
        kink = np.asarray(p.log_std_gain(raw) == 0) != np.asarray(p.log_std_gain(other) == 0)
        far = (abs(step) > 1) | kink
        eps = float(np.finfo(np.float32).eps)
        tolerance = 16 * eps * np.abs(true) + 1e-14 + far * 2 * eps * (np.abs(logs[0]) + np.abs(logs[1]))
        _require_all(
            np.abs(np.asarray(ratio, float) - true) <= tolerance, raw, ratio, "log std(raw + step) - log std(raw)"
        )


@_check
def _equal(p: Parameterization) -> None:
    raw = _sweep()
    q = Gaussian(jnp.full_like(raw, 1e3), raw, p)
    kl = jax.jit(kl_divergence)(q, q)
    _require_all(kl == 0, raw, kl, "KL(q, q) = 0")


def _sweep() -> Array:
    return jnp.linspace(-200, 200, 2001)


@_check
def _finite(p: Parameterization) -> None:
    raw = _sweep()
    other = Gaussian(jnp.asarray(0.0), jnp.asarray(0.5), p)
    functions: dict[str, Callable[[Array, Array], Array]] = {
        "KL(q, N(0, 1))": lambda loc, r: kl_divergence(Gaussian(loc, r, p)),
        "KL(q, p)": lambda loc, r: kl_divergence(Gaussian(loc, r, p), other),
        "KL(p, q)": lambda loc, r: kl_divergence(other, Gaussian(loc, r, p)),
        "log_prob": lambda loc, r: log_prob(Gaussian(loc, r, p), 1.0),
        "entropy": lambda loc, r: entropy(Gaussian(loc, r, p)),
    }

    @jax.jit
    def evaluate(loc: Array, r: Array) -> dict[str, tuple[Array, tuple[Array, Array]]]:
        return {name: jax.vmap(jax.value_and_grad(f, (0, 1)))(loc, r) for name, f in functions.items()}

    for loc in (0.0, 1e-4, -1e3):
        for name, (value, slopes) in evaluate(jnp.full_like(raw, loc), raw).items():
            for what, seen in (("value", value), ("d/dloc", slopes[0]), ("d/draw", slopes[1])):
                _require_all(~jnp.isnan(seen), raw, seen, f"a number: {what} of {name} with loc {loc:g}")
            if name.startswith("KL"):
                _require_all(value >= 0, raw, value, f"{name} >= 0")


def _drawn(p: Parameterization) -> tuple[Gaussian, Array]:
    """Returns a few Gaussians, (n,), and samples of them, (SAMPLES, n)."""
    raw = jnp.asarray([-1.5, -0.4, 0.3, 1.1, 2.5])
    q = Gaussian(jnp.asarray([0.7, -0.3, 0.0, 1.3, -2.0]), raw, p)
    return q, sample(jax.random.key(0), q, (SAMPLES,))


def _require_mean(draws: Array, wanted: Array, raw: Array, what: str) -> None:
    mean, error = jnp.mean(draws, axis=0), jnp.std(draws, axis=0) / math.sqrt(SAMPLES)
    _require_all(jnp.abs(mean - wanted) <= STANDARD_ERRORS * error + 1e-6 * jnp.abs(wanted), raw, wanted, what)


@_check
def _sampled_std(p: Parameterization) -> None:
    q, z = _drawn(p)
    _require_mean(z, q.mean, q.raw, "the mean of the samples")
    _require_mean(jnp.square(z - q.mean[None]), q.variance, q.raw, "the variance of the samples")
    _require_mean(jnp.square((z - q.mean[None]) / q.std[None]), jnp.ones_like(q.raw), q.raw, "samples scaled by std")


@_check
def _sampled_kl(p: Parameterization) -> None:
    q, z = _drawn(p)
    _require_mean(log_prob(q, z) - standard_log_prob(z), kl_divergence(q), q.raw, "the Monte Carlo KL to N(0, 1)")
    other = Gaussian(q.loc[::-1], jnp.full_like(q.raw, 0.8), p)
    scores = -log_prob(other, z)
    _require_mean(log_prob(q, z) + scores, kl_divergence(q, other), q.raw, "the Monte Carlo KL to another")
    _require_mean(scores, cross_entropy(q, other), q.raw, "the Monte Carlo cross entropy")


@_check
def _sampled_entropy(p: Parameterization) -> None:
    q, z = _drawn(p)
    _require_mean(-log_prob(q, z), entropy(q), q.raw, "the Monte Carlo entropy")
