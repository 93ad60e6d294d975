"""Every likelihood by name: what the command line accepts and the contract tests walk."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from jaxvae.arguments import require, require_numbers
from jaxvae.likelihoods.bernoulli import Bernoulli, ContinuousBernoulli
from jaxvae.likelihoods.categorical import Categorical, require_levels
from jaxvae.likelihoods.compositions import DirichletMultinomial, Multinomial
from jaxvae.likelihoods.counts import NegativeBinomial, Poisson, ZeroInflated
from jaxvae.likelihoods.discretized import DiscretizedGaussian
from jaxvae.likelihoods.family import START_STD, Likelihood
from jaxvae.likelihoods.logistic import DiscretizedLogistic, DiscretizedLogisticMixture
from jaxvae.likelihoods.normal import FixedGaussian, LearnedGaussian, OptimalGaussian, PixelGaussian
from jaxvae.likelihoods.ordinal import Ordinal
from jaxvae.likelihoods.reals import Beta, Gamma, Laplace, LogNormal, Normal, StudentT, VonMises
from jaxvae.likelihoods.standard import PLAIN, Standard
from jaxvae.parameterizations import Parameterization, as_parameterization, log_variance


class Build(Protocol):
    """Grey levels (None for data without), a parameterization and a σ to a likelihood, which uses what it needs."""

    def __call__(self, n: int | None, p: Parameterization, std: float = START_STD, /) -> Likelihood: ...


def _known(levels: int | None) -> int:
    require_levels(levels)
    assert levels is not None
    return levels


LIKELIHOODS: Mapping[str, Build] = MappingProxyType(
    {
        "bernoulli": lambda n, p, std=START_STD: Bernoulli(),
        "continuous_bernoulli": lambda n, p, std=START_STD: ContinuousBernoulli(),
        "categorical": lambda n, p, std=START_STD: Categorical(_known(n)),
        "gaussian_fixed": lambda n, p, std=START_STD: FixedGaussian(std),
        "gaussian_learned": lambda n, p, std=START_STD: LearnedGaussian(p, std),
        "gaussian_pixel": lambda n, p, std=START_STD: PixelGaussian(p, std),
        "gaussian_optimal": lambda n, p, std=START_STD: OptimalGaussian(p),
        "discretized_gaussian": lambda n, p, std=START_STD: DiscretizedGaussian(_known(n), p, std),
        "discretized_logistic": lambda n, p, std=START_STD: DiscretizedLogistic(_known(n), p, std),
        "discretized_logistic_mixture": lambda n, p, std=START_STD: DiscretizedLogisticMixture(
            _known(n), parameterization=p, std=std
        ),
        "poisson": lambda n, p, std=START_STD: Poisson(),
        "negative_binomial": lambda n, p, std=START_STD: NegativeBinomial(dispersion=p.transform),
        "zero_inflated_poisson": lambda n, p, std=START_STD: ZeroInflated(Poisson()),
        "zero_inflated_negative_binomial": lambda n, p, std=START_STD: ZeroInflated(
            NegativeBinomial(dispersion=p.transform)
        ),
        "multinomial": lambda n, p, std=START_STD: Multinomial(),
        "dirichlet_multinomial": lambda n, p, std=START_STD: DirichletMultinomial(p.transform),
    }
)
"""How each is built from the data's grey levels, a parameterization and a σ."""


COUNTS = ("poisson", "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial")
"""The likelihoods of counts."""

COMPOSITIONS = ("multinomial", "dirichlet_multinomial")
"""The likelihoods of counts whose total is known."""


def likelihood(
    name: str, levels: int | None, parameterization: Parameterization | str = log_variance, std: float = START_STD
) -> Likelihood:
    """The likelihood of this name.

    Args:
        name: one of ``LIKELIHOODS``.
        levels: the data's number of grey levels; None for data without.
        parameterization: how a scale arises from a raw number, where the likelihood has one.
        std: the fixed σ, or that at the start, in units of x.

    Raises:
        ValueError: for an unknown name, a σ out of the parameterization's range, or data without the levels needed.
    """
    require(isinstance(name, str) and name in LIKELIHOODS, "likelihood", name, "one of " + ", ".join(LIKELIHOODS))
    p = as_parameterization(parameterization)
    require_numbers(std=std)
    return LIKELIHOODS[name](levels, p, std)


_OfColumns = Callable[[Standard, Parameterization, float], Likelihood]

_MEASURED: Mapping[str, _OfColumns] = MappingProxyType(
    {
        "gaussian_fixed": lambda standard, p, std: Normal(p, std, "fixed", standard=standard),
        "gaussian_learned": lambda standard, p, std: Normal(p, std, "feature", standard=standard),
        "gaussian_pixel": lambda standard, p, std: Normal(p, std, "example", standard=standard),
        "student_t": lambda standard, p, std: StudentT(p, std, "feature", standard=standard, freedom_scope="feature"),
        "laplace": lambda standard, p, std: Laplace(p, std, "feature", standard=standard),
        "log_normal": lambda standard, p, std: LogNormal(p, std, "feature", standard=standard),
        "gamma": lambda standard, p, std: Gamma(standard=standard),
        "beta": lambda standard, p, std: Beta(),
        "von_mises": lambda standard, p, std: VonMises(),
    }
)
"""How those of measurements are built from the columns' units, a parameterization and a σ in these units."""

OF_COLUMNS = (*_MEASURED, "bernoulli", "categorical", "ordinal", *COUNTS)
"""The likelihoods of columns of a table, of which each learns its own scale, dispersion or cuts."""

OF_LOGS = ("log_normal", "gamma")
"""Those whose units are of log x."""


def column_likelihood(
    name: str,
    levels: int | None = None,
    standard: Standard = PLAIN,
    parameterization: Parameterization | str = log_variance,
    std: float = 1.0,
) -> Likelihood:
    """The likelihood of this name of some columns of a table.

    Args:
        name: one of ``OF_COLUMNS``.
        levels: of categories.
        standard: the columns' units, of those of real numbers; without, they are as they come.
        parameterization: as for ``likelihood``.
        std: the fixed σ, or that at the start, in units of the columns.

    Raises:
        ValueError: as ``likelihood``.
    """
    require(name in OF_COLUMNS, "likelihood", name, "one of " + ", ".join(OF_COLUMNS))
    if name == "ordinal":
        return Ordinal(_known(levels))
    p = as_parameterization(parameterization)
    require_numbers(std=std)
    return _MEASURED[name](standard, p, std) if name in _MEASURED else LIKELIHOODS[name](levels, p, std)
