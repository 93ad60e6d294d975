"""All likelihoods by name: the command line accepts these names, and the contract tests check all of them."""

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
    """A function that builds a likelihood from the number of grey levels, a parameterization and a σ.

    The number of grey levels is None for data without levels. A likelihood uses only what it needs.
    """

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
"""The functions that build likelihoods from the data's grey levels, a parameterization and a σ, by name."""


COUNTS = ("poisson", "negative_binomial", "zero_inflated_poisson", "zero_inflated_negative_binomial")
"""The names of the likelihoods of counts."""

COMPOSITIONS = ("multinomial", "dirichlet_multinomial")
"""The names of the likelihoods of counts whose total is known."""


def likelihood(
    name: str, levels: int | None, parameterization: Parameterization | str = log_variance, std: float = START_STD
) -> Likelihood:
    """Returns the likelihood of this name.

    Args:
        name: a name in ``LIKELIHOODS`` or ``REALS``.
        levels: the data's number of grey levels; None for data without levels.
        parameterization: how a scale arises from a raw number, if the likelihood has a scale; or its name.
        std: the fixed σ, or σ at the start, in units of x.

    Raises:
        ValueError: for an unknown name, for a σ out of the parameterization's range, or if the likelihood needs levels
            and the data have none.
    """
    known = (*LIKELIHOODS, *REALS)
    require(isinstance(name, str) and name in known, "likelihood", name, "one of " + ", ".join(known))
    p = as_parameterization(parameterization)
    require_numbers(std=std)
    return LIKELIHOODS[name](levels, p, std) if name in LIKELIHOODS else _MEASURED[name](PLAIN, p, std)


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
"""Functions that build likelihoods of real numbers, by name, from units, a parameterization and a σ in these units."""

REALS = tuple(name for name in _MEASURED if name not in LIKELIHOODS)
"""The names of more likelihoods of real numbers. Each channel learns its own scale, shape or concentration."""

OF_COLUMNS = (*_MEASURED, "bernoulli", "categorical", "ordinal", *COUNTS)
"""The names of the likelihoods for columns of a table. Each column learns its own scale, dispersion or cuts, if any."""

OF_LOGS = ("log_normal", "gamma")
"""The names of the likelihoods whose units are those of log x."""


def column_likelihood(
    name: str,
    levels: int | None = None,
    standard: Standard = PLAIN,
    parameterization: Parameterization | str = log_variance,
    std: float = 1.0,
) -> Likelihood:
    """Returns the likelihood of this name for some columns of a table.

    Args:
        name: a name in ``OF_COLUMNS``.
        levels: the number of categories.
        standard: the columns' units, for likelihoods of real numbers; by default, the columns are taken as they are.
        parameterization: as in ``likelihood``.
        std: the fixed σ, or σ at the start, in units of the columns.

    Raises:
        ValueError: as in ``likelihood``.
    """
    require(name in OF_COLUMNS, "likelihood", name, "one of " + ", ".join(OF_COLUMNS))
    if name == "ordinal":
        return Ordinal(_known(levels))
    p = as_parameterization(parameterization)
    require_numbers(std=std)
    return _MEASURED[name](standard, p, std) if name in _MEASURED else LIKELIHOODS[name](levels, p, std)
