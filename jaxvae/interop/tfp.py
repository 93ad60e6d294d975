"""A Gaussian as a distribution of TensorFlow Probability on JAX, and back.

It is a ``tfd.Normal``, so that functions that take a normal accept it, and what is registered for a normal applies to
it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxvae.distribution import broadcast_to
from jaxvae.distribution_functions import cdf, log_cdf, log_survival, quantile, survival
from jaxvae.gaussian import Gaussian, entropy, log_prob, sample
from jaxvae.interop.optional import load_optional
from jaxvae.interop.reading import expressed, kl, refusal
from jaxvae.parameterizations import Parameterization

tfd: Any = load_optional("tensorflow_probability.substrates.jax.distributions", "tfp-nightly")


class TFPGaussian(tfd.Normal):
    """A ``tfd.Normal`` made from a ``jaxvae.Gaussian``, whose methods jaxvae computes.

    TFP rebuilds it from its arguments, whose leaves may then be anything, so the constructor doesn't check them.

    Attributes:
        gaussian: the ``jaxvae.Gaussian``.
    """

    def __init__(
        self,
        gaussian: Gaussian,
        validate_args: bool = False,
        allow_nan_stats: bool = True,
        name: str = "Gaussian",
    ) -> None:
        parameters = dict(locals())
        self.gaussian = gaussian
        super(tfd.Normal, self).__init__(
            dtype=None,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        return {}

    def _parameter_control_dependencies(self, is_init: bool) -> list:
        return []

    @property
    def dtype(self) -> jnp.dtype:
        return self.gaussian.dtype

    @property
    def loc(self) -> Array:
        """The mean."""
        return self.gaussian.mean

    @property
    def scale(self) -> Array:
        """The standard deviation σ."""
        return self.gaussian.std

    def _batch_shape(self) -> Any:
        return self.gaussian.shape

    def _batch_shape_tensor(self, **_: Any) -> Any:
        return self.gaussian.shape

    def __getitem__(self, index: Any) -> "TFPGaussian":
        q = broadcast_to(self.gaussian, self.gaussian.shape)
        return self.copy(gaussian=jax.tree.map(lambda x: x[index], q))

    def _sample_n(self, n: int, seed: Any = None) -> Array:
        return sample(seed, self.gaussian, (n,))

    def _log_prob(self, x: Array) -> Array:
        return log_prob(self.gaussian, x)

    def _entropy(self) -> Array:
        return entropy(self.gaussian)

    def _mean(self) -> Array:
        return self.gaussian.mean

    _mode = _mean

    def _stddev(self) -> Array:
        return self.gaussian.std

    def _variance(self) -> Array:
        return self.gaussian.variance

    def _cdf(self, x: Array) -> Array:
        return cdf(self.gaussian, x)

    def _log_cdf(self, x: Array) -> Array:
        return log_cdf(self.gaussian, x)

    def _survival_function(self, x: Array) -> Array:
        return survival(self.gaussian, x)

    def _log_survival_function(self, x: Array) -> Array:
        return log_survival(self.gaussian, x)

    def _quantile(self, p: Array) -> Array:
        return quantile(self.gaussian, p)


tfd.RegisterKL(TFPGaussian, TFPGaussian)(kl)
tfd.RegisterKL(TFPGaussian, tfd.Normal)(kl)
tfd.RegisterKL(tfd.Normal, TFPGaussian)(kl)


def build(q: Gaussian) -> TFPGaussian:
    """Makes the distribution of ``jaxvae.to_tfp``."""
    return TFPGaussian(q)


def read(distribution: Any, parameterization: Parameterization | str | None) -> Gaussian:
    """Makes the Gaussian of ``jaxvae.from_tfp``."""
    while isinstance(distribution, tfd.Independent):
        distribution = distribution.distribution
    if isinstance(distribution, tfd.MultivariateNormalDiag):
        distribution = tfd.Normal(distribution.mean(), distribution.stddev())
    if not isinstance(distribution, tfd.Normal):
        raise refusal("from_tfp", "a Normal, a MultivariateNormalDiag, or an Independent of these", distribution)
    return expressed(distribution, parameterization)
