"""A Gaussian as a NumPyro distribution, and back.

Not a subclass of NumPyro's ``Normal``: as pytrees those carry σ, while this one's leaves are loc and raw.
"""

from typing import Any

from jax import Array
from jax.typing import ArrayLike

from jaxvae.distribution import broadcast_to
from jaxvae.gaussian import Gaussian, entropy, log_prob, sample
from jaxvae.interop.optional import load_optional
from jaxvae.interop.reading import expressed, kl, refusal
from jaxvae.parameterizations import Parameterization, log_variance

dist: Any = load_optional("numpyro.distributions", "numpyro")


class NumPyroGaussian(dist.Distribution):
    """A ``jaxvae.Gaussian``, its methods computed by jaxvae.

    Attributes:
        loc: as of ``jaxvae.Gaussian``.
        raw: as of ``jaxvae.Gaussian``.
        parameterization: static.
    """

    arg_constraints = {"loc": dist.constraints.real, "raw": dist.constraints.real}  # noqa: RUF012
    support = dist.constraints.real
    reparametrized_params = ["loc", "raw"]  # noqa: RUF012
    pytree_data_fields = ("loc", "raw")
    pytree_aux_fields = ("parameterization",)

    def __init__(
        self,
        loc: Array,
        raw: Array,
        parameterization: Parameterization | str = log_variance,
        *,
        validate_args: bool | None = None,
    ) -> None:
        q = Gaussian(loc, raw, parameterization)
        self.loc, self.raw, self.parameterization = q.loc, q.raw, parameterization
        super().__init__(batch_shape=q.shape, validate_args=validate_args)

    @property
    def gaussian(self) -> Gaussian:
        """What it is made of."""
        return Gaussian(self.loc, self.raw, self.parameterization)

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
        return self._normal.cdf(value)

    def log_cdf(self, value: ArrayLike) -> Array:
        return self._normal.log_cdf(value)

    def icdf(self, q: ArrayLike) -> Array:
        return self._normal.icdf(q)

    @property
    def _normal(self) -> Any:
        return dist.Normal(self.gaussian.mean, self.gaussian.std, validate_args=False)


for _pair in ((NumPyroGaussian, NumPyroGaussian), (NumPyroGaussian, dist.Normal), (dist.Normal, NumPyroGaussian)):
    dist.kl_divergence.register(*_pair)(kl)


def build(q: Gaussian) -> NumPyroGaussian:
    """See ``jaxvae.to_numpyro``."""
    return NumPyroGaussian(q.loc, q.raw, q.parameterization)


def read(distribution: Any, parameterization: Parameterization | str | None) -> Gaussian:
    """See ``jaxvae.from_numpyro``."""
    if isinstance(distribution, dist.Independent):
        return read(distribution.base_dist, parameterization)
    if isinstance(distribution, dist.ExpandedDistribution):
        return broadcast_to(read(distribution.base_dist, parameterization), distribution.shape())
    if not isinstance(distribution, NumPyroGaussian | dist.Normal):
        raise refusal("from_numpyro", "a Normal, perhaps expanded or with axes declared an event", distribution)
    return expressed(distribution, parameterization)
