"""Elementary functions that keep their digits, with derivatives that keep theirs.

Conventions of this file:

* every function is elementwise (except ``log_mean_exp``), pure, and works in float64, float32, bfloat16 and
  float16; the two 16-bit types are computed in float32 and rounded once;
* a derivative is part of the function: where autodiff of the formula would lose digits or make 0/0, a
  ``custom_jvp`` states it, in terms of other functions of this file, so that all orders and both modes work;
* a slope is finite: where the true one is beyond the dtype, it is the largest finite number, so that a cotangent of
  0, which ``jnp.where`` and ``jnp.minimum`` send to what they leave out, gives a gradient of 0;
* below a function's domain the result is NaN, at its border the limit (``-inf``, ``inf`` or 0); a NaN gives NaN;
* XLA flushes subnormal numbers to zero on most devices; accuracy is stated for normal inputs and results.

``python -m benchmarks.certify`` measures all of this over every float32, and records the worst errors.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from jaxvae.arguments import require_real, symbolic
from jaxvae.polynomials import ASINH, ATANH, LOG1P, SOFTPLUS, TANH, horner, polynomial

Elementwise = Callable[[ArrayLike], Array]
F = TypeVar("F", bound=Callable[..., Any])

TAIL = -40.0
"""Below this, e^x is less than half an ulp of x in float64 and float32 alike."""


def compute_dtype(*operands: ArrayLike | DTypeLike) -> np.dtype:
    """Returns the dtype to compute in: float64 if an operand is float64, else float32.

    A Python number, or an array of JAX's weak type, counts only if there are no other operands.
    """
    strong = [x for x in operands if not is_weak(x)]
    wide = any(jnp.result_type(x) == np.float64 for x in strong or operands)
    return np.dtype(np.float64 if wide else np.float32)


def is_weak(x: object) -> bool:
    """Returns whether an operand is a Python number, or an array made from one, whose dtype gives way to others."""
    return bool(getattr(x, "weak_type", False)) or (isinstance(x, int | float) and not isinstance(x, np.generic))


def weakly(function: F) -> F:
    """Makes a function or method return a weak number for Python numbers, as functions of ``jnp`` do.

    So under ``jax_enable_x64`` the result doesn't turn float32 into float64. Inside a trace, a weak number takes the
    dtype of a function's other operands.
    """

    @functools.wraps(function)
    def wrapped(*operands: Any, **named: Any) -> Any:
        numbers = [x for x in (*operands, *named.values()) if isinstance(x, int | float | Array | np.ndarray)]
        if not numbers or not all(
            is_weak(x) and jnp.ndim(x) == 0 and not isinstance(x, jax.core.Tracer) for x in numbers
        ):
            return function(*operands, **named)
        with jax.ensure_compile_time_eval():
            result = function(*operands, **named)
        return jax.tree.map(lambda x: jnp.asarray(x.item()), result)

    return wrapped  # type: ignore[return-value]


def computed(**argument: ArrayLike) -> Array:
    """Checks that an argument is an array of real numbers, and returns it in the dtype to compute in.

    An array that already has this dtype, like all that the library passes on, needs neither check nor conversion.
    """
    ((_, x),) = argument.items()
    if isinstance(x, Array) and x.dtype in (np.float32, np.float64) and not x.weak_type:
        return x
    require_real(**argument)
    return jnp.asarray(x, compute_dtype(x))


@jax.custom_jvp
def written_out(x: Array) -> Array:
    """Returns x; it makes XLA on a CPU compute x only once, instead of anew for each of its users.

    There, XLA repeats sums, products and selects in every loop that needs them, but writes the result of a quotient to
    memory. So this function divides by 1.
    """
    return x / jnp.clip(x, 1, 1)


written_out.defjvps(lambda dx, ans, x: dx)


def with_derivative(rule: Callable[..., tuple[Array, Array]], static: int) -> Callable[[F], F]:
    """Gives a function its derivative, and compiles it, so that a call outside jit is one program and is traced once.

    Args:
        rule: the rule as ``jax.custom_jvp`` takes it, with the static arguments first.
        static: the number of first arguments that are static.
    """

    def decorate(function: F) -> F:
        made = jax.custom_jvp(function, nondiff_argnums=tuple(range(static)))
        made.defjvp(rule)
        return compiled(made, static)  # type: ignore[return-value]

    return decorate


def compiled(function: Callable[..., Array], static: int) -> Callable[..., Array]:
    """Jits a function whose first arguments are static; if these can't be hashed, a call runs without jit."""
    jitted = jax.jit(function, static_argnums=tuple(range(static)))

    def call(*args: Any) -> Array:
        try:
            hash(args[:static])
        except TypeError:
            return function(*args)
        return jitted(*args)

    return call


