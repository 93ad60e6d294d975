"""Closed forms at 60 digits, written from the papers' formulas and not from the library."""

import functools
from collections.abc import Callable

import mpmath
from mpmath import mp, mpf

mp.dps = 60

Real = mpmath.mpf


def softplus(x: Real) -> Real:
    return mpmath.log1p(mpmath.exp(x))


def sigmoid(x: Real) -> Real:
    return 1 / (1 + mpmath.exp(-x))


def squareplus(x: Real) -> Real:
    return (x + mpmath.sqrt(x * x + 4)) / 2 if x > 0 else 2 / (mpmath.sqrt(x * x + 4) - x)


def exp_linear(x: Real) -> Real:
    return mpmath.exp(x) if x <= 0 else 1 + x


def up_bounded(x: Real) -> Real:
    return mpmath.exp(x) if x <= 0 else 2 - mpmath.exp(-x)


def clip(x: Real, low: float, high: float) -> Real:
    return min(max(x, mpf(low)), mpf(high))


def pets(x: Real) -> Real:
    x = mpf("0.5") - softplus(mpf("0.5") - x)
    return -10 + softplus(x + 10)


exp = mpmath.exp
LN2 = mpmath.log(2)

QUANTITY: dict[str, tuple[str, Callable[[Real], Real]]] = {
    "log_variance": ("variance", exp),
    "log_std": ("std", exp),
    "log_precision": ("precision", exp),
    "softplus_std": ("std", softplus),
    "softplus_variance": ("variance", softplus),
    "softplus_precision": ("precision", softplus),
    "squareplus_std": ("std", squareplus),
    "squareplus_variance": ("variance", squareplus),
    "exp_linear_std": ("std", exp_linear),
    "sigmoid_std": ("std", sigmoid),
    "sigmoid_variance": ("variance", sigmoid),
    "natural_exp": ("precision", exp),
    "natural_softplus": ("precision", softplus),
    "direct_std": ("std", lambda r: r),
    "direct_variance": ("variance", lambda r: r),
    "projected_std": ("std", lambda r: max(r, mpf(1e-4))),
    "square_std": ("std", lambda r: r * r),
    "abs_std": ("std", abs),
    "diffusers_log_variance": ("variance", lambda r: exp(clip(r, -30, 20))),
    "nvae_log_std": ("std", lambda r: exp(5 * mpmath.tanh(r / 5)) + mpf(1e-2)),
    "efficient_vdvae_std": ("std", lambda r: softplus(LN2 * r) / LN2),
    "efficient_vdvae_log_std": ("std", lambda r: exp(LN2 * r)),
    "scvi_variance": ("variance", lambda r: exp(r) + mpf(1e-4)),
    "dreamer_std": ("std", lambda r: softplus(r) + mpf(0.1)),
    "dreamer_v2_std": ("std", lambda r: 2 * sigmoid(r / 2) + mpf(0.1)),
    "sac_log_std": ("std", lambda r: exp(clip(r, -20, 2))),
    "pets_log_variance": ("variance", lambda r: exp(pets(r))),
    "dehaene_up_bounded": ("std", up_bounded),
    "sigma_vae_log_std": ("std", lambda r: exp(-6 + softplus(r + 6))),
}
"""What each registered parameterization models, and how."""

EXPONENT = {"std": mpf(1), "variance": mpf("0.5"), "precision": mpf("-0.5")}
NATURAL = ("natural_exp", "natural_softplus")


@functools.cache
def log_std(name: str, raw: float) -> Real:
    quantity, transform = QUANTITY[name]
    return EXPONENT[quantity] * mpmath.log(transform(mpf(raw)))


@functools.cache
def gain(name: str, raw: float) -> Real:
    """d log σ / d raw, by central differences: 1e-20 wide at 60 digits leaves 20 digits."""
    h = mpf("1e-20") * max(1, abs(mpf(raw)))
    quantity, transform = QUANTITY[name]
    low, high = (EXPONENT[quantity] * mpmath.log(transform(mpf(raw) + s * h)) for s in (-1, 1))
    return (high - low) / (2 * h)


def mean(name: str, loc: float, raw: float) -> Real:
    return mpf(loc) * exp(2 * log_std(name, raw)) if name in NATURAL else mpf(loc)


def kl_standard(name: str, loc: float, raw: float) -> Real:
    t = 2 * log_std(name, raw)
    return (mpmath.expm1(t) - t + mean(name, loc, raw) ** 2) / 2


def kl_standard_gradient(name: str, loc: float, raw: float) -> tuple[Real, Real]:
    """With respect to loc and raw."""
    m, t, g = mean(name, loc, raw), 2 * log_std(name, raw), gain(name, raw)
    natural = name in NATURAL
    return m * (exp(t) if natural else 1), g * mpmath.expm1(t) + (2 * m * m * g if natural else 0)


def kl(mean_q: Real, log_std_q: Real, mean_p: Real, log_std_p: Real) -> Real:
    rho = log_std_q - log_std_p
    return (mpmath.expm1(2 * rho) - 2 * rho + ((mean_q - mean_p) / exp(log_std_p)) ** 2) / 2


def log_prob(x: Real, mean: Real, log_std: Real) -> Real:
    return -(((x - mean) / exp(log_std)) ** 2) / 2 - log_std - mpmath.log(2 * mp.pi) / 2


