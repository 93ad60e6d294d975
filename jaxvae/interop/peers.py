"""Conversion to other libraries' distributions and back; each library is loaded when it is first needed."""

import importlib
from types import ModuleType
from typing import Any

from jaxvae.gaussian import Gaussian
from jaxvae.parameterizations import Parameterization


def to_distrax(q: Gaussian) -> Any:
    """Returns a ``distrax.Normal`` whose samples, densities, entropy and KL are computed by this library.

    Its batch shape is q's; ``distrax.Independent`` sums over events. The KL to and from any other normal of distrax or
    TensorFlow Probability is exact too. It is a pytree whose leaves are those of q.

    Raises:
        ImportError: if distrax is missing.

    >>> import jax.numpy as jnp
    >>> to_distrax(Gaussian(jnp.zeros((4, 3)), jnp.zeros(3))).sample(seed=0, sample_shape=5).shape
    (5, 4, 3)
    """
    return _adapter("distrax").build(q)


def from_distrax(distribution: Any, parameterization: Parameterization | str | None = None) -> Gaussian:
    """Returns the Gaussian of a distrax distribution.

    Args:
        distribution: one from ``to_distrax``, a ``Normal``, ``LogStddevNormal``, ``MultivariateNormalDiag``, or an
            ``Independent`` of these, whose event axes become ordinary ones.
        parameterization: the parameterization of the result; by default, that of a distribution from ``to_distrax``,
            and ``log_variance`` for others.

    Raises:
        ImportError: if distrax is missing.
        TypeError: if the distribution is another one.
        ValueError: outside ``jit``, if a σ is out of the parameterization's range. Inside ``jit``, raw is NaN there.

    >>> float(from_distrax(to_distrax(Gaussian(0.0, 2.0)), "log_std").raw)
    1.0
    """
    return _adapter("distrax").read(distribution, parameterization)


def to_numpyro(q: Gaussian) -> Any:
    """Returns a NumPyro distribution whose samples, densities, entropy and KL are computed by this library.

    It is for ``numpyro.sample`` in models and guides; ``.to_event(1)`` sums over events. NumPyro's ``kl_divergence`` is
    exact between two of these, and to and from a ``Normal``. It is a pytree whose leaves are those of q.

    Raises:
        ImportError: if NumPyro is missing.

    >>> import jax.numpy as jnp
    >>> to_numpyro(Gaussian(jnp.zeros((4, 3)), jnp.zeros(3))).to_event(1).log_prob(jnp.zeros(3)).shape
    (4,)
    """
    return _adapter("numpyro").build(q)


def from_numpyro(distribution: Any, parameterization: Parameterization | str | None = None) -> Gaussian:
    """Returns the Gaussian of a NumPyro distribution.

    Args:
        distribution: one from ``to_numpyro``, or a ``Normal``. It may be expanded (``expand``), or have axes that are
            declared an event (``to_event``), which become ordinary ones.
        parameterization: as for ``from_distrax``.

    Raises:
        ImportError: if NumPyro is missing.
        TypeError, ValueError: as ``from_distrax``.

    >>> float(from_numpyro(to_numpyro(Gaussian(0.0, 2.0)), "log_std").raw)
    1.0
    """
    return _adapter("numpyro").read(distribution, parameterization)


def to_tfp(q: Gaussian) -> Any:
    """Returns a ``Normal`` of TensorFlow Probability on JAX that computes with this library.

    Its samples, densities, entropy and KL are this library's. Its batch shape is q's; ``tfd.Independent`` sums over
    events. The KL to and from any other normal of TFP or distrax is exact too. It is a pytree whose leaves are those of
    q.

    Raises:
        ImportError: if TensorFlow Probability is missing.

    >>> float(to_tfp(Gaussian(1.0, 0.0)).mean())
    1.0
    """
    return _adapter("tfp").build(q)


def from_tfp(distribution: Any, parameterization: Parameterization | str | None = None) -> Gaussian:
    """Returns the Gaussian of a distribution of TensorFlow Probability on JAX.

    Args:
        distribution: one from ``to_tfp``, a ``Normal``, ``MultivariateNormalDiag``, or an ``Independent`` of these,
            whose event axes become ordinary ones.
        parameterization: as for ``from_distrax``.

    Raises:
        ImportError: if TensorFlow Probability is missing.
        TypeError, ValueError: as ``from_distrax``.

    >>> float(from_tfp(to_tfp(Gaussian(0.0, 2.0)), "log_std").raw)
    1.0
    """
    return _adapter("tfp").read(distribution, parameterization)


def _adapter(peer: str) -> ModuleType:
    return importlib.import_module(f"jaxvae.interop.{peer}")