def _public(function: Callable[[Array], Array]) -> Elementwise:
    """Computes 16-bit (and integer) inputs in float32; rounds the result to the input's dtype.

    It is jitted, so that a program that calls or differentiates it many times traces it once.
    """
    (name,) = inspect.signature(function).parameters
    compiled = jax.jit(function)

    @weakly
    @functools.wraps(function)
    def wrapped(x: ArrayLike) -> Array:
        if (wide := computed(**{name: x})) is x:
            return compiled(wide)
        # A Python integer may be too large for JAX's integers.
        x = wide if isinstance(x, int) else jnp.asarray(x)
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else compute_dtype(x)
        return compiled(x.astype(compute_dtype(x))).astype(dtype)

    return wrapped


@jax.custom_jvp
def finite(x: Array) -> Array:
    """Returns x with the largest finite numbers in place of infinities; the derivative is 1 there too."""
    largest = float(np.finfo(x.dtype).max)
    return jnp.clip(x, -largest, largest)


@jax.custom_jvp
def reciprocal(x: Array) -> Array:
    """Returns 1 / x, kept finite."""
    return finite(1 / x)


@jax.custom_jvp
def log(x: Array) -> Array:
    """Returns log x; its slope 1 / x is kept finite."""
    return jnp.log(x)


@jax.custom_jvp
def difference(x: Array, y: Array) -> Array:
    """Returns x - y, and 0 where both are the same infinity."""
    return jnp.where(x == y, 0, x - y)


@jax.custom_jvp
def times(x: Array, y: Array) -> Array:
    """Returns x y, and 0 for 0 times infinity; each slope is kept finite."""
    return jnp.where((x == 0) | (y == 0), finite(x) * finite(y), x * y)


@jax.custom_jvp
def over(x: Array, y: Array) -> Array:
    """Returns x / y; each slope is kept finite."""
    return x / y


finite.defjvps(lambda dx, ans, x: dx)
reciprocal.defjvps(lambda dx, ans, x: -finite(ans * ans) * dx)
log.defjvps(lambda dx, ans, x: reciprocal(x) * dx)
difference.defjvps(lambda dx, ans, x, y: dx, lambda dy, ans, x, y: -dy)
times.defjvps(lambda dx, ans, x, y: finite(y) * dx, lambda dy, ans, x, y: finite(x) * dy)
over.defjvps(lambda dx, ans, x, y: reciprocal(y) * dx, lambda dy, ans, x, y: -finite(finite(ans) * reciprocal(y)) * dy)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def with_finite_slopes(function: Callable[..., Array], *leaves: Array) -> Array:
    """Calls an elementwise function of leaves of one shape; its slope by each leaf is kept finite.

    Without it, if two steps of the function both have large slopes, autodiff gets infinities that meet a 0.
    """
    return function(*leaves)


