"""Natural gradients, whose steps do not depend on the coordinates of the distribution.

A gradient step depends on the coordinates in which it is taken. A step along F⁻¹∇L, with the Fisher metric F, does not,
to first order in its size (Amari 1998, Neural Computation 10, 251-276). So smooth one-to-one parameterizations take the
same small step, and differ only in second order.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae import special
from jaxvae.gaussian import Gaussian, require_gaussian


def natural_gradient(q: Gaussian, gradient: Gaussian) -> Gaussian:
    """Computes the natural gradient F⁻¹ ∇L, elementwise, with F = ``fisher(q)``.

    With a = (d mean / d loc) / σ, t = (d mean / d raw) / (d mean / d loc) and gain = d log σ / d raw,

        raw: (∂L/∂raw - t ∂L/∂loc) / (2 gain²);  loc: (∂L/∂loc) / a² - t · the above.

    Except under a natural parameterization, t = 0 and a = 1/σ. Where gain is 0, as behind a clip, or σ is out of the
    float's range, F is singular, and its pseudo-inverse is used: that part of the result is 0. As gain tends to 0, as
    near a floor, raw's part grows without bound.

    Args:
        q: the Gaussians at which the gradient was taken. Their loc and raw must have one shape, because the metric of a
            shared element is a sum.
        gradient: ∂L/∂loc and ∂L/∂raw, as ``jax.grad`` of a function of ``q`` returns them.

    Returns:
        The natural gradient as the leaves of a ``Gaussian``, with the gradient's shapes and dtypes.

    Raises:
        ValueError: if the shapes differ.

    >>> q = Gaussian(jnp.zeros(2), jnp.zeros(2))
    >>> natural_gradient(q, Gaussian(jnp.ones(2), jnp.ones(2))).raw.tolist()  # gain ½
    [2.0, 2.0]
    """
    require_gaussian(q=q, gradient=gradient)
    leaves = (q.loc, q.raw, gradient.loc, gradient.raw)
    shapes = [x.shape for x in leaves]
    if len(set(shapes)) > 1:
        raise ValueError(f"natural_gradient needs loc and raw of one shape, in q and in its gradient, got {shapes}")
    dtype = special.compute_dtype(*leaves)
    loc, raw, by_loc, by_raw = (jnp.asarray(x, dtype) for x in leaves)
    slope, raw_slope = q.parameterization.mean_slopes(loc, raw)
    gain, shear = q.parameterization.log_std_gain(raw), _quotient(raw_slope, slope)
    # Each division is done twice, as the square of a divisor may over- or underflow where the result doesn't.
    new_raw = _quotient(_quotient(by_raw - shear * by_loc, gain), gain) / 2
    new_loc = _quotient(_quotient(by_loc, slope), slope) - special.times(shear, new_raw)
    return Gaussian(new_loc.astype(gradient.loc.dtype), new_raw.astype(gradient.raw.dtype), q.parameterization)


def _quotient(x: Array, y: Array) -> Array:
    """Returns x / y; where y is 0, it is 0 for a finite x, and NaN otherwise."""
    # The selection also keeps XLA from turning x / y / y into x / y².
    zero = y == 0
    return jnp.where(zero, 0 * x, special.over(x, jnp.where(zero, 1, y)))


def precondition(q: Gaussian) -> Gaussian:
    """Returns the same Gaussian; its backward pass turns the gradient of (loc, raw) into the natural gradient.

    Apply it to an encoder's output before anything else uses this output. Then gradient descent moves each example's
    distribution in the same way under every parameterization, to first order. The encoder's own weights keep their
    Euclidean metric.

    Args:
        q: Gaussians of any shape; the result's loc and raw are both broadcast to it.

    It supports reverse mode only: ``jax.jvp`` through it raises TypeError.

    >>> float(jax.grad(lambda raw: precondition(Gaussian(0.0, raw)).raw)(0.0))
    2.0
    """
    require_gaussian(q=q)
    loc, raw = (jnp.broadcast_to(x, q.shape) for x in (q.loc, q.raw))
    return _precondition(Gaussian(loc, raw, q.parameterization))


@jax.custom_vjp
def _precondition(q: Gaussian) -> Gaussian:
    return q


def _forward(q: Gaussian) -> tuple[Gaussian, Gaussian]:
    return q, q


def _backward(q: Gaussian, cotangent: Gaussian) -> tuple[Gaussian]:
    return (natural_gradient(q, cotangent),)


_precondition.defvjp(_forward, _backward)
