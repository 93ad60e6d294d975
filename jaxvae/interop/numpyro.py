"""A Gaussian as a NumPyro distribution, and back.

It is not a subclass of NumPyro's ``Normal``, whose pytree has σ as a leaf, while the leaves here are loc and raw.
"""

from typing import Any

from jax import Array
from jax.typing import ArrayLike

from jaxvae.arguments import require
from jaxvae.distribution import broadcast_to
from jaxvae.distribution_functions import cdf, log_cdf, quantile
from jaxvae.gaussian import Gaussian, entropy, log_prob, sample
from jaxvae.interop.optional import load_optional
from jaxvae.interop.reading import expressed, kl, refusal
from jaxvae.parameterizations import Parameterization, direct_std, log_variance

dist: Any = load_optional("numpyro.distributions", "numpyro")


class NumPyroGaussian(dist.Distribution):
    """A NumPyro distribution made from a ``jaxvae.Gaussian``, whose methods jaxvae computes.

    It is made from loc and raw, as ``jaxvae.Gaussian`` is, or from the mean and σ by
    ``NumPyroGaussian(loc, scale=scale)``, which is how NumPyro's reparameterizers make one of a site's own kind.

    Attributes:
        gaussian: the ``jaxvae.Gaussian``.
    """

    arg_constraints = {"loc": dist.constraints.real, "raw": dist.constraints.real}  # noqa: RUF012
    support = dist.constraints.real
    reparametrized_params = ["loc", "raw"]  # noqa: RUF012
    pytree_data_fields = ("gaussian",)

    def __init__(
        self,
        loc: Array,
        raw: Array | None = None,
        parameterization: Parameterization | str = log_variance,
        *,
        scale: Array | None = None,
        validate_args: bool | None = None,
    ) -> None:
        require((raw is None) != (scale is None), "scale", scale, "given where raw is not, and only there")
        raw, parameterization = (raw, parameterization) if scale is None else (scale, direct_std)
        assert raw is not None
        self.gaussian = Gaussian(loc, raw, parameterization)
        super().__init__(batch_shape=self.gaussian.shape, validate_args=validate_args)

    @property
    def loc(self) -> Array:
        """The mean."""
        return self.gaussian.mean

    @property
    def scale(self) -> Array:
        """The standard deviation σ."""
        return self.gaussian.std

    @property
    def raw(self) -> Array:
        """The raw numbers of the ``jaxvae.Gaussian``."""
        return self.gaussian.raw

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        return sample(key, broadcast_to(self.gaussian, self.batch_shape), sample_shape)

    @dist.util.validate_sample
    def log_prob(self, value: ArrayLike) -> Array:
        return log_prob(self.gaussian, value)

    def entropy(self) -> Array:
        return entropy(self.gaussian)

    @property
    def mean(self) -> Array:
        return self.gaussian.mean

    @property
    def variance(self) -> Array:
        return self.gaussian.variance

    def cdf(self, value: ArrayLike) -> Array:
        return cdf(self.gaussian, value)

    def log_cdf(self, value: ArrayLike) -> Array:
        return log_cdf(self.gaussian, value)

    def icdf(self, q: ArrayLike) -> Array:
        return quantile(self.gaussian, q)


for _pair in ((NumPyroGaussian, NumPyroGaussian), (NumPyroGaussian, dist.Normal), (dist.Normal, NumPyroGaussian)):
    dist.kl_divergence.register(*_pair)(kl)


def build(q: Gaussian) -> NumPyroGaussian:
    """Makes the distribution of ``jaxvae.to_numpyro``."""
    return NumPyroGaussian(q.loc, q.raw, q.parameterization)


def read(distribution: Any, parameterization: Parameterization | str | None) -> Gaussian:
    """Makes the Gaussian of ``jaxvae.from_numpyro``."""
    if isinstance(distribution, dist.Independent):
        return read(distribution.base_dist, parameterization)
    if isinstance(distribution, dist.ExpandedDistribution):
        return broadcast_to(read(distribution.base_dist, parameterization), distribution.shape())
    if not isinstance(distribution, NumPyroGaussian | dist.Normal):
        raise refusal("from_numpyro", "a Normal, perhaps expanded or with axes declared an event", distribution)
    return expressed(distribution, parameterization)