@with_finite_slopes.defjvp
def _with_finite_slopes_jvp(function: Callable[..., Array], leaves: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, pull = jax.vjp(function, *leaves)
    slopes = map(finite, pull(jnp.ones_like(leaves[0])))
    return value, sum(slope * t for slope, t in zip(slopes, tangents, strict=True))


@jax.custom_jvp
def _exp(x: Array) -> Array:
    high = x > 88
    y = jnp.exp(jnp.where(high, x - 1, x))
    return jnp.where(high, math.e * y, y)


def expm1_near(t: Array) -> Array:
    """Returns e^t - 1 for |t| <= 1."""
    return t + expm1mx_near(t)


def expm1mx_near(t: Array) -> Array:
    """Returns e^t - 1 - t for |t| <= 1, as t^2 sum_k t^k / (k + 2)!."""
    return jnp.square(t) * polynomial(
        [1 / math.factorial(k + 2) for k in range(9 if t.dtype == jnp.float32 else 17)], t
    )


def _cancels(t: Array) -> Array:
    """Returns where e^t - 1 or e^t - 1 - t is so much less than e^t that its formula loses digits."""
    return (t >= -1) & (t <= 2)


@jax.custom_jvp
def _expm1mx(t: Array) -> Array:
    # Where the three terms cancel: t^2 sum_k t^k / (k + 2)! (Taylor, to the last ulp).
    near = _cancels(t)
    terms = 13 if t.dtype == jnp.float32 else 22
    series = jnp.square(t) * polynomial([1 / math.factorial(k + 2) for k in range(terms)], jnp.where(near, t, 0))
    return jnp.where(near, series, (_exp(t) - 1) - jnp.minimum(t, float(np.finfo(t.dtype).max)))


@jax.custom_jvp
def _expm1(t: Array) -> Array:
    return jnp.where(_cancels(t), t + _expm1mx(t), _exp(t) - 1)


_exp.defjvps(lambda dx, ans, x: finite(ans) * dx)
_expm1mx.defjvps(lambda dt, ans, t: finite(_expm1(t)) * dt)
_expm1.defjvps(lambda dt, ans, t: finite(_exp(t)) * dt)


@_public
def exp(x: Array) -> Array:
    """Computes e^x, as e * e^(x - 1) above 88, where XLA's own is off by up to 5 ulp in float32 on CPU."""
    return _exp(x)


@_public
def expm1mx(t: Array) -> Array:
    """Computes e^t - 1 - t, which is what a variance e^t costs in a Gaussian KL: never negative, exactly 0 at 0.

    The derivative is expm1(t).
    """
    return _expm1mx(t)


@_public
def expm1(t: Array) -> Array:
    """Computes e^t - 1, as t + expm1mx(t) near 0, within 3 ulp; XLA's own is off by up to 6 on CPU."""
    return _expm1(t)


@jax.custom_jvp
def _log1pmx(u: Array) -> Array:
    # With r = u / (2 + u): log(1 + u) = 2 atanh(r) and 2r - u = -r u = (r - 1) u^2 / 2.
    near = (u >= -0.6) & (u <= 1)
    v = jnp.where(near, u, 0)
    r = v / (2 + v)
    terms = 9 if u.dtype == jnp.float32 else 21
    half = jnp.square(v) / 2
    series = r * (half + 2 * r**2 * polynomial([1 / (2 * k + 3) for k in range(terms)], r**2)) - half
    return jnp.where(near, series, jnp.log(1 + jnp.minimum(u, float(np.finfo(u.dtype).max))) - u)


@jax.custom_jvp
def _log1p(u: Array) -> Array:
    # log(1 + u) = log(w) + log(1 + lost / w), where w has lost ``lost``. XLA simplifies w - 1 to u, but not 1 - w.
    w = 1 + u
    return jnp.log(w) + jnp.where(jnp.abs(u) < 0.5, u + (1 - w), 0)


def log1p_over(e: Array) -> Array:
    """Returns log(1 + e) / e for 0 <= e <= 1, by a polynomial."""
    return 1 - e * horner(LOG1P, e)


def log_ratio(t: Array, far: ArrayLike) -> Array:
    """Returns log(a / b), given t = (a - b) / (a + b) and, for a and b not within a factor of e, the log itself."""
    q = jnp.square(t)
    return jnp.where(jnp.abs(t) <= math.tanh(0.5), 2 * (t + t * (q * horner(ATANH, q))), far)


def log_quotient(near: Array, x: Array, far: ArrayLike) -> Array:
    """Returns log(1 + x) where ``near`` holds, and log(x) + far elsewhere, by a single log."""
    w = jnp.where(near, 1 + x, x)
    return written_out(jnp.log(w) + jnp.where(near, x + (1 - w), far))


@jax.custom_jvp
def _odds_to_probability(u: Array) -> Array:
    return u / (1 + jnp.minimum(u, float(np.finfo(u.dtype).max)))


_log1pmx.defjvps(lambda du, ans, u: -finite(_odds_to_probability(u)) * du)
_log1p.defjvps(lambda du, ans, u: reciprocal(1 + u) * du)
_odds_to_probability.defjvps(lambda du, ans, u: reciprocal(jnp.square(1 + u)) * du)


@_public
def log1p(u: Array) -> Array:
    """Computes log(1 + u), within 2 ulp."""
    return _log1p(u)


@_public
def log1pmx(u: Array) -> Array:
    """Computes log(1 + u) - u for u > -1, which is never positive. The derivative is -u / (1 + u)."""
    return _log1pmx(u)


@jax.custom_jvp
def _sigmoid(x: Array) -> Array:
    e = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, e, 1) * (1 / (1 + e))


