"""Gaussians from other libraries' normals, which have a mean and a σ."""

from typing import Any

from jax import Array

from jaxvae.gaussian import Gaussian, convert, kl_divergence
from jaxvae.parameterizations import Parameterization, as_parameterization, direct_std, log_variance


def gaussian_of(normal: Any) -> Gaussian:
    """Returns the Gaussian inside a normal of this library; for others, one with their ``loc`` and ``scale``."""
    own = _own(normal)
    return Gaussian(normal.loc, normal.scale, direct_std) if own is None else own


def kl(a: Any, b: Any, *_: Any, **__: Any) -> Array:
    """Computes KL(a ‖ b) of normals, one of them of this library; other libraries' registries call it."""
    return kl_divergence(gaussian_of(a), gaussian_of(b))


def expressed(normal: Any, parameterization: Parameterization | str | None) -> Gaussian:
    """Returns the Gaussian of a normal in a parameterization.

    By default, a normal of this library keeps its own parameterization, and others get ``log_variance``. A bare σ is
    converted to raw by ``raw_from_std``, not by its log, which has fewer digits.

    Raises:
        ValueError: outside ``jit``, if a σ is out of the parameterization's range. Inside ``jit``, raw is NaN there.
    """
    own = _own(normal)
    if own is not None:
        return own if parameterization is None else convert(own, parameterization)
    p, q = as_parameterization(parameterization or log_variance), gaussian_of(normal)
    raw = p.raw_from_std(q.std)
    return Gaussian(p.loc_from_mean(q.mean, raw).astype(q.dtype), raw.astype(q.dtype), p)


def _own(normal: Any) -> Gaussian | None:
    own = getattr(normal, "gaussian", None)
    return own if isinstance(own, Gaussian) else None


def refusal(function: str, allowed: str, got: object) -> TypeError:
    """Returns the error for a distribution that isn't Gaussian, element by element."""
    return TypeError(f"{function} takes {allowed}, got a {type(got).__name__}")