def log_slope(x: Real, width: float) -> Real:
    """log d/dx of a tanh onto an interval of this width."""
    return mpmath.log(mpf(width) / 2) - 2 * mpmath.log(mpmath.cosh(x))


def normal_density(x: Real) -> Real:
    return exp(-x * x / 2) / mpmath.sqrt(2 * mp.pi)


def far(function: Callable[[Real], Real]) -> Callable[[Real], Real]:
    """With the digits that x² takes before the point, twice: e^(-x²/2) and x + λ(x) need them."""

    @functools.wraps(function)
    def wrapped(x: Real) -> Real:
        with mpmath.workdps(mp.dps + 4 * max(0, int(mpmath.log10(abs(x) + 1)))):
            return function(x)

    return wrapped


@far
def ndtr(x: Real) -> Real:
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def log_ndtr(x: Real) -> Real:
    return mpmath.log1p(-ndtr(-x)) if x > 0 else mpmath.log(ndtr(x))


@far
def inverse_mills(x: Real) -> Real:
    return normal_density(x) / ndtr(x)


@far
def inverse_mills_slope(x: Real) -> Real:
    return -inverse_mills(x) * (x + inverse_mills(x))


SPECIAL: dict[str, tuple[Callable[[Real], Real], Callable[[Real], Real]]] = {
    "exp": (exp, exp),
    "expm1": (mpmath.expm1, exp),
    "expm1mx": (lambda t: mpmath.expm1(t) - t, mpmath.expm1),
    "log1p": (mpmath.log1p, lambda u: 1 / (1 + u)),
    "log1pmx": (lambda u: mpmath.log1p(u) - u, lambda u: -u / (1 + u)),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
    "log_sech2": (lambda x: -2 * mpmath.log1p(2 * mpmath.sinh(x / 2) ** 2), lambda x: -2 * mpmath.tanh(x)),
    "softplus": (softplus, sigmoid),
    "log_sigmoid": (lambda x: -softplus(-x), lambda x: sigmoid(-x)),
    "log_softplus": (lambda x: mpmath.log(softplus(x)), lambda x: sigmoid(x) / softplus(x)),
    "log1mexp": (
        lambda x: mpmath.log(-mpmath.expm1(-x)) if x < 1 else mpmath.log1p(-exp(-x)),
        lambda x: 1 / mpmath.expm1(x),
    ),
    "softplus_inverse": (
        lambda y: mpmath.log(mpmath.expm1(y)) if y < 1 else y + mpmath.log1p(-exp(-y)),
        lambda y: -1 / mpmath.expm1(-y),
    ),
    "squareplus": (squareplus, lambda x: squareplus(x) / mpmath.sqrt(x * x + 4)),
    "log_squareplus": (lambda x: mpmath.asinh(x / 2), lambda x: 1 / mpmath.sqrt(x * x + 4)),
    "ndtr": (ndtr, normal_density),
    "log_ndtr": (log_ndtr, inverse_mills),
    "log_mills": (lambda x: -mpmath.log(inverse_mills(-x)), far(lambda x: x - inverse_mills(-x))),
    "inverse_mills": (inverse_mills, inverse_mills_slope),
}
"""Value and derivative of the unary functions of ``jaxvae.special``."""


def stirling_error(x: Real) -> Real:
    return mpmath.loggamma(x) - ((x - mpf("0.5")) * mpmath.log(x) - x + mpmath.log(2 * mp.pi) / 2)


def log_gamma_ratio(theta: Real, k: Real) -> Real:
    return mpmath.loggamma(theta + k) - mpmath.loggamma(theta) - k * mpmath.log(theta)


def log_gamma_ratio_by_log_theta(theta: Real, k: Real) -> Real:
    return theta * (mpmath.digamma(theta + k) - mpmath.digamma(theta)) - k


def log_gamma_ratio_by_k(theta: Real, k: Real) -> Real:
    return mpmath.digamma(theta + k) - mpmath.log(theta)


def log_poisson(m: Real, k: Real) -> Real:
    return k * m - exp(m) - mpmath.loggamma(k + 1)


def log_negative_binomial(m: Real, t: Real, k: Real) -> Real:
    theta = exp(t)
    return log_gamma_ratio(theta, k) - mpmath.loggamma(k + 1) + k * m - (theta + k) * mpmath.log1p(exp(m - t))


def log_negative_binomial_by_log_mean(m: Real, t: Real, k: Real) -> Real:
    return (k - exp(m)) / (1 + exp(m - t))


def log_negative_binomial_by_log_theta(m: Real, t: Real, k: Real) -> Real:
    theta, ratio = exp(t), exp(m - t)
    moved = (theta + k) * ratio / (1 + ratio) - theta * mpmath.log1p(ratio)
    return log_gamma_ratio_by_log_theta(theta, k) + moved


def response(f: Callable[..., Real], inputs: tuple[float, ...], steps: tuple[float, ...]) -> tuple[Real, Real]:
    """f of numbers, and the sum of what each step in one of them changes it by, to first order."""
    small, x = mpf(10) ** -25, [mpf(i) for i in inputs]
    value = f(*x)
    moved = [f(*x[:i], x[i] + small * step, *x[i + 1 :]) for i, step in enumerate(steps)]
    return value, sum(abs(m - value) for m in moved) / small