@jax.custom_jvp
def _sigmoid_slope(x: Array) -> Array:
    # sigmoid(x) sigmoid(-x), whose tails are both e^-|x|.
    e = jnp.exp(-jnp.abs(x))
    r = 1 / (1 + e)  # as in sigmoid, which XLA computes once; twice its error is taken off the square
    return (e * r) * (r + 2 * r * ((1 - r) - r * e))


@_public
def sigmoid(x: Array) -> Array:
    """Computes the logistic function, 1 / (1 + e^-x). The derivative is sigmoid(x) sigmoid(-x), exact in both tails."""
    return _sigmoid(x)


def _centred(y: Array, e: Array) -> Array:
    """Returns tanh(y), given e = e^-2|y|."""
    inside = jnp.where(jnp.abs(y) < 0.6, y, 0)
    q = jnp.square(inside)
    near = inside + inside * (q * horner(TANH, q))
    return jnp.where(inside == y, near, jnp.sign(y) * ((1 - e) * (1 / (1 + e))))


def tanh_half(x: Array) -> Array:
    """Returns tanh(x / 2) = 2 sigmoid(x) - 1, from the same exp as sigmoid."""
    return _centred(x / 2, jnp.exp(-jnp.abs(x)))


def _exp_minus_twice(x: Array) -> tuple[Array, Array]:
    """Returns e^-2|x|, and 4 times that, which underflows later."""
    far = jnp.abs(x) > -TAIL
    e = jnp.exp(jnp.where(far, 4, 0) - 2 * jnp.abs(x))
    return jnp.where(far, 0, e), jnp.where(far, 4 * math.exp(-4), 4) * e


@jax.custom_jvp
def _tanh(x: Array) -> Array:
    return _centred(x, _exp_minus_twice(x)[0])


@jax.custom_jvp
def _sech2(x: Array) -> Array:
    # 1 - tanh(x)^2 = 4 e / (1 + e)^2.
    e, four = _exp_minus_twice(x)
    return four / (1 + e * (2 + e))


def tanh_difference(a: Array, b: Array, step: Array) -> Array:
    """Returns tanh(a) - tanh(b), given step = a - b; where |step| is below 0.6, it is as accurate as step."""
    # With t = tanh(step): sech(b)^2 t / (1 + t tanh(b)).
    t = _centred(jnp.clip(step, -0.6, 0.6), jnp.zeros_like(step))
    close = _sech2(b) * t / (1 + t * _tanh(b))
    return jnp.where(jnp.abs(step) < 0.6, close, _tanh(a) - _tanh(b))


_sigmoid.defjvps(lambda dx, ans, x: _sigmoid_slope(x) * dx)
_sigmoid_slope.defjvps(lambda dx, ans, x: -ans * _tanh(x / 2) * dx)
_tanh.defjvps(lambda dx, ans, x: _sech2(x) * dx)
_sech2.defjvps(lambda dx, ans, x: -2 * ans * _tanh(x) * dx)


@_public
def tanh(x: Array) -> Array:
    """Computes the hyperbolic tangent, whose derivative sech(x)^2 is exact in both tails."""
    return _tanh(x)


@jax.custom_jvp
def _log_sech2(x: Array) -> Array:
    # -2 log cosh(x), where log cosh(x) = softplus(2x) - x - log 2; or 2 (log 2 - |x| - log1p(e^-2|x|)).
    y = jnp.abs(x)
    near = y <= 0.75
    q = jnp.square(jnp.where(near, y, 0))
    close = q * (-8 * horner(SOFTPLUS, 4 * q))
    return jnp.where(near, close, 2 * (math.log(2) - y - _log1p(jnp.exp(-2 * y))))


_log_sech2.defjvps(lambda dx, ans, x: -2 * _tanh(x) * dx)


@_public
def log_sech2(x: Array) -> Array:
    """Computes log(1 - tanh(x)^2), the log of tanh's slope: finite for finite x, since it tends to 2 (log 2 - |x|).

    The derivative is -2 tanh(x).
    """
    return _log_sech2(x)


