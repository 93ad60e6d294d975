"""Gaussians with correlated elements: of any covariance, or of a low-rank one plus a diagonal."""

from jaxvae.multivariate.cholesky import CholeskyGaussian as CholeskyGaussian
from jaxvae.multivariate.low_rank import LowRankGaussian as LowRankGaussian
