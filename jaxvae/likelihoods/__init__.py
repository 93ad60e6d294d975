"""Likelihoods p(x | z): distributions of images, counts and tables, whose parameters are a decoder's outputs.

>>> import jax, jax.numpy as jnp
>>> pixels = likelihood("discretized_logistic", levels=256)
>>> outputs = jnp.zeros((8, 28, 28, pixels.output_channels(1)))
>>> jax.jit(pixels.log_prob)(outputs, jnp.zeros((8, 28, 28, 1))).shape
(8, 28, 28, 1)
"""

from jaxvae.likelihoods.bernoulli import Bernoulli as Bernoulli
from jaxvae.likelihoods.bernoulli import ContinuousBernoulli as ContinuousBernoulli
from jaxvae.likelihoods.categorical import Categorical as Categorical
from jaxvae.likelihoods.compositions import DirichletMultinomial as DirichletMultinomial
from jaxvae.likelihoods.compositions import Multinomial as Multinomial
from jaxvae.likelihoods.counts import CountLikelihood as CountLikelihood
from jaxvae.likelihoods.counts import NegativeBinomial as NegativeBinomial
from jaxvae.likelihoods.counts import Poisson as Poisson
from jaxvae.likelihoods.counts import ZeroInflated as ZeroInflated
from jaxvae.likelihoods.discretized import DiscretizedGaussian as DiscretizedGaussian
from jaxvae.likelihoods.family import ChannelLikelihood as ChannelLikelihood
from jaxvae.likelihoods.family import Likelihood as Likelihood
from jaxvae.likelihoods.kinds import COMPOSITIONS as COMPOSITIONS
from jaxvae.likelihoods.kinds import COUNTS as COUNTS
from jaxvae.likelihoods.kinds import LIKELIHOODS as LIKELIHOODS
from jaxvae.likelihoods.kinds import OF_COLUMNS as OF_COLUMNS
from jaxvae.likelihoods.kinds import OF_LOGS as OF_LOGS
from jaxvae.likelihoods.kinds import REALS as REALS
from jaxvae.likelihoods.kinds import column_likelihood as column_likelihood
from jaxvae.likelihoods.kinds import likelihood as likelihood
from jaxvae.likelihoods.logistic import DiscretizedLogistic as DiscretizedLogistic
from jaxvae.likelihoods.logistic import DiscretizedLogisticMixture as DiscretizedLogisticMixture
from jaxvae.likelihoods.masses import log_negative_binomial as log_negative_binomial
from jaxvae.likelihoods.masses import log_poisson as log_poisson
from jaxvae.likelihoods.masses import log_zero_inflated as log_zero_inflated
from jaxvae.likelihoods.normal import FixedGaussian as FixedGaussian
from jaxvae.likelihoods.normal import LearnedGaussian as LearnedGaussian
from jaxvae.likelihoods.normal import OptimalGaussian as OptimalGaussian
from jaxvae.likelihoods.normal import PixelGaussian as PixelGaussian
from jaxvae.likelihoods.ordinal import Ordinal as Ordinal
from jaxvae.likelihoods.product import Columns as Columns
from jaxvae.likelihoods.product import Group as Group
from jaxvae.likelihoods.reals import Beta as Beta
from jaxvae.likelihoods.reals import Gamma as Gamma
from jaxvae.likelihoods.reals import Laplace as Laplace
from jaxvae.likelihoods.reals import LogNormal as LogNormal
from jaxvae.likelihoods.reals import Normal as Normal
from jaxvae.likelihoods.reals import StudentT as StudentT
from jaxvae.likelihoods.reals import VonMises as VonMises
from jaxvae.likelihoods.standard import Standard as Standard