def softplus_factors(x: Array) -> tuple[Array, Array]:
    """Returns e = e^-|x| and w, such that softplus(x) is w for x >= 0 and e w below."""
    e = jnp.exp(-jnp.abs(x))
    u = log1p_over(e)
    return e, jnp.where(x < 0, u, x + e * u)


@jax.custom_jvp
def _softplus(x: Array) -> Array:
    e, w = softplus_factors(x)
    return jnp.where(x < 0, e, 1) * w


def _softplus_minus(x: Array, c: float) -> tuple[Array, Array]:
    """Returns whether x is near the root of softplus(x) - c, and this there, as accurate as x's distance to it."""
    # softplus(x) - x/2 = log(2 cosh(x/2)) is even.
    root = math.log(math.expm1(c)) if c < 40 else c
    about = float(np.asarray(root, x.dtype))
    left_over = max(about, 0) + math.log1p(math.exp(-abs(about))) - c  # softplus(about) - c
    if not -1 < root < 1.5:
        e = jnp.exp(-jnp.abs(x))
        minus = (x - about) + (e * log1p_over(e) - (c - about))
        return (x > 0) & (jnp.abs(minus) < c / 2), minus
    # q E(q) - q' E(q') = (q - q') D(q), by the division of the polynomial by q - q', where q - q' = (x - x') (x + x').
    divided = [0.0]
    for coefficient in reversed((0.0, *SOFTPLUS[x.dtype.name])):
        divided.append(coefficient + about**2 * divided[-1])
    near = (x > max(about - 1, -1)) & (x < 1.5)  # further left, its error counts more than that of the sum of logs
    inside = jnp.where(near, x, about)
    slope = (inside + about) * polynomial(divided[-2:0:-1], jnp.square(inside)) + 0.5
    return near, (inside - about) * slope + left_over


_softplus.defjvps(lambda dx, ans, x: _sigmoid(x) * dx)


@_public
def softplus(x: Array) -> Array:
    """Computes log(1 + e^x). The derivative is sigmoid(x)."""
    return _softplus(x)


@_public
def log_sigmoid(x: Array) -> Array:
    """Computes log(sigmoid(x)) = -softplus(-x)."""
    return -_softplus(-x)


def softplus_difference(a: Array, b: Array, step: Array) -> Array:
    """Returns softplus(a) - softplus(b), given step = a - b; the result is as accurate as step."""
    # log1p(sigmoid(b) expm1(step)), where the difference of the two values would cancel.
    near = jnp.abs(step) <= 1
    inside = jnp.where(near, step, 0)
    grown = _log1p(_sigmoid(b) * expm1_near(inside))
    return jnp.where(near, grown, difference(_softplus(a), _softplus(b)))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_softplus_over(x: Array, c: float) -> Array:
    """Returns log(softplus(x) / c) for c > 0, exact even near its root."""
    near, minus = _softplus_minus(x, c)
    rest = minus / c if c != 1 else minus
    w = jnp.where(near, 1 + rest, softplus_factors(x)[1])
    return jnp.log(w) + jnp.where(near, rest + (1 - w), jnp.minimum(x, 0) - math.log(c))


@jax.custom_jvp
def _sigmoid_over_softplus(x: Array) -> Array:
    e, w = softplus_factors(x)
    return 1 / ((1 + e) * w)


def _sigmoid_over_softplus_slope(x: Array) -> Array:
    # g = s / p has g' = g (1 - s - g). For x <= 0, with e = e^x, the bracket cancels;
    # it equals log1pmx(e) / (log1p(e) (1 + e)), which tends to -e / 2.
    g = _sigmoid_over_softplus(x)
    e = jnp.exp(jnp.where(x > 0, 0, x))
    e_near = jnp.where(x < TAIL, 1, e)
    left = jnp.where(x < TAIL, -e / 2, _log1pmx(e_near) / (_log1p(e_near) * (1 + e_near)))
    return g * jnp.where(x > 0, _sigmoid(-x) - g, left)


