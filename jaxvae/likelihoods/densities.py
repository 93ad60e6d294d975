"""Accurate log-densities of the Student-t, gamma, beta and von Mises distributions, from the logs of their parameters.

Like the log-probabilities of counts, those of the gamma and the beta distribution are sums of deviances D and of the
errors of Stirling's formula (``jaxvae.gammas``). With W(a) = a log a - a - log Γ(a), D(a, b) = a log(a / b) + b - a,
n = a + b and ρ = log(x / μ), they are:

* for the gamma distribution of shape a and mean μ: W(a) - log x - a (e^ρ - 1 - ρ);
* for the beta distribution of a and b: W(a) + W(b) - W(n) - log x - log(1 - x) - D(a, n x) - D(b, n (1 - x)).

The functions take arrays of one shape, in the dtype to compute in.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxvae import special
from jaxvae.gammas import (
    deviance,
    log_gamma_ratio,
    log_gamma_ratio_by_log_theta,
    log_over_next,
    stirling,
    stirling_slope,
)
from jaxvae.polynomials import polynomial

MOST = 80.0
"""The largest log of a parameter that counts: a parameter above e^80 is taken as e^80."""


@jax.custom_jvp
def log_peak(log_a: Array) -> Array:
    """Returns W(a) = a log a - a - log Γ(a) from log a.

    It is about log a if a is small, and about ½ log(a / 2π) if a is large.
    """
    t = jnp.minimum(log_a, MOST)
    a = special.exp(t)
    log_next = log_over_next(a, t)
    return t - (math.log(2 * math.pi) + t + log_next) / 2 - stirling(a + 1) + _short(a, log_next)


def _short(a: Array, log_next: Array) -> Array:
    """Returns 1 - a log((a + 1) / a), which lies between 0 and 1."""
    return deviance(a, a + 1, -jnp.ones_like(a), -log_next)


def _peak_slope(log_a: Array) -> Array:
    """Returns a (log a - ψ(a)), the derivative of W(a) with respect to log a, which lies between ½ and 1."""
    t = jnp.minimum(log_a, MOST)
    a = special.exp(t)
    return _short(a, log_over_next(a, t)) + special.over(a, a + 1) / 2 - a * stirling_slope(a + 1)


log_peak.defjvps(lambda da, ans, log_a: _peak_slope(log_a) * da)


def _student_terms(z: Array, log_freedom: Array) -> tuple[Array, ...]:
    """Returns θ = ν / 2, w = z² / 2, y = w / θ and log(1 + y), where w is kept finite."""
    t = jnp.clip(log_freedom - math.log(2), -MOST, MOST)
    limit = math.sqrt(float(np.finfo(z.dtype).max)) / 2
    w = jnp.square(jnp.clip(z, -limit, limit)) / 2
    theta = special.exp(t)
    y = special.finite(special.over(w, theta))
    log_y = 2 * jnp.log(jnp.maximum(jnp.abs(z), 1)) - math.log(2) - t
    return theta, w, y, jnp.where(y > 1e15, log_y, special.log1p(y))


@jax.custom_jvp
def log_student_t(z: Array, log_freedom: Array) -> Array:
    """Returns the log-density of the Student-t distribution at z, from log ν.

    As ν grows, it tends to that of the standard normal. With θ = ν / 2 and w = z² / 2 it is log Γ(θ + ½) - log Γ(θ) -
    ½ log 2πθ - (θ + ½) log(1 + w / θ).
    """
    theta, w, y, log = _student_terms(z, log_freedom)
    near = y <= 1
    within = w * (1 + 0.5 / theta) * special.log1p_over(jnp.where(near, y, 0))
    penalty = jnp.where(near, within, (theta + 0.5) * log)
    return log_gamma_ratio(theta, 0.5) - math.log(2 * math.pi) / 2 - penalty


def _student_by_z(z: Array, log_freedom: Array) -> Array:
    """Returns the derivative of ``log_student_t`` with respect to z, -(θ + ½) z / (θ + w)."""
    theta, w, _, _ = _student_terms(z, log_freedom)
    limit = math.sqrt(float(np.finfo(z.dtype).max)) / 2
    z = jnp.clip(z, -limit, limit)
    return -z * special.over(theta + 0.5, theta + w)


def _student_by_log_freedom(z: Array, log_freedom: Array) -> Array:
    """Returns the derivative of ``log_student_t`` with respect to log ν.

    It is θ (ψ(θ + ½) - ψ(θ)) - ½ - D(θ + w, θ) θ / (θ + w) + ½ w / (θ + w).
    """
    theta, w, _, log = _student_terms(z, log_freedom)
    total = theta + w
    moved = special.over(w, total) / 2 - special.over(theta, total) * deviance(total, theta, w, log)
    return log_gamma_ratio_by_log_theta(theta, 0.5) + moved


@log_student_t.defjvp
def _log_student_t_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (dz, dt) = tangents
    by_z, by_freedom = special.finite(_student_by_z(*primals)), special.finite(_student_by_log_freedom(*primals))
    return log_student_t(*primals), by_z * dz + by_freedom * dt


@jax.custom_jvp
def _gamma_of_logs(log_x: Array, log_mean: Array, log_shape: Array) -> Array:
    a, rho = special.exp(log_shape), log_x - log_mean
    # If x is far from μ, the terms with ρ are joined to (a - 1) ρ, because a - 1 may be small.
    near = jnp.abs(rho) < 1
    far = jnp.where(near, 1, rho)
    beyond = special.expm1(log_shape) * far - log_mean - a * special.expm1(far)
    return log_peak(log_shape) + jnp.where(near, -log_x - a * special.expm1mx(jnp.where(near, rho, 0)), beyond)


@_gamma_of_logs.defjvp
def _gamma_of_logs_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (log_x, log_mean, log_shape), (dx, dm, dt) = primals, tangents
    rho = log_x - log_mean
    by_mean = _scaled(log_shape, special.expm1(rho))
    by_shape = special.finite(_peak_slope(log_shape) - _scaled(log_shape, special.expm1mx(rho)))
    return _gamma_of_logs(*primals), (-1 - by_mean) * dx + by_mean * dm + by_shape * dt


def _scaled(log_shape: Array, x: Array) -> Array:
    return special.finite(special.times(special.exp(log_shape), x))


def log_gamma_density(x: Array, log_mean: Array, log_shape: Array) -> Array:
    """Returns the log-density of the gamma distribution at x > 0, from the logs of its mean μ and its shape a.

    The variance is μ² / a. At x = 0 the result is the limit, and for x < 0 it is NaN.
    """
    t, positive = jnp.minimum(log_shape, MOST), x > 0
    inside = _gamma_of_logs(special.log(jnp.where(positive, x, 1)), log_mean, t)
    end = jnp.where(t < 0, jnp.inf, jnp.where(t > 0, -jnp.inf, -log_mean))
    return jnp.where(positive, inside, jnp.where(x == 0, end, jnp.nan))


def _beta_parts(x: Array, logit: Array, log_total: Array) -> tuple[Array, ...]:
    """Returns log a, log b, log(m / x), log((1 - m) / (1 - x)) and n (m - x), for the mean m and for x in (0, 1)."""
    y, mean, rest = 1 - x, special.sigmoid(logit), special.sigmoid(-logit)
    log_mean, log_rest = special.log_sigmoid(logit), special.log_sigmoid(-logit)
    shift = jnp.where(logit > 0, y - rest, mean - x)
    left = special.log_ratio(shift / (mean + x), log_mean - special.log(x))
    right = special.log_ratio(-shift / (rest + y), log_rest - special.log1p(-x))
    return log_total + log_mean, log_total + log_rest, left, right, special.exp(log_total) * shift


def _beta_away(x: Array, logit: Array, log_total: Array) -> Array:
    """Returns D(a, n x) + D(b, n (1 - x))."""
    log_a, log_b, left, right, shift = _beta_parts(x, logit, log_total)
    a, b = special.exp(log_a), special.exp(log_b)
    return deviance(a, a - shift, shift, left) + deviance(b, b + shift, -shift, right)


@jax.custom_jvp
def _beta_inside(x: Array, logit: Array, log_total: Array) -> Array:
    log_a, log_b, *_ = _beta_parts(x, logit, log_total)
    peaks = log_peak(log_a) + log_peak(log_b) - log_peak(log_total)
    return peaks - special.log(x) - special.log1p(-x) - _beta_away(x, logit, log_total)


@_beta_inside.defjvp
def _beta_inside_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x, logit, log_total), (dx, dlogit, dlog_total) = primals, tangents
    log_a, log_b, left, right, shift = _beta_parts(*primals)
    by_x = special.finite(special.over(shift + 2 * x - 1, x * (1 - x)))
    mean, rest, a = special.sigmoid(logit), special.sigmoid(-logit), special.exp(log_a)
    peak_a, peak_b, peak = (_peak_slope(log) for log in (log_a, log_b, log_total))
    by_logit = rest * peak_a - mean * peak_b - rest * a * (left - right)
    by_total = peak_a + peak_b - peak - _beta_away(*primals)
    return _beta_inside(*primals), by_x * dx + by_logit * dlogit + by_total * dlog_total


def log_beta_density(x: Array, logit: Array, log_total: Array) -> Array:
    """Returns the log-density of the beta distribution at x in [0, 1], from the logit of its mean m and log n.

    The variance is m (1 - m) / (n + 1). At x = 0 and x = 1 the result is the limit, and outside of [0, 1] it is NaN.
    """
    t, inside = jnp.minimum(log_total, MOST), (x > 0) & (x < 1)
    value = _beta_inside(jnp.where(inside, x, 0.5), logit, t)
    # The limit at x = 0 depends on whether a is below or above 1; for a = 1, it is b. At x = 1, a and b change places.
    log_a, log_b = t + special.log_sigmoid(logit), t + special.log_sigmoid(-logit)
    own, other = jnp.where(x == 0, log_a, log_b), jnp.where(x == 0, log_b, log_a)
    end = jnp.where(own < 0, jnp.inf, jnp.where(own > 0, -jnp.inf, other))
    return jnp.where(inside, value, jnp.where((x == 0) | (x == 1), end, jnp.nan))


def _rest_of_ratio(terms: int) -> list[float]:
    """Returns the coefficients of κ^-1, κ^-2, … in 1 - I₁(κ) / I₀(κ), from its differential equation."""
    found = [0.0, 0.5]
    for n in range(2, terms + 1):
        squares = sum(found[i] * found[n - i] for i in range(1, n))
        found.append(((n - 2) * found[n - 1] + squares) / 2)
    return found[1:]


@jax.custom_jvp
def log_bessel(kappa: Array) -> Array:
    """Returns log(e^-κ I₀(κ)) for κ >= 0."""
    return jnp.log(jax.scipy.special.i0e(kappa))


@jax.custom_jvp
def _bessel_rest(kappa: Array) -> Array:
    """Returns 1 - I₁(κ) / I₀(κ), which tends to 1 / (2κ) as κ grows."""
    single = kappa.dtype == jnp.float32
    far = kappa > (16 if single else 50)
    inverse = 1 / jnp.where(far, kappa, 100)
    series = polynomial(_rest_of_ratio(10 if single else 15), inverse) * inverse
    near = jnp.where(far, 1, kappa)
    return jnp.where(far, series, 1 - jax.scipy.special.i1e(near) / jax.scipy.special.i0e(near))


def _bessel_curvature(kappa: Array) -> Array:
    """Returns the derivative of B = ``_bessel_rest``, which is -1 + (1 - B) / κ + (1 - B)²."""
    rest = _bessel_rest(kappa)
    far = kappa > 16
    series = -1 / jnp.square(jnp.where(far, kappa, 1)) / 2
    some = jnp.maximum(kappa, 1e-3)
    near = (1 - rest) / some - 2 * rest + jnp.square(rest)
    return jnp.where(far, series, jnp.where(kappa < 1e-3, -0.5, near))


log_bessel.defjvps(lambda dk, ans, k: -_bessel_rest(k) * dk)
_bessel_rest.defjvps(lambda dk, ans, k: _bessel_curvature(k) * dk)


def log_von_mises(angle: Array, log_concentration: Array) -> Array:
    """Returns the log-density of a von Mises distribution at the angle φ from its location, in radians, from log κ.

    It is κ (cos φ - 1) - log 2π - log(e^-κ I₀(κ)).
    """
    kappa = special.exp(jnp.minimum(log_concentration, MOST))
    return -2 * kappa * jnp.square(jnp.sin(angle / 2)) - math.log(2 * math.pi) - log_bessel(kappa)
