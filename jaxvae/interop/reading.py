"""A Gaussian read from what other libraries know of it: its mean and its σ."""

from typing import Any

from jax import Array

from jaxvae.gaussian import Gaussian, convert, kl_divergence
from jaxvae.parameterizations import Parameterization, as_parameterization, direct_std, log_variance


def gaussian_of(normal: Any) -> Gaussian:
    """The Gaussian inside one of ours; of another's normal, its ``loc`` and ``scale`` as they are."""
    own = _own(normal)
    return Gaussian(normal.loc, normal.scale, direct_std) if own is None else own


def kl(a: Any, b: Any, *_: Any, **__: Any) -> Array:
    """KL(a ‖ b) of normals of which one is ours; called by the peers' registries, with what else they pass."""
    return kl_divergence(gaussian_of(a), gaussian_of(b))


def expressed(normal: Any, parameterization: Parameterization | str | None) -> Gaussian:
    """The Gaussian of a normal in a parameterization; if not given, in that of ours, or log-variance for another's.

    A bare σ goes to raw by ``raw_from_std``, not by its log, which has fewer digits.

    Raises:
        ValueError: outside ``jit`` where σ is out of the parameterization's range; inside ``jit``, raw is NaN there.
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
    """The error for a distribution that isn't Gaussian, element by element."""
    return TypeError(f"{function} takes {allowed}, got a {type(got).__name__}")
