"""A Gaussian as a distrax distribution, and back.

It is a ``distrax.Normal``, so that functions that take a normal accept it, and what is registered for a normal applies
to it.
"""

from typing import Any

import jax
from jax import Array
from jax.typing import ArrayLike

from jaxvae.distribution import broadcast_to
from jaxvae.distribution_functions import cdf, log_cdf, log_survival, survival
from jaxvae.gaussian import Gaussian, convert, entropy, log_prob, sample
from jaxvae.interop.optional import load_optional
from jaxvae.interop.reading import expressed, kl, refusal
from jaxvae.parameterizations import Parameterization, log_std, log_variance

distrax: Any = load_optional("distrax", "distrax")
tfd: Any = load_optional("tensorflow_probability.substrates.jax.distributions", "tfp-nightly")


class DistraxGaussian(distrax.Normal):
    """A ``distrax.Normal`` made from a ``jaxvae.Gaussian``, whose methods jaxvae computes.

    Attributes:
        gaussian: the ``jaxvae.Gaussian``.
    """

    def __init__(self, gaussian: Gaussian) -> None:
        self.gaussian = gaussian

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self.gaussian.shape

    @property
    def loc(self) -> Array:
        """The mean."""
        return self.gaussian.mean

    @property
    def scale(self) -> Array:
        """The standard deviation σ."""
        return self.gaussian.std

    def _sample_n(self, key: Array, n: int) -> Array:
        return sample(key, self.gaussian, (n,))

    def _sample_n_and_log_prob(self, key: Array, n: int) -> tuple[Array, Array]:
        z = self._sample_n(key, n)
        return z, self.log_prob(z)

    def log_prob(self, value: ArrayLike) -> Array:
        return log_prob(self.gaussian, value)

    def cdf(self, value: ArrayLike) -> Array:
        return cdf(self.gaussian, value)

    def log_cdf(self, value: ArrayLike) -> Array:
        return log_cdf(self.gaussian, value)

    def survival_function(self, value: ArrayLike) -> Array:
        return survival(self.gaussian, value)

    def log_survival_function(self, value: ArrayLike) -> Array:
        return log_survival(self.gaussian, value)

    def entropy(self) -> Array:
        return entropy(self.gaussian)

    def variance(self) -> Array:
        return self.gaussian.variance

    def __getitem__(self, index: Any) -> "DistraxGaussian":
        q = broadcast_to(self.gaussian, self.batch_shape)
        return DistraxGaussian(jax.tree.map(lambda x: x[index], q))


tfd.RegisterKL(DistraxGaussian, DistraxGaussian)(kl)
for _other in (distrax.Normal, tfd.Normal):
    tfd.RegisterKL(DistraxGaussian, _other)(kl)
    tfd.RegisterKL(_other, DistraxGaussian)(kl)


def build(q: Gaussian) -> DistraxGaussian:
    """Makes the distribution of ``jaxvae.to_distrax``."""
    return DistraxGaussian(q)


def read(distribution: Any, parameterization: Parameterization | str | None) -> Gaussian:
    """Makes the Gaussian of ``jaxvae.from_distrax``."""
    while isinstance(distribution, distrax.Independent):
        distribution = distribution.distribution
    if isinstance(distribution, distrax.MultivariateNormalDiag):
        distribution = distrax.Normal(distribution.loc, distribution.scale_diag)
    if isinstance(distribution, distrax.LogStddevNormal):
        q = Gaussian(distribution.loc, distribution.log_scale, log_std)
        return convert(q, parameterization or log_variance)
    if not isinstance(distribution, distrax.Normal):
        raise refusal("from_distrax", "a Normal, a MultivariateNormalDiag, or an Independent of these", distribution)
    return expressed(distribution, parameterization)
