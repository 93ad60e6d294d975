"""Gaussians whose elements are correlated: of any covariance, or of a few common causes."""

from jaxvae.multivariate.cholesky import CholeskyGaussian as CholeskyGaussian
from jaxvae.multivariate.low_rank import LowRankGaussian as LowRankGaussian
