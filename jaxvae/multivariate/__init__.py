"""Gaussians with correlated elements, whose covariance is arbitrary, or low-rank plus diagonal."""

from jaxvae.multivariate.cholesky import CholeskyGaussian as CholeskyGaussian
from jaxvae.multivariate.low_rank import LowRankGaussian as LowRankGaussian