@log_softplus_over.defjvp
def _log_softplus_over_jvp(c: float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return log_softplus_over(*primals, c), _sigmoid_over_softplus(*primals) * tangents[0]


_sigmoid_over_softplus.defjvps(lambda dx, ans, x: _sigmoid_over_softplus_slope(x) * dx)


@_public
def log_softplus(x: Array) -> Array:
    """Computes log(log(1 + e^x)), which is finite for every finite x, since it tends to x on the left.

    The derivative is sigmoid(x) / softplus(x), between 1 (left) and 1/x (right).
    Near the root log(e - 1), where the value is between -1/2 and 1/2, the absolute error is below 2 eps.
    """
    return log_softplus_over(x, 1.0)


@jax.custom_jvp
def _log1mexp(x: Array) -> Array:
    # Maechler (2012), "Accurately computing log(1 - exp(-|a|))": switch at log 2.
    near = x < math.log(2)
    return jnp.where(near, jnp.log(-_expm1(-x)), _log1p(-jnp.exp(-jnp.where(near, 1, x))))


@jax.custom_jvp
def _bose(x: Array) -> Array:
    """Returns 1 / (e^x - 1)."""
    return 1 / _expm1(x)


_log1mexp.defjvps(lambda dx, ans, x: finite(_bose(x)) * dx)
_bose.defjvps(lambda dx, ans, x: -finite(ans * (1 + ans)) * dx)


@_public
def log1mexp(x: Array) -> Array:
    """Computes log(1 - e^-x) for x > 0, with the sign convention of ``jax.nn.log1mexp``.

    The derivative is 1 / expm1(x).
    """
    return _log1mexp(x)


@_public
def sigmoid_over_softplus(x: Array) -> Array:
    """Computes the derivative of ``log_softplus``, which is between 1 (left) and 1/x (right)."""
    return _sigmoid_over_softplus(x)


@jax.custom_jvp
def _softplus_inverse(y: Array) -> Array:
    return y + _log1mexp(y)


_softplus_inverse.defjvps(lambda dy, ans, y: finite(1 + _bose(y)) * dy)


@_public
def softplus_inverse(y: Array) -> Array:
    """Computes log(e^y - 1) for y > 0, the x with softplus(x) = y. The derivative is 1 / (1 - e^-y).

    Near the root log 2, where the value is between -1/2 and 1/2, the absolute error is below 2 eps.
    """
    return _softplus_inverse(y)


def hypot2(x: Array) -> Array:
    """Returns sqrt(x^2 + 4) without overflow: it is |x| where 4 no longer counts."""
    large = jnp.abs(x) > 1e10
    return jnp.where(large, jnp.abs(x), jnp.sqrt(jnp.square(jnp.where(large, 0, x)) + 4))


def _squareplus_above(x: Array) -> Array:
    return hypot2(x) / 2 + jnp.abs(x) / 2


@jax.custom_jvp
def _squareplus(x: Array) -> Array:
    # squareplus(x) squareplus(-x) = 1.
    above = _squareplus_above(x)
    return jnp.where(x < 0, 1 / above, above)


@jax.custom_jvp
def _log_squareplus(x: Array) -> Array:
    near = jnp.abs(x) < 2
    u = jnp.where(near, x / 2, 0)
    q = jnp.square(u)
    return jnp.where(near, u + u * (q * horner(ASINH, q)), jnp.sign(x) * jnp.log(_squareplus_above(x)))


@jax.custom_jvp
def _squareplus_slope(x: Array) -> Array:
    x = finite(x)
    # (1 + x / h) / 2, which cancels on the left; there 2 / (h (h + |x|)), with h^2 = x^2 + 4.
    h, near = hypot2(x), x > -1
    q = jnp.where(near, x, 2) / jnp.where(near, h, jnp.square(x) + 4 + jnp.abs(x) * h)
    return jnp.where(near, (1 + q) / 2, q)


_squareplus.defjvps(lambda dx, ans, x: _squareplus_slope(x) * dx)
_squareplus_slope.defjvps(lambda dx, ans, x: 2 / hypot2(x) ** 3 * dx)
_log_squareplus.defjvps(lambda dx, ans, x: dx / hypot2(x))


@_public
def squareplus(x: Array) -> Array:
    """Computes (x + sqrt(x^2 + 4)) / 2, a softplus without transcendentals (Barron 2021, arXiv:2112.11687).

    The derivative is squareplus(x) / sqrt(x^2 + 4).
    """
    return _squareplus(x)


@_public
def log_squareplus(x: Array) -> Array:
    """Computes log(squareplus(x)) = asinh(x / 2). The derivative is 1 / sqrt(x^2 + 4)."""
    return _log_squareplus(x)


_EXCESS = (
    0.19970715972582725, -0.13798578219167465, 0.012451605015985584, 0.006052119970865566,
    -0.0019080541350845232, -0.00011848083723763995, 0.00015205280698049443, -1.0937291561175243e-05,
    -9.703112855015379e-06, 1.8176991515059766e-06, 5.202952626761462e-07, -1.7564941422450146e-07,
    -2.2221345748442983e-08, 1.384813455530713e-08, 5.418940884690929e-10, -9.584547696393415e-10,
    2.4043743487642404e-11, 5.927501954339613e-11, -4.932296843429157e-12, -3.2316514791968615e-12,
    4.835703917155512e-13, 1.458754226097216e-13, -3.764718458590888e-14, -4.188175912861341e-15,
    2.5812148751316284e-15, -1.043310641693706e-16, -1.6315495745824758e-16, 2.988353042579065e-17,
)  # fmt: skip
"""Chebyshev coefficients of ((x + c) G(x) - 1) / (1 - t²), with c = sqrt(π/2), t = (x - 4) / (x + 4), G of ``_excess``.

(x + c) G(x) is 1 at 0 and at infinity, and at most 1.21 between.
"""


def _excess(x: Array) -> Array:
    """Returns G(x) = φ(x) / Φ(-x) - x for x >= 0: how far above x a standard normal number above x is on average."""
    x = jnp.minimum(x, float(np.finfo(x.dtype).max))
    series = np.polynomial.chebyshev.cheb2poly(_EXCESS[: 17 if x.dtype == jnp.float32 else None])
    y = jnp.minimum(x, 1e18)  # beyond, G is 1/x
    bulge = 16 * y / jnp.square(y + 4) * polynomial(series.tolist(), (y - 4) / (y + 4))
    shift = np.asarray(math.sqrt(math.pi / 2), x.dtype)
    total = x + shift
    lost = shift - (total - x)
    return (1 + (bulge - lost / total)) / total


_DENSITY = (-15.716598510742188, 4.710508172815767e-06)
"""The number -log(2^24 φ(0)) = ½ log 2π - 24 log 2, as a multiple of 2^-16 and the rest."""


@jax.custom_jvp
def _times_density(factor: Array, x: Array) -> Array:
    """Returns factor φ(x), which underflows only where the product does.

    The rounding of x² would cost x² / 4 ulp. So -log(2^24 φ(x)) is written as the sum of a multiple of 2^-8 and a small
    rest, which are both exact: x = h + l, where h² takes no more digits than there are.
    """
    x = jnp.minimum(jnp.abs(x), -TAIL)
    info = np.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, info.nexp, (info.nmant - 1) // 2)
    half = high * high / 2
    lead, more = _DENSITY
    coarse = jnp.round((half + lead) * 256) / 256
    rest = ((coarse - lead) - half) - (more - (high - x) * (high + x) / 2)
    rough = jnp.exp(-coarse)
    return (rough + rough * _expm1(rest)) * factor * 2.0**-24


@jax.custom_jvp
def _ndtr(x: Array) -> Array:
    # Φ(x) - 1/2 by its Taylor series, and Φ(-y) = φ(y) / (y + G(y)).
    near = (x > -0.8) & (x < 1)
    inside, y = jnp.where(near, x, 0), jnp.abs(x)
    terms = 9 if x.dtype == jnp.float32 else 17
    series = [1 / (math.sqrt(2 * math.pi) * (-2) ** k * math.factorial(k) * (2 * k + 1)) for k in range(terms)]
    middle = inside * polynomial(series, jnp.square(inside)) + 0.5
    tail = _normal_density(y) / (y + _excess(y))
    return jnp.where(near, middle, jnp.where(x < 0, tail, 1 - tail))


def _normal_density(x: Array) -> Array:
    return _times_density(jnp.ones_like(x), x)


def _mills_above(x: Array) -> Array:
    """Returns Φ(x) / φ(x) for 0 <= x <= 1 by its Taylor series: m' = 1 + x m has m_n = m_(n - 2) / n, all positive."""
    series = [math.sqrt(math.pi / 2), 1.0]
    for n in range(2, 18 if x.dtype == jnp.float32 else 32):
        series.append(series[n - 2] / n)
    return polynomial(series, x)


@jax.custom_jvp
def _inverse_mills(x: Array) -> Array:
    y, near = jnp.abs(x), jnp.where((x > 0) & (x < 1), x, 0)
    above = jnp.where(near > 0, 1 / _mills_above(near), _normal_density(y) / (1 - _ndtr(-y)))
    return jnp.where(x > 0, above, y + _excess(y))


def _inverse_mills_slope(x: Array) -> Array:
    # -λ(x) (x + λ(x)), whose bracket is G(-x) for x <= 0; far out, the whole is -1.
    y = jnp.minimum(jnp.where(x > 0, x, -x), 1e10)  # at 0 with the slope of the left side
    excess, mills = _excess(y), _inverse_mills(y)
    far = _times_density(y + mills, y) / (1 - _ndtr(-y))  # where λ(x) underflows and this does not
    return -jnp.where(x > 0, jnp.where(y < 1, mills * (y + mills), far), (y + excess) * excess)


@jax.custom_jvp
def _log_mills(x: Array) -> Array:
    return -jnp.log(jnp.where(x < 0, -1, x + _excess(jnp.abs(x))))


@jax.custom_jvp
def _log_ndtr(x: Array) -> Array:
    y = jnp.abs(x)
    tail = _ndtr(-y)
    left = -y * (y / 2) - math.log(2 * math.pi) / 2 + _log_mills(y)
    return jnp.where(x < -0.5, left, jnp.where(x < 0, jnp.log(tail), _log1p(-tail)))


@_times_density.defjvp
def _times_density_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (factor, x), (dfactor, dx) = primals, tangents
    slope = _times_density(-factor * jnp.clip(x, TAIL, -TAIL), x)
    return _times_density(factor, x), _normal_density(x) * dfactor + slope * dx


_ndtr.defjvps(lambda dx, ans, x: _normal_density(x) * dx)
_log_mills.defjvps(lambda dx, ans, x: -_excess(jnp.abs(x)) * dx)
_inverse_mills.defjvps(lambda dx, ans, x: _inverse_mills_slope(x) * dx)
_log_ndtr.defjvps(lambda dx, ans, x: finite(_inverse_mills(x)) * dx)


@_public
def ndtr(x: Array) -> Array:
    """Computes Φ(x), the standard normal distribution function, exact even in the left tail. The derivative is φ(x)."""
    return _ndtr(x)


@_public
def log_ndtr(x: Array) -> Array:
    """Computes log Φ(x), exact in both tails. The derivative is the inverse Mills ratio."""
    return _log_ndtr(x)


@_public
def inverse_mills(x: Array) -> Array:
    """Computes λ(x) = φ(x) / Φ(x), the derivative of ``log_ndtr``, which is between -x (left) and 0.

    The derivative of λ(x) is -λ(x) (x + λ(x)).
    """
    return _inverse_mills(x)


@_public
def log_mills(x: Array) -> Array:
    """Computes the log of Mills' ratio R(x) = Φ(-x) / φ(x) for x >= 0, which is log Φ(-x) + x²/2 up to a constant.

    The derivative is x - 1/R(x).

    Near the root 0.3026, where the value is between -1/2 and 1/2, the absolute error is below 2 eps.
    """
    return _log_mills(x)


def log_mean_exp(x: ArrayLike, axis: int | tuple[int, ...] | None = None) -> Array:
    """Computes the log of the mean of e^x along ``axis``; it is -inf where every element is -inf.

    For log-weights, it is the importance-weighted bound (Burda et al. 2016, eq. 8).
    """
    require_real(x=x)
    x = jnp.asarray(x)
    # Where every element is -inf, its slopes are 0, not 0/0.
    wide = x.astype(compute_dtype(x))
    none = jnp.max(wide, axis=axis, keepdims=True, initial=-jnp.inf) == -jnp.inf
    total = jax.nn.logsumexp(jnp.where(none, 0, wide), axis=axis)
    total = jnp.where(none.reshape(total.shape), -jnp.inf, total)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    count = math.prod(x.shape[i] for i in axes)
    mean = total - (jnp.log(jnp.asarray(count, total.dtype)) if symbolic(count) else math.log(max(count, 1)))
    return mean.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else mean
